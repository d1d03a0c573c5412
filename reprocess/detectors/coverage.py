"""From coarse logits to sky cells: upsample, threshold, add up solid angle.

The upsampling is bilinear with half-pixel centres, as in torch's
`interpolate(mode="bilinear", align_corners=False)`, in float64: with float16
logits and a stride of 8 it is exact. Thresholding comes after it, because
doing it on the coarse grid changes 1-7 % of the cells. Solid angles are added
as integers, so no order of summation can change a share.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED

# 254 × the whole sphere in these units stays below 2^63, and a float32 pixel keeps its 24 bits.
UNITS_PER_SR = 2.0**48


def logit(probability: float) -> float:
    """ln(p / (1 - p)); exactly 0 at 0.5."""
    return math.log(probability / (1 - probability))


def aurora_mask(
    logits: NDArray[np.floating[Any]], size_px: int, threshold: float
) -> NDArray[np.bool_]:
    """Draw the pixels whose upsampled logit difference reaches a threshold.

    Parameters
    ----------
    logits : (n, v, u) float array, aurora minus background. Not modified.
    size_px : int, side of the square image
    threshold : float, in logits (see `logit`)

    Returns
    -------
    (n, y, x) bool array
        False where a logit is NaN.
    """
    mask = np.empty((len(logits), size_px, size_px), np.bool_)
    _masks(logits.astype(np.float32), threshold, mask)
    return mask


def cell_shares(
    logits: NDArray[np.floating[Any]],
    cell: NDArray[np.int16],
    weight_sr: NDArray[np.float32],
    n_cells: int,
    threshold: float,
    threads: int = 1,
) -> NDArray[np.uint8]:
    """Find the share of each cell's visible solid angle that reaches a threshold.

    Parameters
    ----------
    logits : (n, v, u) float array, aurora minus background. Not modified.
    cell : (y, x) int16 array
        Sky cell of each pixel, -1 where there is none or it is not visible.
    weight_sr : (y, x) float32 array, steradians
    n_cells : int
    threshold : float, in logits (see `logit`)
    threads : int, frames at one time

    Returns
    -------
    (n, cell) uint8 array
        floor(254 × share); 255 for cells without visible solid angle and for
        frames with a logit that is not finite.
    """
    units = np.rint(weight_sr.astype(np.float64) * UNITS_PER_SR).astype(np.int64)
    units[cell < 0] = 0
    index = np.where(cell < 0, n_cells, cell).astype(np.int64)
    total = np.zeros(n_cells + 1, np.int64)
    np.add.at(total, index.ravel(), units.ravel())
    covered = np.zeros((len(logits), n_cells + 1), np.int64)
    parts = (np.array_split(a, threads) for a in (logits.astype(np.float32), covered))
    with ThreadPoolExecutor(threads, "cover") as pool:
        list(pool.map(lambda f, c: _cover(f, threshold, index, units, c), *parts))
    seen = np.flatnonzero(total[:n_cells] > 0)
    share = np.full((len(logits), n_cells), FRACTION_UNOBSERVED, np.uint8)
    share[:, seen] = covered[:, seen] * FRACTION_FULL // total[seen]
    share[~np.isfinite(logits).all(axis=(1, 2))] = FRACTION_UNOBSERVED
    return share


@numba.njit(nogil=True, cache=True)
def _neighbours(
    n_out: int, n_in: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Lower and upper source index and the upper one's weight, for each output pixel."""
    lower = np.empty(n_out, np.int64)
    upper = np.empty(n_out, np.int64)
    weight = np.empty(n_out, np.float64)
    for i in range(n_out):
        at = max((i + 0.5) * (n_in / n_out) - 0.5, 0.0)
        lower[i] = min(int(at), n_in - 1)
        upper[i] = min(lower[i] + 1, n_in - 1)
        weight[i] = at - lower[i]
    return lower, upper, weight


@numba.njit(nogil=True, cache=True)
def _masks(logits: NDArray[np.float32], threshold: float, mask: NDArray[np.bool_]) -> None:
    n, height, width = mask.shape
    v0, v1, wv = _neighbours(height, logits.shape[1])
    u0, u1, wu = _neighbours(width, logits.shape[2])
    row = np.empty(logits.shape[2], np.float64)
    for frame in range(n):
        for y in range(height):
            _blend(logits[frame, v0[y]], logits[frame, v1[y]], wv[y], row)
            for x in range(width):
                mask[frame, y, x] = (row[u0[x]] * (1.0 - wu[x]) + row[u1[x]] * wu[x]) >= threshold


@numba.njit(nogil=True, cache=True)
def _cover(
    logits: NDArray[np.float32],
    threshold: float,
    cell: NDArray[np.int64],
    units: NDArray[np.int64],
    covered: NDArray[np.int64],
) -> None:
    height, width = cell.shape
    v0, v1, wv = _neighbours(height, logits.shape[1])
    u0, u1, wu = _neighbours(width, logits.shape[2])
    # A value between two sources is not above both nor below both: most rows, and most runs of
    # pixels that share their two source columns, need no interpolation.
    begins = np.flatnonzero(np.concatenate((np.array([True]), (u0[1:] != u0[:-1]))))
    ends = np.append(begins[1:], width)
    row = np.empty(logits.shape[2], np.float64)
    some = np.empty(logits.shape[1], np.bool_)
    for frame in range(logits.shape[0]):
        for v in range(logits.shape[1]):
            some[v] = np.any(logits[frame, v] >= threshold)
        for y in range(height):
            if not (some[v0[y]] or some[v1[y]]):
                continue
            _blend(logits[frame, v0[y]], logits[frame, v1[y]], wv[y], row)
            for run in range(begins.size):
                begin, end = begins[run], ends[run]
                left, right = row[u0[begin]], row[u1[begin]]
                if left < threshold and right < threshold:
                    continue
                all_of_it = left >= threshold and right >= threshold
                for x in range(begin, end):
                    if all_of_it or left * (1.0 - wu[x]) + right * wu[x] >= threshold:
                        covered[frame, cell[y, x]] += units[y, x]


@numba.njit(nogil=True, cache=True)
def _blend(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    weight: float,
    row: NDArray[np.float64],
) -> None:
    for u in range(row.size):
        row[u] = first[u] * (1.0 - weight) + second[u] * weight
