"""Lens models: how a direction of the sky becomes a pixel of the stored image."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from reprocess.campaign.section import Settings


class Fisheye(Settings):
    """What the fisheye models share: where the zenith falls and how the image is turned.

    Pixel coordinates are those of the stored image: x right, y down, 0-based
    pixel centres. `north_deg` is the direction of geographic north seen in
    the image, clockwise from the top; `east` says on which side east lies when
    the image is turned so that north is up (a camera looking up, not mirrored:
    left). So a rotated or mirrored image needs no other setting.
    """

    center_x_px: float
    center_y_px: float
    north_deg: float = Field(ge=-360, le=360)
    east: Literal["left", "right"]


class EquidistantLens(Fisheye):
    """Fisheye whose distance from the zenith pixel is proportional to zenith angle."""

    model: Literal["equidistant"] = "equidistant"
    px_per_deg: float = Field(gt=0)


class PolynomialLens(Fisheye):
    """Fisheye whose distance from the zenith pixel is an odd polynomial of the zenith angle."""

    model: Literal["polynomial"]
    px_per_deg_odd: tuple[float, ...] = Field(
        min_length=1,
        max_length=5,
        description="k1, k3, k5 … of r = k1 z + k3 z^3 + k5 z^5 …, px, z in degrees",
    )

    @field_validator("px_per_deg_odd")
    @classmethod
    def _grows(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value[0] <= 0:
            raise ValueError("a first coefficient above 0: r grows with the zenith angle")
        return value


class EqualAreaLens(Fisheye):
    """Fisheye by Lambert's equal-area projection: r = focal_px * 2 sin(z / 2)."""

    model: Literal["equal-area"]
    focal_px: float = Field(gt=0)


class SkymapLens(Settings):
    """Azimuth and elevation of every stored pixel, from files instead of a formula.

    A pair of FITS images (`azimuth`, `elevation`), or one U. Calgary `.sav`
    skymap given as both or as `azimuth` alone. Pixels without a direction are
    NaN, or have elevation 0 or less. Read as the files store them; `flip` and
    `rotate_deg` then turn the map as the archive's reader turns the images.
    """

    model: Literal["skymap"]
    azimuth: str = Field(description="FITS image of azimuths, degrees, or a U. Calgary .sav")
    elevation: str | None = Field(
        default=None, description="FITS image of elevations, degrees; not needed with a .sav"
    )
    rotate_deg: Literal[0, 90, 180, 270] = Field(
        default=0, description="turn the map clockwise as seen, before the flip"
    )
    flip: Literal["none", "left-right", "up-down"] = "none"


def _lens_model(value: Any) -> str:
    """Which lens section a mapping is; `model` may be left out of an equidistant one."""
    if isinstance(value, dict):
        return str(value.get("model", "equidistant"))
    return str(getattr(value, "model", ""))


LensKind = Annotated[
    Annotated[EquidistantLens, Tag("equidistant")]
    | Annotated[PolynomialLens, Tag("polynomial")]
    | Annotated[EqualAreaLens, Tag("equal-area")]
    | Annotated[SkymapLens, Tag("skymap")],
    Discriminator(_lens_model),
]
