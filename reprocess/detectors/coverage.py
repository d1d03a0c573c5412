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
    cell = np.maximum(cell, 0)  # where they add nothing
    whole = _tile_units(cell, units, n_cells, *logits.shape[1:])
    total = np.zeros(n_cells, np.int64)
    np.add.at(total, whole[1], whole[2])
    covered = np.zeros((len(logits), n_cells), np.int64)
    logits = logits.astype(np.float32)
    parts = (np.array_split(a, threads) for a in (logits, covered))
    with ThreadPoolExecutor(threads, "cover") as pool:
        list(pool.map(lambda f, c: _cover(f, threshold, cell, units, *whole, c), *parts))
    seen = np.flatnonzero(total > 0)
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
def _runs(lower: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of pixels that share their two sources begin, and where the last one ends."""
    inner = np.flatnonzero(lower[1:] != lower[:-1]) + 1
    return np.concatenate((np.array([0]), inner, np.array([lower.size])))


@numba.njit(nogil=True, cache=True)
def _tile_units(
    cell: NDArray[np.int16], units: NDArray[np.int64], n_cells: int, n_v: int, n_u: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Add up solid angle by tile, the pixels between the same four sources, and cell.

    Returns
    -------
    (tile + 1,) where the parts of a tile, in image order, begin; (part,) cell; (part,) units
    """
    ys = _runs(_neighbours(cell.shape[0], n_v)[0])
    xs = _runs(_neighbours(cell.shape[1], n_u)[0])
    first = np.zeros((ys.size - 1) * (xs.size - 1) + 1, np.int64)
    part_cell, part_units = np.empty(cell.size, np.int64), np.empty(cell.size, np.int64)
    of_cell = np.zeros(n_cells, np.int64)
    end = tile = 0
    for j in range(ys.size - 1):
        for i in range(xs.size - 1):
            for y in range(ys[j], ys[j + 1]):
                for x in range(xs[i], xs[i + 1]):
                    if units[y, x] > 0:
                        if of_cell[cell[y, x]] == 0:
                            part_cell[end] = cell[y, x]
                            end += 1
                        of_cell[cell[y, x]] += units[y, x]
            for part in range(first[tile], end):
                part_units[part] = of_cell[part_cell[part]]
                of_cell[part_cell[part]] = 0
            tile += 1
            first[tile] = end
    return first, part_cell[:end], part_units[:end]


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
    cell: NDArray[np.int16],
    units: NDArray[np.int64],
    first: NDArray[np.int64],
    part_cell: NDArray[np.int64],
    part_units: NDArray[np.int64],
    covered: NDArray[np.int64],
) -> None:
    """Add up the solid angle of aurora by cell; tiles are those of `_tile_units`.

    A value between four sources is not above all of them nor below: most tiles are aurora, or are
    none, as a whole. Only where an outline passes are pixels looked at.
    """
    v0, v1, wv = _neighbours(cell.shape[0], logits.shape[1])
    u0, u1, wu = _neighbours(cell.shape[1], logits.shape[2])
    ys, xs = _runs(v0), _runs(u0)
    for frame in range(logits.shape[0]):
        logit = logits[frame]
        aurora = logit >= threshold
        of_cell = covered[frame]
        tile = -1
        for j in range(ys.size - 1):
            top, bottom = v0[ys[j]], v1[ys[j]]
            for i in range(xs.size - 1):
                tile += 1
                left, right = u0[xs[i]], u1[xs[i]]
                corners = (
                    np.int64(aurora[top, left]) + np.int64(aurora[top, right])
                    + np.int64(aurora[bottom, left]) + np.int64(aurora[bottom, right])
                )  # fmt: skip
                if corners == 0 or first[tile] == first[tile + 1]:
                    continue
                if corners == 4:
                    for part in range(first[tile], first[tile + 1]):
                        of_cell[part_cell[part]] += part_units[part]
                    continue
                # Unsigned, so that no index needs a check for being negative.
                for y in range(np.uint64(ys[j]), np.uint64(ys[j + 1])):
                    west = logit[top, left] * (1.0 - wv[y]) + logit[bottom, left] * wv[y]
                    east = logit[top, right] * (1.0 - wv[y]) + logit[bottom, right] * wv[y]
                    if west < threshold and east < threshold:
                        continue
                    for x in range(np.uint64(xs[i]), np.uint64(xs[i + 1])):
                        if west * (1.0 - wu[x]) + east * wu[x] >= threshold:
                            of_cell[np.uint64(cell[y, x])] += units[y, x]


@numba.njit(nogil=True, cache=True)
def _blend(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    weight: float,
    row: NDArray[np.float64],
) -> None:
    for u in range(row.size):
        row[u] = first[u] * (1.0 - weight) + second[u] * weight
