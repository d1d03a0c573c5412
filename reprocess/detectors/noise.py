"""The difference statistic's noise, from frames without aurora, and what a threshold flags.

Pure functions of evidence arrays. What they find is written into the camera
epoch as constants, so that adding a year changes no earlier result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.change import CHANNELS
from reprocess.detectors.detector import EvidenceStatus
from reprocess.detectors.difference import flag_cells
from reprocess.errors import ConfigurationError

# Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
FRAMES_MIN = 20


@dataclass(frozen=True)
class NoiseEstimate:
    """Noise of the difference statistic, counts.

    Attributes
    ----------
    sigma_dn : (channel, cell) float64
        1.4826 × median absolute deviation of the mean Δ. Cells without an
        estimate of their own hold the whole sky's.
    level_dn : (channel, cell) float64
        Median of the mean |Δ|, likewise.
    sky_sigma_dn, sky_level_dn : (channel,) float64
        Medians over the cells that have an estimate.
    n_frames : (cell,) int64
        Observed frames behind each cell.
    """

    sigma_dn: NDArray[np.float64]
    level_dn: NDArray[np.float64]
    sky_sigma_dn: NDArray[np.float64]
    sky_level_dn: NDArray[np.float64]
    n_frames: NDArray[np.int64]

    def settings(self, statistic: str, per_cell: bool = True) -> dict[str, Any]:
        """The `noise:` section of a camera epoch for a statistic, to 4 significant digits."""
        cells, sky = {
            "signed": (self.sigma_dn, self.sky_sigma_dn),
            "absolute": (self.level_dn, self.sky_level_dn),
        }[statistic]
        return {
            f"{channel}_dn": [_rounded(v) for v in cells[i]] if per_cell else _rounded(sky[i])
            for i, channel in enumerate(CHANNELS)
        }


def estimate_noise(
    delta: NDArray[np.floating[Any]], status: NDArray[np.uint8], frames_min: int = FRAMES_MIN
) -> NoiseEstimate:
    """Estimate the noise of each cell's difference statistic, robustly.

    Parameters
    ----------
    delta : (time, statistic, channel, cell) float array, counts
        Evidence of frames without aurora. NaN where not measured. Not modified.
    status : (time,) uint8 array, `EvidenceStatus`
        Only OBSERVED frames count.
    frames_min : int
        A cell with fewer takes the whole sky's constant, and so does one that
        never changed.

    Raises
    ------
    ConfigurationError
        If no cell has `frames_min` observed frames, or none ever changed.
    """
    observed = delta[status == EvidenceStatus.OBSERVED].astype(np.float64)
    n_cells = delta.shape[-1]
    measured = np.isfinite(observed).all(axis=(1, 2))
    n_frames = measured.sum(axis=0)
    sigma = np.zeros((len(CHANNELS), n_cells))
    level = np.zeros((len(CHANNELS), n_cells))
    for cell in np.flatnonzero(n_frames >= max(1, frames_min)):
        mean, absolute = np.moveaxis(observed[measured[:, cell], :, :, cell], 1, 0)
        sigma[:, cell] = MAD_TO_SIGMA * np.median(np.abs(mean - np.median(mean, axis=0)), axis=0)
        level[:, cell] = np.median(absolute, axis=0)
    if n_frames.max(initial=0) < frames_min:
        raise ConfigurationError(
            f"noise: found at most {n_frames.max(initial=0)} observed frames in a cell, "
            f"expected at least {frames_min} without aurora"
        )
    sky_sigma = _whole_sky(sigma, "mean Δ")
    sky_level = _whole_sky(level, "mean |Δ|")
    return NoiseEstimate(
        sigma_dn=np.where(sigma > 0, sigma, sky_sigma[:, None]),
        level_dn=np.where(level > 0, level, sky_level[:, None]),
        sky_sigma_dn=sky_sigma,
        sky_level_dn=sky_level,
        n_frames=n_frames,
    )


def sweep_thresholds(
    delta: NDArray[np.floating[Any]],
    status: NDArray[np.uint8],
    observed: NDArray[np.bool_],
    thresholds: Sequence[float],
    noise: NoiseEstimate | None = None,
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Find the share of observed cells that each rule and threshold flags.

    Parameters
    ----------
    delta : (time, statistic, channel, cell) float array, counts. Not modified.
    status : (time,) uint8 array, `EvidenceStatus`
    observed : (cell,) bool array, cells visible enough to count
    thresholds : m numbers: counts, or multiples of `noise` if it is given

    Returns
    -------
    dict (statistic, combine) -> (m,) float64 array
        For "signed" and "absolute" by "and" and "or". NaN if nothing is observed.
    """
    kept = delta[status == EvidenceStatus.OBSERVED][..., observed].astype(np.float64)
    n_observed = int(np.isfinite(kept).all(axis=(1, 2)).sum())
    shares = {}
    for statistic in ("signed", "absolute"):
        unit = np.ones(kept.shape[2:])
        if noise is not None:
            unit = (noise.sigma_dn if statistic == "signed" else noise.level_dn)[:, observed]
        for combine in ("and", "or"):
            n_flagged = [
                int(flag_cells(kept, t * unit, statistic, combine).sum()) for t in thresholds
            ]
            shares[statistic, combine] = (
                np.array(n_flagged) / n_observed if n_observed else np.full(len(n_flagged), np.nan)
            )
    return shares


def _whole_sky(values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    sky = np.zeros(len(values))
    for i, channel in enumerate(CHANNELS):
        positive = values[i][values[i] > 0]
        if positive.size == 0:
            raise ConfigurationError(
                f"noise: {what} in {channel} never varies in any cell; expected frames of a real "
                f"camera, with noise"
            )
        sky[i] = np.median(positive)
    return sky


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
