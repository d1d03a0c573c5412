"""The campaign file: every setting that decides a number, validated and frozen.

A campaign is one YAML file. Each key is declared once, here; an unknown key,
a wrong unit or an impossible value is a `ConfigurationError` that names the
file, the key, what was found and what was expected. Where and how a campaign
runs (cluster, progress, retries) is not part of it and never enters a
fingerprint.
"""

from __future__ import annotations

import difflib
import functools
import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reprocess.credentials import WHERE_SECRETS_BELONG, holds_secret, is_secret_name, redacted
from reprocess.errors import ConfigurationError
from reprocess.strict_yaml import parse_yaml, read_yaml

LABEL_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
RESERVED = frozenset({"frames", "evidence", "detections", "cube", "all"})
"""Names of stages: a label of that name would share their settings and `--recompute`."""
SECONDS_PER_DAY = 86_400


class Settings(BaseModel):
    """Base of every section: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Site(Settings):
    """Where the camera stands; geodetic WGS84."""

    code: str = Field(pattern=r"^[A-Za-z0-9_-]{1,16}$")
    name: str = ""
    latitude_deg: float = Field(ge=-90, le=90)
    longitude_deg: float = Field(ge=-180, le=360)
    altitude_m: float = Field(default=0.0, ge=-500, le=9000)


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

    valid_from: datetime
    valid_until: datetime | None = Field(
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
            raise ValueError(
                f"exposure_s, since time_stamps: {self.time_stamps} is half an exposure from "
                f"the middle"
            )
        white = 255.0 if self.white_level is None else self.white_level
        if white <= self.black_level:
            raise ValueError(f"white_level ({white:g}) above black_level ({self.black_level:g})")
        return self

    @field_validator("valid_from", "valid_until")
    @classmethod
    def _utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

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
            raise ValueError("valid_until after valid_from")
        return self

    @property
    def name(self) -> str:
        return self.valid_from.strftime("%Y%m%dT%H%M%SZ")


class S3Access(Settings):
    """How an S3 service is reached. Who may enter is told by AWS's own files and environment."""

    endpoint_url: str | None = Field(
        default=None, description="of a service other than AWS; default AWS_ENDPOINT_URL"
    )
    profile: str | None = Field(
        default=None, description="of ~/.aws/config and ~/.aws/credentials; default AWS_PROFILE"
    )
    region: str | None = None
    anonymous: bool = Field(default=False, description="unsigned requests, for public buckets")
    timeout_s: float = Field(default=30.0, gt=0, description="longest silence of one request")
    retry_for_s: float = Field(default=120.0, ge=0, description="longest outage that is sat out")

    @field_validator("endpoint_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return None if value is None else _without_secret(value)


class StoreAccess(S3Access):
    """How the S3 service that keeps the stores is reached."""

    single_writer: bool = Field(
        default=False,
        description="only for a service without conditional writes: you see to it that no two "
        "runs write the store at one time",
    )


class Archive(Settings):
    """Where the raw images are, and how their times are told."""

    url: str
    time: Literal["name", "header", "exif"] = Field(
        default="name", description="where a frame's time is: in the file's name or in the file"
    )
    pattern: str = Field(
        description="strptime directives and * wildcards; matched against the path relative to "
        "url, or against the file name alone when it holds no /"
    )
    reader: str = "still"
    timezone: str = Field(
        default="UTC", description="zone of the clock that wrote the times: UTC, +01:00, or IANA"
    )
    bits: Literal[8, 16] = Field(default=8, description="depth of the stored images")
    channels: Literal["rgb", "mono"] | None = Field(
        default=None, description="what the camera has; null: what the reader's format usually has"
    )
    access: S3Access = S3Access()

    @field_validator("url")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        return _without_secret(value)

    @field_validator("pattern")
    @classmethod
    def _has_a_date(cls, value: str, info: ValidationInfo) -> str:
        found = set(re.findall(r"%(.)", value.replace("%%", "")))
        missing = [
            text
            for text, ways in (
                ("%Y or %y", ({"Y"}, {"y"})),
                ("%m and %d (or %b and %d, or %j)", ({"m", "d"}, {"b", "d"}, {"j"})),
                ("%H", ({"H"},)),
                ("%M", ({"M"},)),
            )
            if not any(way <= found for way in ways)
        ]
        if missing and info.data.get("time") == "name":
            raise ValueError(
                f"a pattern with {', '.join(missing)} in it, or time: header or exif where the "
                f"files themselves tell their time"
            )
        if ".." in value.split("/"):
            raise ValueError("a pattern that stays inside the archive (no ..)")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value == "UTC" or re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", value):
            return value
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                "UTC, an offset such as +01:00, or a zone's name such as Europe/Oslo"
            ) from error
        return value


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
            raise ValueError("n together with layout beckers, and with no other layout")
        return self

    @property
    def total(self) -> int:
        """Number of cells."""
        return 400 if self.n is None else self.n


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
            raise ValueError("k_sigma or threshold_dn")
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
    precision: Literal["float32"] = "float32"
    threshold: float = Field(default=0.5, gt=0, lt=1)


DetectorSettings = Annotated[Difference | Fcn, Field(discriminator="kind")]


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
        return _without_secret(value)

    @model_validator(mode="after")
    def _one_rule(self) -> FlagTable:
        if bool(self.reject) == bool(self.keep):
            raise ValueError("either reject or keep, with at least one flag")
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


class Campaign(Settings):
    """All of a campaign's settings. Build it with `load_campaign`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    simulated: bool = Field(default=False, description="the frames are drawn, not photographed")
    site: Site
    camera: tuple[CameraEpoch, ...] = Field(min_length=1)
    archive: Archive
    store: str
    store_access: StoreAccess = StoreAccess()
    cadence_s: int = Field(gt=0, le=SECONDS_PER_DAY)
    phase_s: int = 0
    image: Image = Image()
    process: Process = Process()
    cells: Cells = Cells()
    detectors: dict[str, DetectorSettings] = Field(min_length=1)
    cube: Cube = Cube()
    years: tuple[int, ...] = Field(min_length=1)

    @field_validator("store")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        return _without_secret(value)

    @field_validator("years", mode="before")
    @classmethod
    def _years(cls, value: Any) -> Any:
        if isinstance(value, int | str):
            value = [value]
        if isinstance(value, list | tuple):
            return parse_years(value)
        return value

    @field_validator("cadence_s")
    @classmethod
    def _divides_the_day(cls, value: int) -> int:
        if SECONDS_PER_DAY % value:
            raise ValueError("a cadence in seconds that divides 86400 (60, 120, 300 …)")
        return value

    @field_validator("detectors")
    @classmethod
    def _labels(cls, value: dict[str, Any]) -> dict[str, Any]:
        for label in value:
            if not LABEL_PATTERN.fullmatch(label):
                raise ValueError(f"labels of a-z, 0-9, _ and -, not {label!r}")
            if label in RESERVED:
                raise ValueError(f"labels other than the stages' names, not {label!r}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Campaign:
        starts = [epoch.valid_from for epoch in self.camera]
        if starts != sorted(set(starts)):
            raise ValueError("camera epochs in order of valid_from, each once")
        for epoch, following in zip(self.camera, self.camera[1:], strict=False):
            if epoch.valid_until is not None and epoch.valid_until > following.valid_from:
                raise ValueError(
                    f"valid_until of camera epoch {epoch.name} no later than the next one's "
                    f"valid_from ({following.name}): epochs do not overlap"
                )
        if not 0 <= self.phase_s < self.cadence_s:
            raise ValueError(f"phase_s from 0 to below cadence_s ({self.cadence_s})")
        looser = self.process.sun_elevation_max_deg
        if looser is not None and looser < self.cube.sun_elevation_max_deg:
            raise ValueError(
                f"process.sun_elevation_max_deg ({looser}) at or above "
                f"cube.sun_elevation_max_deg ({self.cube.sun_elevation_max_deg}): the cube cannot "
                f"count frames that are not processed"
            )
        if self.cube.moon_illuminated_max is not None and self.cube.moon_elevation_max_deg is None:
            raise ValueError(
                "cube.moon_elevation_max_deg beside cube.moon_illuminated_max, which excuses a "
                "Moon that is above it"
            )
        unknown = set(self.cube.compare) - set(self.detectors)
        if unknown:
            raise ValueError(
                f"cube.compare to name detectors of this campaign ({', '.join(self.detectors)}), "
                f"not {', '.join(sorted(unknown))}"
            )
        if min(self.years) < starts[0].year:
            raise ValueError(
                f"years from {starts[0].year} on, where the first camera epoch begins; "
                f"an earlier year has no calibration"
            )
        for epoch in self.camera:
            self._check_levels(epoch)
            if epoch.noise is None:
                continue
            for key in ("red_dn", "green_dn"):
                values = getattr(epoch.noise, key)
                if isinstance(values, tuple) and len(values) != self.cells.total:
                    raise ValueError(
                        f"noise.{key}: one number or one for each of {self.cells.total} cells"
                    )
        return self

    def _check_levels(self, epoch: CameraEpoch) -> None:
        white = epoch.white_level
        if self.archive.bits == 16 and (white is None or white - epoch.black_level < 256):
            raise ValueError(
                f"camera epoch {epoch.name}: white_level at least 256 counts above black_level, "
                f"since archive.bits is 16: counts from black to white are stored as 0 to 255"
            )
        if self.archive.bits == 8 and white is not None and white > 255:
            raise ValueError(
                f"camera epoch {epoch.name}: white_level up to 255, since archive.bits is 8"
            )

    def __hash__(self) -> int:
        # Campaigns key the caches of what is derived from them; a dict field has no hash.
        return self._hash

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self.model_dump_json())

    @property
    def slots_per_day(self) -> int:
        return SECONDS_PER_DAY // self.cadence_s

    @property
    def compared(self) -> tuple[str, ...]:
        """Labels counted on their common frames and cells, in campaign order."""
        chosen = self.cube.compare or tuple(self.detectors)
        return tuple(label for label in self.detectors if label in chosen)

    def epoch_at(self, time: np.datetime64) -> CameraEpoch | None:
        """The epoch valid at a time; None before the first one and in a gap between two."""
        index = self.epoch_index(np.asarray([time]))[0]
        return None if index < 0 else self.camera[index]

    def epoch_index(self, times: np.ndarray) -> np.ndarray:
        """Index of the epoch valid at each time; -1 before the first and after a `valid_until`.

        Parameters
        ----------
        times : (n,) datetime64 array, UTC

        Returns
        -------
        (n,) int64 array
        """
        starts = np.array(
            [np.datetime64(e.valid_from.replace(tzinfo=None), "us") for e in self.camera]
        )
        ends = np.array([np.datetime64(end.replace(tzinfo=None), "us") for end in self.epoch_ends])
        when = times.astype("datetime64[us]")
        index = np.searchsorted(starts, when, side="right") - 1
        return np.where((index >= 0) & (when < ends[index]), index, -1)

    @functools.cached_property
    def epoch_ends(self) -> tuple[datetime, ...]:
        """When each camera epoch ends: its `valid_until`, or when the next begins."""
        following = [epoch.valid_from for epoch in self.camera[1:]]
        following.append(datetime.max.replace(tzinfo=UTC))
        return tuple(e.valid_until or end for e, end in zip(self.camera, following, strict=True))


def _without_secret(url: str) -> str:
    if holds_secret(url):
        raise ValueError(f"a URL without credentials: {WHERE_SECRETS_BELONG}")
    return url


def parse_years(items: list[Any] | tuple[Any, ...]) -> tuple[int, ...]:
    """Years from `2018-2020`, `2023` and integers, sorted, each once."""
    years: set[int] = set()
    for item in items:
        match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", str(item).strip())
        if match is None:
            raise ValueError(f"years like 2021 or 2018-2023, not {item!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"a range that goes forward, not {item!r}")
        years.update(range(first, last + 1))
    return tuple(sorted(years))


def load_campaign(
    path: str | Path,
    overrides: list[str] | None = None,
    *,
    store: str | None = None,
    access: StoreAccess | None = None,
) -> Campaign:
    """Read and validate a campaign file.

    Parameters
    ----------
    path : YAML file; relative paths inside it are relative to its directory
    overrides : `key.sub=value` strings, values in YAML, applied before validation
    store : replaces the campaign's own store URL
    access : replaces the campaign's own `store_access`

    Raises
    ------
    ConfigurationError
        Naming the file, the key, what was found and what was expected.
    """
    path = Path(path)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{path}: expected a mapping with site, camera, archive …, "
            f"found {type(document).__name__}"
        )
    base = path.resolve().parent
    _absolute_paths(document, base)
    for override in overrides or []:
        _apply_override(document, override)
    if store is not None:
        document["store"] = store
    if access is not None:
        document["store_access"] = access.model_dump()
    return campaign_from_mapping(document, source=str(path))


def campaign_from_mapping(document: dict[str, Any], source: str = "campaign") -> Campaign:
    """Validate a campaign given as a mapping; `source` names it in errors."""
    try:
        return Campaign.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, source)) from error


def store_access(document: Mapping[str, Any], source: str = "access") -> StoreAccess:
    """How a store on S3 is reached, from keys as in a campaign's `store_access`."""
    try:
        return StoreAccess.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, source, StoreAccess)) from error


def parse_store_access(items: list[str], option: str) -> StoreAccess:
    """How a store on S3 is reached, from `key=value` strings of a command line's option."""
    document: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigurationError(f"{option} {item}: expected KEY=VALUE")
        document[key] = parse_yaml(text, f"{option} {key}")
    return store_access(document, option)


def _absolute_paths(document: dict[str, Any], base: Path) -> None:
    """Make the file's own relative paths absolute; URLs and package: names stay."""

    def absolute(value: Any) -> Any:
        if not isinstance(value, str) or "://" in value or value.startswith("package:"):
            return value
        return str(base / Path(value).expanduser())

    for section, key in [(document.get("archive"), "url"), (document, "store")]:
        if isinstance(section, dict) and key in section:
            section[key] = absolute(section[key])
    detectors = document.get("detectors")
    for detector in detectors.values() if isinstance(detectors, dict) else []:
        if isinstance(detector, dict) and "weights" in detector:
            detector["weights"] = absolute(detector["weights"])
    cube = document.get("cube")
    tables = cube.get("flags") if isinstance(cube, dict) else None
    for table in tables if isinstance(tables, list) else []:
        if isinstance(table, dict) and "table" in table:
            table["table"] = absolute(table["table"])
    camera = document.get("camera")
    for epoch in camera if isinstance(camera, list) else []:
        if isinstance(epoch, dict) and epoch.get("mask"):
            epoch["mask"] = absolute(epoch["mask"])
        lens = epoch.get("lens") if isinstance(epoch, dict) else None
        for key in ("azimuth", "elevation"):
            if isinstance(lens, dict) and lens.get("model") == "skymap" and lens.get(key):
                lens[key] = absolute(lens[key])


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigurationError(f"--set {override}: expected key.sub=value")
    parts = key.split(".")
    shown = key if is_secret_name(key) else override
    node: Any = document
    for part in parts[:-1]:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise ConfigurationError(
                f"--set {shown}: {part!r} is not a section of the campaign; "
                f"expected key.sub=value with keys as in the campaign file"
            )
    if not isinstance(node, dict):
        raise ConfigurationError(f"--set {shown}: {'.'.join(parts[:-1])} is not a section")
    try:
        node[parts[-1]] = parse_yaml(text, f"--set {key}")
    except ConfigurationError:
        node[parts[-1]] = text  # such as %Y%m%d.jpg, which YAML wants quoted and a shell unquotes


def _explain(error: ValidationError, source: str, model: type[Settings] = Campaign) -> str:
    lines = []
    problems = error.errors()
    for problem in problems:
        inside = len(problem["loc"])
        if problem["type"] == "too_short" and any(
            other["loc"][:inside] == problem["loc"] and len(other["loc"]) > inside
            for other in problems
        ):
            continue  # a section that holds a wrong key is not short of sections
        location = [str(part) for part in problem["loc"]]
        if location[:1] == ["detectors"] and len(location) > 2:
            del location[2]  # pydantic names the kind that it took the detector for
        if location[:1] == ["camera"] and location[2:3] == ["lens"] and len(location) > 4:
            del location[3]  # and the model that it took the lens for
        key = ".".join(location) or "campaign"
        if problem["type"] == "extra_forbidden" and is_secret_name(location[-1]):
            lines.append(f"{source}: {key}: no secret belongs here; {WHERE_SECRETS_BELONG}")
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1], model)
            close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            expected = f"one of {', '.join(known)}" if known else "no such key"
            lines.append(f"{source}: {key}: unknown key; expected {expected}{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{source}: {key}: missing; expected a value (docs/campaign.md lists it)")
        else:
            expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            found = problem["input"]
            found = redacted(found) if isinstance(found, str) else found
            shown = repr(found) if not isinstance(found, dict | list) else type(found).__name__
            lines.append(f"{source}: {key}: found {shown}, expected {expected}")
    return "\n".join(lines)


def _known_keys(location: tuple[int | str, ...], model: Any) -> list[str]:
    sections: dict[str, Any] = {
        "site": Site, "camera": CameraEpoch, "lens": EquidistantLens, "crop": Crop,
        "equidistant": EquidistantLens, "polynomial": PolynomialLens,
        "equal-area": EqualAreaLens, "skymap": SkymapLens,
        "noise": Noise, "archive": Archive, "access": S3Access, "store_access": StoreAccess,
        "image": Image, "process": Process,
        "cells": Cells, "difference": Difference, "fcn": Fcn, "cube": Cube,
    }  # fmt: skip
    for part in location:
        model = sections.get(str(part), model)
    return list(model.model_fields)
