"""Settings of each kind of detector."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reprocess.campaign.section import Settings, contradiction


class Difference(Settings):
    """Difference of two frames `lag_s` apart, by cell, in red and green."""

    kind: Literal["difference"]
    lag_s: float = Field(default=120.0, gt=0, le=3600)
    lag_tolerance_s: float = Field(default=15.0, ge=0)
    sky_shift_max_dn: float = Field(
        default=20.0, gt=0, description="a larger median shift of the whole sky is not observed"
    )
    statistic: Literal["signed", "absolute"] = "signed"
    k_sigma: float | None = Field(default=5.0, gt=0)
    threshold_dn: float | None = Field(default=None, gt=0)
    combine: Literal["and", "or"] = "and"

    @model_validator(mode="after")
    def _one_threshold(self) -> Difference:
        if self.threshold_dn is None and self.k_sigma is None:
            raise contradiction("threshold_dn", None, "a number of counts, or k_sigma")
        return self


class Fcn(Settings):
    """Fully convolutional network; evidence is the logit difference aurora - background."""

    kind: Literal["fcn"]
    weights: str = Field(
        default="package:fcn_resnet18_sim.safetensors",
        description="safetensors file, or package:NAME for one shipped with reprocess",
    )
    runtime: Literal["torch", "openvino"] = Field(
        default="torch", description="what runs the network; openvino is for CPUs"
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="16 bits need a GPU, and are held to float32's probabilities"
    )
    threshold: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _float32_where_there_is_no_other(self) -> Fcn:
        if self.runtime == "openvino" and self.precision != "float32":
            raise contradiction("precision", self.precision, "float32 with runtime: openvino")
        return self


DetectorSettings = Annotated[Difference | Fcn, Field(discriminator="kind")]
