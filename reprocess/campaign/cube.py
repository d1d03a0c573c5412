"""How detections are selected and counted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from reprocess.campaign.archive import without_secret
from reprocess.campaign.section import Settings, contradiction


class FlagTable(Settings):
    """A table that says of times whether their frames count; CSV or Parquet."""

    table: str = Field(description="file or URL; columns start, end, flag, or time, flag")
    name: str = Field(
        default="cloud", pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="what the flags are of"
    )
    reject: tuple[str, ...] = Field(default=(), description="flags whose frames do not count")
    keep: tuple[str, ...] = Field(default=(), description="the only flags whose frames count")
    unknown: Literal["keep", "reject"] = Field(description="frames for which no row holds")
    tolerance_s: float | None = Field(
        default=None, ge=0, le=86_400, description="given: rows are samples, not intervals"
    )

    @field_validator("table")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        return without_secret(value)

    @model_validator(mode="after")
    def _one_rule(self) -> FlagTable:
        if bool(self.reject) == bool(self.keep):
            found = list(self.reject)
            raise contradiction(
                "reject", found, f"either reject or keep to name flags (keep: {list(self.keep)})"
            )
        return self


class Cube(Settings):
    """How detections are counted: bins, selection of frames, cell rule."""

    mlt_bins: int = Field(default=24, ge=1, le=1440)
    mlt_centred: bool = Field(default=False, description="bins centred on h instead of [h, h+1)")
    mlt: Literal["station", "cell"] = Field(
        default="station", description="whose magnetic local time a frame is counted under"
    )
    mlt_elevation_min_deg: float = Field(
        default=10.0,
        ge=0,
        lt=90,
        description="with mlt: cell, cells centred lower have no MLT and are in no count",
    )
    sun_elevation_max_deg: float = Field(default=-15.0, ge=-90, le=90)
    moon_elevation_max_deg: float | None = Field(default=None, ge=-90, le=90)
    moon_illuminated_max: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="a Moon above its limit and no fuller than this counts",
    )
    refraction: bool = Field(default=False, description="Sun and Moon limits of apparent elevation")
    cell_elevation_min_deg: float = Field(
        default=0.0, ge=0, lt=90, description="cells that reach lower are not counted"
    )
    exposure_range_s: tuple[float, float] | None = Field(
        default=None, description="shortest and longest exposure that counts; null: any"
    )
    gain_range: tuple[float, float] | None = Field(
        default=None, description="lowest and highest gain that counts; null: any"
    )
    flags: tuple[FlagTable, ...] = ()

    @field_validator("exposure_range_s", "gain_range")
    @classmethod
    def _goes_up(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError("the lower and then the higher limit, from 0 on")
        return value

    cell_fraction_min: float = Field(default=0.5, gt=0, le=1)
    compare: tuple[str, ...] = Field(
        default=(), description="labels counted on their common frames and cells; default all"
    )
