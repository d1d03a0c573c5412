"""How strongly a method says "aurora" in a cell, so that methods meet at one false-cell rate.

A level is the number that a method compares with its threshold: the cell is
flagged where its level is *above* the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.coverage import UNITS_PER_SR
from reprocess.detectors.detector import FRACTION_FULL
from reprocess.geometry.cells import CellMap

STEPS = 400
"""Thresholds tried for each of brightness and green excess."""


def difference_levels(
    delta: NDArray[np.floating[Any]], unit_dn: NDArray[np.float64], statistic: str, combine: str
) -> NDArray[np.float32]:
    """Find the largest k at which the difference rule still flags a cell.

    Parameters
    ----------
    delta : (n, statistic, channel, cell) float array, counts. Not modified.
    unit_dn : (channel, cell) float64 array, counts, what k multiplies
    statistic, combine : as `flag_cells`

    Returns
    -------
    (n, cell) float32 array, NaN where not measured
        "and" takes the weaker channel, "or" the stronger.
    """
    which = {"signed": 0, "absolute": 1}[statistic]
    ratio = np.abs(delta[:, which].astype(np.float64)) / unit_dn
    joined = ratio.min(axis=1) if combine == "and" else ratio.max(axis=1)
    return np.asarray(joined, np.float32)


def network_levels(
    logits: NDArray[np.floating[Any]], cellmap: CellMap, size_px: int, fraction_min: int
) -> NDArray[np.float32]:
    """Find the highest logit threshold at which a cell still counts as aurora.

    Parameters
    ----------
    logits : (n, v, u) float array, aurora minus background. Not modified.
    cellmap : of the frames' camera epoch
    size_px : int, side of the processed image
    fraction_min : int, least floor(254 × share) that is aurora

    Returns
    -------
    (n, cell) float32 array, NaN for cells without a visible pixel

    Notes
    -----
    With a rule of one half this is the solid-angle-weighted median of the
    upsampled logits, so that one pass knows the answer for every threshold.
    """
    units = np.rint(cellmap.weight.astype(np.float64) * UNITS_PER_SR).astype(np.int64).ravel()
    pixels = np.flatnonzero(cellmap.cell.ravel() >= 0)
    pixels = pixels[np.argsort(cellmap.cell.ravel()[pixels], kind="stable")]
    n_cells = len(cellmap.observed)
    bounds = np.searchsorted(cellmap.cell.ravel()[pixels], np.arange(n_cells + 1))
    levels = np.full((len(logits), n_cells), np.nan, np.float32)
    for i, coarse in enumerate(logits):
        fine = cv2.resize(
            coarse.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_LINEAR
        )
        _weighted_levels(fine.ravel()[pixels], units[pixels], bounds, fraction_min, levels[i])
    return levels


@dataclass(frozen=True)
class Threshold:
    """Where a method is cut: `limit` (flagged above it) and the false-cell rate it gives."""

    limit: float
    false_rate: float


def threshold_at(
    levels: NDArray[np.floating[Any]], negative: NDArray[np.bool_], rate_max: float
) -> Threshold:
    """Find the lowest threshold whose false-cell rate is at most a limit.

    Parameters
    ----------
    levels : float array of any shape
    negative : bool array of that shape, cell-frames without true aurora
    rate_max : float, greatest share of them that may be flagged

    Returns
    -------
    Threshold
        NaN for both if there is no negative cell-frame.

    Notes
    -----
    Equal levels are flagged together or not at all, so the rate may stay below the limit.
    """
    below = np.sort(levels[negative])[::-1]
    if below.size == 0:
        return Threshold(float("nan"), float("nan"))
    allowed = int(rate_max * below.size)
    limit = below[allowed] if allowed < below.size else np.nextafter(below[-1], -np.inf)
    return Threshold(float(limit), float((below > limit).mean()))


@dataclass(frozen=True, eq=False)
class ColourRule:
    """Aurora where brightness and green excess of a cell or a pixel both reach their thresholds.

    Brightness is (R + G + B) / 3, green excess G - (R + B) / 2, counts.
    """

    brightness_dn: float
    excess_dn: float

    def flags(self, colours: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(…) bool array from (…, 3) mean colours."""
        brightness, excess = brightness_and_excess(colours)
        return np.asarray((brightness >= self.brightness_dn) & (excess >= self.excess_dn))


def brightness_and_excess(
    colours: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(…) brightness and green excess, counts, from (…, 3) mean colours of cells or pixels."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return (red + green + blue) / np.float32(3.0), green - (red + blue) / np.float32(2.0)


def tune_colour(
    colours: NDArray[np.float32],
    positive: NDArray[np.bool_],
    scored: NDArray[np.bool_],
    rate_max: float | None = None,
) -> ColourRule:
    """Tune the colour-and-brightness thresholds on the very cell-frames they are scored on.

    Parameters
    ----------
    colours : (…, 3) float32 array, counts, of cells or pixels. Not modified.
    positive, scored : (…) bool arrays
    rate_max : float or None
        None maximises F1; else recall, with at most this false-cell rate.

    Notes
    -----
    Generous: no training sample is held apart. `STEPS` quantiles of each
    quantity are tried in every combination, the lowest of them standing for
    "no threshold".
    """
    brightness, excess = (values[scored] for values in brightness_and_excess(colours))
    truth = positive[scored]
    if truth.size == 0:
        return ColourRule(float("nan"), float("nan"))
    steps = [np.unique(np.quantile(v, np.linspace(0, 1, STEPS))) for v in (brightness, excess)]
    # Quantiles in float64 may lie above the smallest value by rounding.
    edges = [np.concatenate([[-np.inf], s[1:].astype(np.float32)]) for s in steps]
    n0, n1 = len(edges[0]), len(edges[1])
    row = np.searchsorted(edges[0], brightness, side="right") - 1
    column = np.searchsorted(edges[1], excess, side="right") - 1
    place = (truth * n0 + row) * n1 + column
    counts = np.bincount(place, minlength=2 * n0 * n1).reshape(2, n0, n1)
    best = best_thresholds(counts, rate_max)
    return ColourRule(float(edges[0][best[0]]), float(edges[1][best[1]]))


def best_thresholds(counts: NDArray[np.int64], rate_max: float | None = None) -> tuple[int, int]:
    """Find the pair of thresholds that serves best, of all pairs there are.

    Parameters
    ----------
    counts : (truth, first, second) int64 array, by truth (no, yes) and two binned quantities.
        Not modified.
    rate_max : as `tune_colour`

    Returns
    -------
    first, second : int
        Aurora where both quantities reach these bins.
    """
    false, hits = counts[:, ::-1, ::-1].cumsum(axis=1).cumsum(axis=2)[:, ::-1, ::-1]
    if rate_max is None:
        merit = 2.0 * hits / np.maximum(hits + false + hits[0, 0], 1)
    else:
        merit = np.where(false <= rate_max * false[0, 0], hits, -1).astype(np.float64)
    best = np.unravel_index(int(merit.argmax()), merit.shape)
    return int(best[0]), int(best[1])


@numba.njit(nogil=True, cache=True)
def _weighted_levels(
    values: NDArray[np.float32],
    units: NDArray[np.int64],
    bounds: NDArray[np.int64],
    fraction_min: int,
    levels: NDArray[np.float32],
) -> None:
    for cell in range(bounds.size - 1):
        start, stop = bounds[cell], bounds[cell + 1]
        total = units[start:stop].sum()
        if total <= 0:
            continue
        order = np.argsort(values[start:stop])
        covered = np.int64(0)
        for i in range(order.size - 1, -1, -1):
            covered += units[start + order[i]]
            if covered * FRACTION_FULL // total >= fraction_min:
                levels[cell] = values[start + order[i]]
                break
