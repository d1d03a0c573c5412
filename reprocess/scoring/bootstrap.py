"""Intervals over whole days: frames of one night are not independent, nights nearly are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
SEED = 20250
PERCENTILES = (2.5, 97.5)


def relative_error(
    found: NDArray[np.float64], true: NDArray[np.float64], observed: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Find the relative error of an occurrence rate, and its 95 % interval over days.

    Parameters
    ----------
    found, true, observed : (day,) float64 arrays
        Cell-frames flagged, with true aurora, and observed.

    Returns
    -------
    error, low, high : float
        (rate found) / (true rate) - 1. NaN without true aurora; an interval of NaN if fewer
        than two days have any.

    Notes
    -----
    Days that observed something are drawn with replacement `DRAWS` times from
    a fixed seed. Draws without true aurora have no error and are left out.
    """
    if true.sum() == 0:
        return math.nan, math.nan, math.nan
    error = float(found.sum() / true.sum() - 1)
    if np.count_nonzero(true) < 2:
        return error, math.nan, math.nan
    days = np.flatnonzero(observed > 0)
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(len(days), np.full(len(days), 1 / len(days)), size=DRAWS)
    drawn_true = times @ true[days]
    some = drawn_true > 0
    errors = (times @ found[days])[some] / drawn_true[some] - 1
    low, high = np.percentile(errors, [2.5, 97.5])
    return error, float(low), float(high)


def day_interval(
    per_day: NDArray[np.floating],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, float]:
    """Find the 95 % interval over days of a number that is made of daily sums.

    Parameters
    ----------
    per_day : (day, k) float array of sums, all zero on days that saw nothing
    statistic : (draw, k) sums → (draw,) values, NaN where there is none

    Returns
    -------
    low, high : float
        NaN with fewer than two days, or if no draw has a value.

    Notes
    -----
    As `relative_error`: days with anything in them are drawn with replacement,
    `DRAWS` times from a fixed seed; draws without a value are left out.
    """
    days = per_day[per_day.any(axis=1)].astype(np.float64)
    if len(days) < 2:
        return math.nan, math.nan
    times = np.random.default_rng(SEED).multinomial(
        len(days), np.full(len(days), 1 / len(days)), size=DRAWS
    )
    values = statistic(times @ days)
    values = values[np.isfinite(values)]
    if not values.size:
        return math.nan, math.nan
    low, high = np.percentile(values, PERCENTILES)
    return float(low), float(high)
