"""Numbers that the figures and the report page say alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

FRAMES_MIN, AURORA_MIN = 20, 5
"""Least common frames behind a cell, and of these with aurora by each detector, for a ratio."""


def most_days(cube: xr.Dataset, labels: Sequence[str], *, common: bool) -> NDArray[np.int64] | None:
    """The largest number of UTC days on which one and the same cell was observed.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`, or a selection of months or groups of one
    labels : detectors, in the order of the result
    common : days with frames that all compared detectors observed

    Returns
    -------
    (detector, mlt) int64 array
        None where the dataset does not tell: without `n_days`, or over several groups.

    Notes
    -----
    A day lies in one month, so days add up over months. It may have frames in several groups,
    MLT bins, cells and detectors: over those no sum of `n_days` is a number of days, and the
    largest one is a number that there are at least.
    """
    if "n_days" not in cube or cube.sizes.get("group", 1) > 1:
        return None
    outcome = "observed_common" if common else "observed"
    chosen = cube["n_days"].sel(outcome=outcome, detector=list(labels))
    over = [name for name in ("time", "group") if name in chosen.dims]
    days: NDArray[np.int64] = (
        chosen.sum(over, dtype=np.int64).max("cell").transpose("detector", "mlt").to_numpy()
    )
    return days


def bears_ratio(
    observed: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    frames_min: int = FRAMES_MIN,
    aurora_min: int = AURORA_MIN,
) -> NDArray[np.bool_]:
    """Tell which cells were observed, and had aurora, often enough for a ratio of two detectors.

    Parameters
    ----------
    observed : (..., cell) integer array, frames that both observed
    before, after : arrays of the same shape, of these with aurora by the one and by the other
    """
    enough: NDArray[np.bool_] = (observed >= frames_min) & (np.minimum(before, after) >= aurora_min)
    return enough


def ratio_over_cells(
    observed: NDArray[Any],
    before: NDArray[Any],
    after: NDArray[Any],
    frames_min: int = FRAMES_MIN,
    aurora_min: int = AURORA_MIN,
) -> float | None:
    """Occurrence by one detector over that by another, over several cells: a ratio of sums.

    Parameters
    ----------
    observed, before, after, frames_min, aurora_min : (cell,) arrays, as in `bears_ratio`

    Returns
    -------
    float
        None where no single cell bears a ratio: a sum over cells counts the same few frames in
        each of them, and is no better founded than they are.
    """
    if not bears_ratio(observed, before, after, frames_min, aurora_min).any():
        return None
    return float(after.sum() / before.sum())


def ratio_digits(ratio: float) -> str:
    """A ratio in three digits or so: the counts do not bear more."""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}"
