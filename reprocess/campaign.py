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
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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


class EquidistantLens(Settings):
    """Fisheye whose distance from the zenith pixel is proportional to zenith angle.

    Pixel coordinates are those of the stored image: x right, y down, 0-based
    pixel centres. `north_deg` is the direction of geographic north seen in
    the image, clockwise from the top; `east` says on which side east lies when
    the image is turned so that north is up (a camera looking up, not mirrored:
    left).
    """

    model: Literal["equidistant"] = "equidistant"
    center_x_px: float
    center_y_px: float
    px_per_deg: float = Field(gt=0)
    north_deg: float = Field(ge=-360, le=360)
    east: Literal["left", "right"]


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
    """One state of the camera: valid from a time until the next epoch begins."""

    valid_from: datetime
    lens: EquidistantLens
    image_width_px: int = Field(gt=0)
    image_height_px: int = Field(gt=0)
    crop: Crop
    zenith_max_deg: float = Field(
        default=90.0, gt=0, le=100, description="sky visible up to this zenith angle"
    )
    mask: str | None = Field(
        default=None, description="image of the stored size, non-zero where the sky is visible"
    )
    noise: Noise | None = None

    @field_validator("valid_from")
    @classmethod
    def _utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @property
    def name(self) -> str:
        return self.valid_from.strftime("%Y%m%dT%H%M%SZ")


class Archive(Settings):
    """Where the raw images are and how a file's name tells its time (UTC)."""

    url: str
    pattern: str = Field(
        description="strptime directives and * wildcards; matched against the path relative to "
        "url, or against the file name alone when it holds no /"
    )
    reader: str = "still"

    @field_validator("pattern")
    @classmethod
    def _has_a_date(cls, value: str) -> str:
        missing = [d for d in ("%Y", "%m", "%d", "%H", "%M") if d not in value]
        if missing and not ("%j" in value and set(missing) <= {"%m", "%d"}):
            raise ValueError(f"a pattern with {', '.join(missing)} in it")
        if ".." in value.split("/"):
            raise ValueError("a pattern that stays inside the archive (no ..)")
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

    layout: Literal["rings-10", "rings-20"] = Field(
        default="rings-10", description="10 rings of 4(2k-1) cells or 20 rings of 2k-1; 400 both"
    )
    area: Literal["solid-angle", "image"] = Field(
        default="solid-angle",
        description="equal in r = 2 sin(z/2) (Lambert) or in r = z",
    )
    elevation_min_deg: float = Field(default=10.0, ge=0, lt=90, description="outer edge")
    azimuth: Literal["magnetic", "geographic"] = Field(
        default="magnetic", description="cell azimuth 0 = AACGM or geographic north"
    )
    emission_height_km: float = Field(default=110.0, ge=80, le=1000)
    visible_min: float = Field(
        default=0.5, gt=0, le=1, description="least visible share of a cell's solid angle"
    )


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
    runtime: Literal["torch"] = "torch"
    precision: Literal["float32"] = "float32"
    threshold: float = Field(default=0.5, gt=0, lt=1)


DetectorSettings = Annotated[Difference | Fcn, Field(discriminator="kind")]


class Cube(Settings):
    """How detections are counted: bins, selection of frames, cell rule."""

    mlt_bins: int = Field(default=24, ge=1, le=1440)
    mlt_centred: bool = Field(default=False, description="bins centred on h instead of [h, h+1)")
    sun_elevation_max_deg: float = Field(default=-15.0, ge=-90, le=90)
    moon_elevation_max_deg: float | None = Field(default=None, ge=-90, le=90)
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
    cadence_s: int = Field(gt=0, le=SECONDS_PER_DAY)
    phase_s: int = 0
    image: Image = Image()
    process: Process = Process()
    cells: Cells = Cells()
    detectors: dict[str, DetectorSettings] = Field(min_length=1)
    cube: Cube = Cube()
    years: tuple[int, ...] = Field(min_length=1)

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
        if not 0 <= self.phase_s < self.cadence_s:
            raise ValueError(f"phase_s from 0 to below cadence_s ({self.cadence_s})")
        looser = self.process.sun_elevation_max_deg
        if looser is not None and looser < self.cube.sun_elevation_max_deg:
            raise ValueError(
                f"process.sun_elevation_max_deg ({looser}) at or above "
                f"cube.sun_elevation_max_deg ({self.cube.sun_elevation_max_deg}): the cube cannot "
                f"count frames that are not processed"
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
            if epoch.noise is None:
                continue
            for key in ("red_dn", "green_dn"):
                values = getattr(epoch.noise, key)
                if isinstance(values, tuple) and len(values) != 400:
                    raise ValueError(f"noise.{key}: one number or one for each of 400 cells")
        return self

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
        """The epoch valid at a time, or None before the first one."""
        index = self.epoch_index(np.asarray([time]))[0]
        return None if index < 0 else self.camera[index]

    def epoch_index(self, times: np.ndarray) -> np.ndarray:
        """Index of the epoch valid at each time; -1 before the first.

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
        return np.searchsorted(starts, times.astype("datetime64[us]"), side="right") - 1


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
    path: str | Path, overrides: list[str] | None = None, *, store: str | None = None
) -> Campaign:
    """Read and validate a campaign file.

    Parameters
    ----------
    path : YAML file; relative paths inside it are relative to its directory
    overrides : `key.sub=value` strings, values in YAML, applied before validation
    store : replaces the campaign's own store URL

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
    return campaign_from_mapping(document, source=str(path))


def campaign_from_mapping(document: dict[str, Any], source: str = "campaign") -> Campaign:
    """Validate a campaign given as a mapping; `source` names it in errors."""
    try:
        return Campaign.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, source)) from error


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
    camera = document.get("camera")
    for epoch in camera if isinstance(camera, list) else []:
        if isinstance(epoch, dict) and epoch.get("mask"):
            epoch["mask"] = absolute(epoch["mask"])


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigurationError(f"--set {override}: expected key.sub=value")
    parts = key.split(".")
    node: Any = document
    for part in parts[:-1]:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise ConfigurationError(
                f"--set {override}: {part!r} is not a section of the campaign; "
                f"expected key.sub=value with keys as in the campaign file"
            )
    if not isinstance(node, dict):
        raise ConfigurationError(f"--set {override}: {'.'.join(parts[:-1])} is not a section")
    try:
        node[parts[-1]] = parse_yaml(text, f"--set {key}")
    except ConfigurationError:
        node[parts[-1]] = text  # such as %Y%m%d.jpg, which YAML wants quoted and a shell unquotes


def _explain(error: ValidationError, source: str) -> str:
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
        key = ".".join(location) or "campaign"
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            expected = f"one of {', '.join(known)}" if known else "no such key"
            lines.append(f"{source}: {key}: unknown key; expected {expected}{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{source}: {key}: missing; expected a value (docs/campaign.md lists it)")
        else:
            expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            found = problem["input"]
            shown = repr(found) if not isinstance(found, dict | list) else type(found).__name__
            lines.append(f"{source}: {key}: found {shown}, expected {expected}")
    return "\n".join(lines)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Campaign
    sections: dict[str, Any] = {
        "site": Site, "camera": CameraEpoch, "lens": EquidistantLens, "crop": Crop,
        "noise": Noise, "archive": Archive, "image": Image, "process": Process,
        "cells": Cells, "difference": Difference, "fcn": Fcn, "cube": Cube,
    }  # fmt: skip
    for part in location:
        model = sections.get(str(part), model)
    return list(model.model_fields)
