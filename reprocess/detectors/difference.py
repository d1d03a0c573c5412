"""Aurora as change: two frames `lag_s` apart, compared by sky cell in red and green.

The statistic is this project's own definition, after the method of Jee et
al. 2021 (J. Astron. Space Sci. 38(4) 203-215): by cell and channel, the mean
of Δ = later - earlier and the mean of |Δ| over the cell's visible pixels. Sums
are exact integers, divided once and rounded to float16 once, so the evidence
is the same on every machine. Frames of 16-bit archives are compared at full
depth; the means are then expressed in counts of the 8-bit frame, so that
thresholds and noise have one unit whatever the camera.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprocess.archive.frames import eight_bit_units
from reprocess.campaign import CameraEpoch, Campaign, Difference
from reprocess.detectors.change import (
    CHANNELS,
    EIGHT_BIT,
    STATISTICS,
    CellSpans,
    cell_spans,
    compare_frames,
)
from reprocess.detectors.detector import (
    FRACTION_FULL,
    FRACTION_UNOBSERVED,
    Evidence,
    EvidenceStatus,
    EvidenceVariable,
)
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import EpochGeometry, epoch_geometry

if TYPE_CHECKING:
    from reprocess.archive.frames import FrameBlock

DELTA = "delta"
EXPOSURE_TOLERANCE = 0.01
"""Two exposures or gains are the same if they differ by at most this share of the larger: cameras
report what they measured. Known and unknown are not the same."""

# Raised when the definition of the statistic changes: all evidence is then stale.
VERSION = 1


@dataclass(frozen=True)
class DifferenceDetector:
    """The difference method with one campaign section's settings."""

    label: str
    settings: Difference

    @property
    def kind(self) -> str:
        return "difference"

    @property
    def context_s(self) -> float:
        return self.settings.lag_s + self.settings.lag_tolerance_s

    @property
    def uses_geometry(self) -> bool:
        return True

    def variables(self, campaign: Campaign) -> tuple[EvidenceVariable, ...]:
        n_cells = epoch_geometry(campaign, campaign.camera[0]).cells.n_cells
        return (
            EvidenceVariable(
                name=DELTA,
                dims=("statistic", "channel", "cell"),
                shape=(len(STATISTICS), len(CHANNELS), n_cells),
                dtype="float16",
                fill=float("nan"),
                attrs={
                    "long_name": "mean of Δ and of |Δ| over the cell's visible pixels, "
                    "Δ = this frame - the frame lag_s before it",
                    "units": "count",
                    "lag_s": self.settings.lag_s,
                    "lag_tolerance_s": self.settings.lag_tolerance_s,
                },
            ),
        )

    def evidence_settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": VERSION,
            "lag_s": self.settings.lag_s,
            "lag_tolerance_s": self.settings.lag_tolerance_s,
            "sky_shift_max_dn": self.settings.sky_shift_max_dn,
        }

    def rule(self) -> dict[str, Any]:
        settings = self.settings
        how = {"statistic": settings.statistic, "combine": settings.combine}
        if settings.threshold_dn is not None:
            return {**how, "threshold_dn": settings.threshold_dn}
        return {**how, "k_sigma": settings.k_sigma}

    def detection_settings(self, epoch: CameraEpoch) -> dict[str, Any]:
        if self.settings.threshold_dn is not None:
            return self.rule()
        noise = epoch.noise
        where = f"noise of the camera epoch valid from {epoch.name}"
        threshold = f"detectors.{self.label}.threshold_dn, which takes the place of k_sigma"
        remedy = (
            f"run with {threshold}; from such a run `reprocess noise` estimates the noise on "
            f"frames without aurora"
        )
        if noise is None:
            raise ConfigurationError(
                f"{where}: found none, expected red_dn and green_dn, since "
                f"detectors.{self.label}.k_sigma is a multiple of them; {remedy}"
            )
        levels = {"red_dn": noise.red_dn, "green_dn": noise.green_dn}
        for key, value in levels.items():
            if np.min(value) <= 0:
                raise ConfigurationError(
                    f"{where}: {key}: found {float(np.min(value)):g}, expected > 0 in every cell; "
                    f"{remedy}"
                )
        return {
            **self.rule(),
            "noise": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in levels.items()
            },
        }

    def profile(self) -> str:
        return "exact integers"

    def measure(
        self,
        block: FrameBlock,
        context: FrameBlock | None,
        campaign: Campaign,
        threads: int | None = None,  # noqa: ARG002 - far faster than any reader already
    ) -> Evidence:
        settings = self.settings
        n = len(block.acquired)
        sources = [block] if context is None else [context, block]
        partner = match_lag(
            block.acquired,
            np.concatenate([s.acquired for s in sources]),
            settings.lag_s,
            settings.lag_tolerance_s,
        )
        if context is not None and n and np.any(context.acquired > block.acquired[0]):
            raise ValueError("context frames must not be later than the block's first frame")
        deep = all(s.image16 is not None for s in sources)
        images = [i for s in sources for i in (s.image16 if deep else s.image)]  # type: ignore[union-attr]
        own = images[len(images) - n :]
        epochs = np.concatenate([s.epoch for s in sources])
        exposed = [_exposure_and_gain(s) for s in sources]
        (variable,) = self.variables(campaign)
        delta = np.full((n, *variable.shape), np.nan, np.float16)
        found = partner >= 0
        status = np.select(
            [
                (block.epoch < 0) | (found & (epochs[partner] != block.epoch)),
                found & ~_same(exposed[-1], np.concatenate(exposed)[partner]),
                found,
            ],
            [
                EvidenceStatus.EPOCH_CHANGED,
                EvidenceStatus.EXPOSURE_CHANGED,
                EvidenceStatus.OBSERVED,
            ],
            EvidenceStatus.NO_PARTNER,
        ).astype(np.uint8)
        compared = status == EvidenceStatus.OBSERVED
        for epoch in np.unique(block.epoch[compared]):
            camera = campaign.camera[epoch]
            rows = np.flatnonzero(compared & (block.epoch == epoch))
            delta[rows], shifted = compare_frames(
                [_rgb(own[row]) for row in rows],
                [_rgb(images[row]) for row in partner[rows]],
                _spans(epoch_geometry(campaign, camera)),
                settings.sky_shift_max_dn,
                eight_bit_units(camera)[: len(CHANNELS)] if deep else EIGHT_BIT,
            )
            status[rows[shifted]] = EvidenceStatus.SKY_SHIFTED
        return Evidence(block.acquired.copy(), block.slot.copy(), status, {DELTA: delta})

    def fractions(
        self,
        evidence: Evidence,
        epoch: NDArray[np.int64],
        campaign: Campaign,
        threads: int = 1,  # noqa: ARG002
    ) -> NDArray[np.uint8]:
        delta = evidence.values[DELTA]
        result = np.full((len(delta), delta.shape[-1]), FRACTION_UNOBSERVED, np.uint8)
        for index in np.unique(epoch[epoch >= 0]):
            camera = campaign.camera[index]
            frames = (epoch == index) & (evidence.status == EvidenceStatus.OBSERVED)
            limits = self._limits(camera, delta.shape[-1])
            aurora = flag_cells(
                delta[frames], limits, self.settings.statistic, self.settings.combine
            )
            visible = epoch_geometry(campaign, camera).cellmap.observed
            measured = np.isfinite(delta[frames]).all(axis=(1, 2)) & visible
            result[frames] = np.where(
                measured, np.where(aurora, FRACTION_FULL, 0), FRACTION_UNOBSERVED
            )
        return result

    def _limits(self, camera: CameraEpoch, n_cells: int) -> NDArray[np.float64]:
        """(channel, cell) thresholds in counts."""
        rule = self.detection_settings(camera)
        limits = np.empty((len(CHANNELS), n_cells))
        for i, channel in enumerate(CHANNELS):
            if "threshold_dn" in rule:
                limits[i] = rule["threshold_dn"]
            else:
                limits[i] = rule["k_sigma"] * np.asarray(rule["noise"][f"{channel}_dn"])
        return limits


@functools.lru_cache(maxsize=32)
def _spans(geometry: EpochGeometry) -> CellSpans:
    return cell_spans(geometry.cellmap.cell, geometry.skymap.visible, geometry.cells.n_cells)


def flag_cells(
    delta: NDArray[np.floating[Any]],
    limit_dn: NDArray[np.float64],
    statistic: str,
    combine: str,
) -> NDArray[np.bool_]:
    """Say which cells changed by more than a limit.

    Parameters
    ----------
    delta : (..., statistic, channel, cell) float array, counts
        Not modified. NaN never flags.
    limit_dn : (channel, cell) float64 array, counts
    statistic : "signed" tests |mean Δ|, "absolute" tests mean |Δ|
    combine : "and" if red and green must both pass, "or" if one is enough

    Returns
    -------
    (..., cell) bool array
    """
    which = {"signed": 0, "absolute": 1}[statistic]
    beyond = np.abs(delta[..., which, :, :].astype(np.float64)) > limit_dn
    joined = beyond.all(axis=-2) if combine == "and" else beyond.any(axis=-2)
    return np.asarray(joined, dtype=np.bool_)


def match_lag(
    later: NDArray[np.datetime64],
    frames: NDArray[np.datetime64],
    lag_s: float,
    tolerance_s: float,
) -> NDArray[np.int64]:
    """Find for each frame the one closest to `lag_s` before it.

    Parameters
    ----------
    later : (n,) datetime64 array
    frames : (m,) datetime64 array, sorted; the possible partners
    lag_s, tolerance_s : float, seconds

    Returns
    -------
    (n,) int64 array
        Index into `frames`; -1 where none earlier than the frame itself lies
        within the tolerance, limits included. Of two equally near, the earlier.
    """
    at = later.astype("datetime64[us]").astype(np.int64)
    candidates = frames.astype("datetime64[us]").astype(np.int64)
    result = np.full(len(at), -1, np.int64)
    if len(candidates) == 0:
        return result
    wanted = at - round(lag_s * 1e6)
    after = np.searchsorted(candidates, wanted)
    best = np.full(len(at), np.iinfo(np.int64).max)
    for index in (after - 1, after):
        inside = (index >= 0) & (index < len(candidates))
        safe = np.clip(index, 0, len(candidates) - 1)
        distance = np.abs(candidates[safe] - wanted)
        near = inside & (distance <= round(tolerance_s * 1e6)) & (candidates[safe] < at)
        better = near & (distance < best)
        result[better] = safe[better]
        best[better] = distance[better]
    return result


def _exposure_and_gain(block: FrameBlock) -> NDArray[np.float32]:
    """(n, 2) exposure and gain; NaN where unknown."""
    unknown = np.full(len(block), np.nan, np.float32)
    parts = [unknown if a is None else a for a in (block.exposure_s, block.gain)]
    return np.stack(parts, axis=1)


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether exposure and gain of (n, 2) agree, or are both unknown."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    apart = np.abs(a - b) > EXPOSURE_TOLERANCE * np.maximum(np.abs(a), np.abs(b))
    return np.asarray(~(apart | (np.isnan(a) != np.isnan(b))).any(axis=1))


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    """The frame with three channels, those of a mono camera being equal; not copied."""
    return image if image.shape[-1] == 3 else np.broadcast_to(image, (*image.shape[:2], 3))
