"""The site, and the states of its camera."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from reprocess.campaign.lens import LensKind
from reprocess.campaign.section import Settings, contradiction

FIRST_YEAR = 1900
"""No all-sky camera is older; the first epoch's year begins the cube's time axis."""


def _written_out(value: Any) -> Any:
    # Pydantic takes numbers, and text of digits, for seconds since 1970: 2021 for half an hour.
    if isinstance(value, date) or (
        isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value.strip())
    ):
        return value
    raise ValueError("a UTC time such as 2021-01-01T00:00:00Z")


def _utc(value: datetime) -> datetime:
    if value.year < FIRST_YEAR:
        raise ValueError(f"a time from {FIRST_YEAR} on, such as 2021-01-01T00:00:00Z")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcTime = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_utc)]


class Site(Settings):
    """Where the camera stands; geodetic WGS84."""

    code: str = Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")
    name: str = ""
    latitude_deg: float = Field(ge=-90, le=90)
    longitude_deg: float = Field(ge=-180, le=360)
    altitude_m: float = Field(default=0.0, ge=-500, le=9000)


class Crop(Settings):
    """The square around the sky disk, in pixels of the stored image."""

    left_px: int
    top_px: int
    size_px: int = Field(gt=0)


class Noise(Settings):
    """Standard deviation of a cell's difference statistic on aurora-free frames, counts (DN).

    One number, or one for each sky cell, as `reprocess noise` prints them.
    """

    red_dn: float | tuple[float, ...] = 0.0
    green_dn: float | tuple[float, ...] = 0.0


class CameraEpoch(Settings):
    """One state of the camera: valid from a time until the next epoch begins, or `valid_until`."""

    valid_from: UtcTime
    valid_until: UtcTime | None = Field(
        default=None,
        description="frames from then to the next epoch are outside; default: no such gap",
    )
    lens: LensKind
    image_width_px: int = Field(gt=0)
    image_height_px: int = Field(gt=0)
    crop: Crop
    zenith_max_deg: float = Field(
        default=90.0, gt=0, le=100, description="sky visible up to this zenith angle"
    )
    mask: str | None = Field(
        default=None, description="image of the stored size, non-zero where the sky is visible"
    )
    horizon: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="[azimuth, elevation] pairs, degrees: what lies lower is hidden; straight "
        "lines between them, around the circle",
    )
    hide: tuple[tuple[tuple[float, float], ...], ...] = Field(
        default=(),
        description="hidden shapes, each a list of [x, y] of the stored image: two points are "
        "corners of a rectangle, more a polygon",
    )
    noise: Noise | None = None
    clock_offset_s: float = Field(
        default=0.0, ge=-86_400, le=86_400, description="added to the time that a file tells"
    )
    time_stamps: Literal["start", "middle", "end"] = Field(
        default="middle", description="which moment of the exposure a file's time is of"
    )
    exposure_s: float | None = Field(
        default=None, gt=0, le=3600, description="needed if time_stamps is start or end"
    )
    black_level: float = Field(
        default=0.0, ge=0, le=65_534, description="counts without light; stored as 0"
    )
    white_level: float | None = Field(
        default=None, gt=0, le=65_535, description="counts stored as 255; null: 255"
    )
    channel_response: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0),
        description="counts of red, green and blue above black are divided by these",
    )

    @field_validator("channel_response")
    @classmethod
    def _responses(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if not all(0.1 <= response <= 10 for response in value):
            raise ValueError("three responses from 0.1 to 10, relative to each other")
        return value

    @model_validator(mode="after")
    def _exposed(self) -> CameraEpoch:
        if self.time_stamps != "middle" and self.exposure_s is None:
            raise contradiction(
                "exposure_s", None,
                f"seconds, since time_stamps: {self.time_stamps} is half an exposure from the "
                f"middle",
            )  # fmt: skip
        white = 255.0 if self.white_level is None else self.white_level
        if white <= self.black_level:
            raise contradiction("white_level", white, f"above black_level ({self.black_level:g})")
        return self

    @field_validator("horizon")
    @classmethod
    def _around(cls, value: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        azimuth = [pair[0] for pair in value]
        if azimuth != sorted(set(azimuth)) or any(not 0 <= a < 360 for a in azimuth):
            raise ValueError("azimuths from 0 to below 360, growing, each once")
        if any(not -90 <= pair[1] < 90 for pair in value):
            raise ValueError("elevations from -90 to below 90")
        return value

    @field_validator("hide")
    @classmethod
    def _shapes(
        cls, value: tuple[tuple[tuple[float, float], ...], ...]
    ) -> tuple[tuple[tuple[float, float], ...], ...]:
        if any(len(shape) < 2 for shape in value):
            raise ValueError("two points (a rectangle) or more (a polygon) in each shape")
        return value

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> CameraEpoch:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise contradiction(
                "valid_until", self.valid_until.isoformat(),
                f"a time after valid_from ({self.valid_from.isoformat()})",
            )  # fmt: skip
        return self

    @property
    def name(self) -> str:
        return self.valid_from.strftime("%Y%m%dT%H%M%SZ")
