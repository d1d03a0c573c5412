"""Counting of frames that are all in memory: what streamed counts are held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.cube.count import Counter, Fractions


def count_year(
    day_index: NDArray[np.integer[Any]],
    month: NDArray[np.integer[Any]],
    mlt_bin: NDArray[np.integer[Any]],
    selected: NDArray[np.bool_],
    fraction: Fractions,
    *,
    n_mlt: int,
    fraction_min: int,
    compare: Sequence[str] = (),
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Count frames that are all in memory; `Counter` streams what is not.

    Parameters
    ----------
    day_index : (n,) integer array
        UTC day of each frame; frames may come in any order.
    month : (n,) integer array, 0-11
    mlt_bin : (n,) integer array, -1 = no bin
    selected : (n,) bool array
    fraction : label → (n, cell) uint8 array, 255 = not observed
    n_mlt, fraction_min, compare : as in `Counter`

    Returns
    -------
    counts, n_days : (outcome, month, detector, mlt, cell) int32 arrays
        In the order of `fraction`'s labels.

    Raises
    ------
    ValueError
        If no label has an array, or as in `Counter.add_day`.
    """
    arrays = [array for array in fraction.values() if array is not None]
    if not arrays:
        raise ValueError("fraction: expected an array for at least one label")
    counter = Counter(tuple(fraction), n_mlt, arrays[0].shape[1], fraction_min, compare)
    ranks = np.argsort(day_index, kind="stable")
    days = np.asarray(day_index)[ranks]
    for frames in np.split(ranks, np.flatnonzero(np.diff(days)) + 1):
        counter.add_day(
            month[frames],
            mlt_bin[frames],
            selected[frames],
            {label: None if a is None else a[frames] for label, a in fraction.items()},
        )
    return counter.counts, counter.n_days
