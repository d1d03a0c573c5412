"""Frames as they are processed, and the sky cells."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reprocess.campaign.section import Settings, contradiction


class Image(Settings):
    """The form in which frames are stored and seen by the detectors."""

    size_px: int = Field(default=256, ge=16, le=4096, multiple_of=8)


class Process(Settings):
    """Which frames are processed at all; looser than the cube's own selection."""

    sun_elevation_max_deg: float | None = Field(
        default=-10.0, ge=-90, le=90, description="null processes every frame"
    )


class Cells(Settings):
    """The sky cells: rings of equal area around the zenith."""

    layout: Literal["rings-10", "rings-20", "beckers"] = Field(
        default="rings-10",
        description="10 rings of 4(2k-1) cells, 20 rings of 2k-1 (400 both), or any total `n`",
    )
    n: int | None = Field(
        default=None, ge=1, le=10_000, description="total of cells; with layout beckers only"
    )
    area: Literal["solid-angle", "image", "emission-layer"] = Field(
        default="solid-angle",
        description="equal in r = 2 sin(z/2) (Lambert), in r = z, or on the sphere of the emission",
    )
    elevation_min_deg: float = Field(default=10.0, ge=0, lt=90, description="outer edge")
    azimuth: Literal["magnetic", "geographic"] = Field(
        default="magnetic", description="cell azimuth 0 = AACGM or geographic north"
    )
    emission_height_km: float = Field(default=110.0, ge=80, le=1000)
    visible_min: float = Field(
        default=0.5, gt=0, le=1, description="least visible share of a cell's solid angle"
    )
    pixels_min: int = Field(
        default=1, ge=1, description="a cell with fewer visible pixels is never observed"
    )

    @model_validator(mode="after")
    def _total(self) -> Cells:
        if (self.n is not None) != (self.layout == "beckers"):
            raise contradiction(
                "n", self.n,
                f"a total of cells with layout: beckers, null with others (layout: {self.layout})",
            )  # fmt: skip
        return self

    @property
    def total(self) -> int:
        """Number of cells."""
        return 400 if self.n is None else self.n
