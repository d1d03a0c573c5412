"""A campaign: all sections, and what must hold between them."""

from __future__ import annotations

import functools
import itertools
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from reprocess.campaign.archive import Archive, StoreAccess, without_secret
from reprocess.campaign.camera import CameraEpoch, Site
from reprocess.campaign.cube import Cube
from reprocess.campaign.detectors import DetectorSettings
from reprocess.campaign.section import Settings, contradiction
from reprocess.campaign.sky import Cells, Image, Process

LABEL_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
RESERVED = frozenset({"frames", "evidence", "detections", "cube", "all"})
"""Names of stages: a label of that name would share their settings and `--recompute`."""
SECONDS_PER_DAY = 86_400


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
    def _writable(cls, value: str) -> str:
        if value.startswith(("http://", "https://")):
            raise ValueError("a directory or a URL that can be written, such as s3://bucket/store")
        return without_secret(value)

    @field_validator("years", mode="before")
    @classmethod
    def _years(cls, value: Any) -> Any:
        if isinstance(value, int | str):
            value = [value]
        if isinstance(value, list | tuple):
            if not value:
                raise ValueError("at least one, such as 2021 or 2018-2023")
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
            raise contradiction(
                "camera", [epoch.name for epoch in self.camera],
                "epochs in order of valid_from, each once",
            )  # fmt: skip
        for number, (epoch, following) in enumerate(itertools.pairwise(self.camera)):
            if epoch.valid_until is not None and epoch.valid_until > following.valid_from:
                raise contradiction(
                    f"camera.{number}.valid_until", epoch.valid_until.isoformat(),
                    f"a time up to the next one's valid_from ({following.valid_from.isoformat()}): "
                    f"epochs do not overlap",
                )  # fmt: skip
        if not 0 <= self.phase_s < self.cadence_s:
            raise contradiction(
                "phase_s", self.phase_s, f"seconds from 0 to below cadence_s ({self.cadence_s})"
            )
        looser = self.process.sun_elevation_max_deg
        if looser is not None and looser < self.cube.sun_elevation_max_deg:
            raise contradiction(
                "process.sun_elevation_max_deg", looser,
                f"at or above cube.sun_elevation_max_deg ({self.cube.sun_elevation_max_deg}): the "
                f"cube cannot count frames that are not processed",
            )  # fmt: skip
        if self.cube.moon_illuminated_max is not None and self.cube.moon_elevation_max_deg is None:
            raise contradiction(
                "cube.moon_elevation_max_deg", None,
                f"degrees, beside cube.moon_illuminated_max ({self.cube.moon_illuminated_max}), "
                f"which excuses a Moon that is above it",
            )  # fmt: skip
        unknown = set(self.cube.compare) - set(self.detectors)
        if unknown:
            raise contradiction(
                "cube.compare", sorted(unknown),
                f"detectors of this campaign ({', '.join(self.detectors)})",
            )  # fmt: skip
        if min(self.years) < starts[0].year:
            raise contradiction(
                "years", min(self.years),
                f"years from {starts[0].year} on, where the first camera epoch begins "
                f"(camera.0.valid_from); an earlier year has no calibration",
            )  # fmt: skip
        for number, epoch in enumerate(self.camera):
            self._check_levels(number, epoch)
            if epoch.noise is None:
                continue
            for key in ("red_dn", "green_dn"):
                values = getattr(epoch.noise, key)
                if isinstance(values, tuple) and len(values) != self.cells.total:
                    raise contradiction(
                        f"camera.{number}.noise.{key}", f"{len(values)} numbers",
                        f"one number or one for each of {self.cells.total} cells",
                    )  # fmt: skip
        return self

    def _check_levels(self, number: int, epoch: CameraEpoch) -> None:
        white = epoch.white_level
        if self.archive.bits == 16 and (white is None or white - epoch.black_level < 256):
            raise contradiction(
                f"camera.{number}.white_level", white,
                f"at least 256 counts above black_level ({epoch.black_level:g}), since "
                f"archive.bits is 16: counts from black to white are stored as 0 to 255",
            )  # fmt: skip
        if self.archive.bits == 8 and white is not None and white > 255:
            raise contradiction(
                f"camera.{number}.white_level", white, "up to 255, since archive.bits is 8"
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
