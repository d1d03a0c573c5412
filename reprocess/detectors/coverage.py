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
AT_ONCE = 32
"""Frames whose pixels are looked at together."""


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
    total = np.zeros(n_cells, np.int64)
    np.add.at(total, cell.ravel(), units.ravel())

    def of(part: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        finite = np.isfinite(part.astype(np.float32)).all(axis=(1, 2))
        groups = _by_group(part[finite])
        covered = np.zeros((len(groups), n_cells, AT_ONCE), np.int64)
        _cover(groups, threshold, cell, units, covered)
        of_frame = covered.transpose(0, 2, 1).reshape(-1, n_cells)[: np.count_nonzero(finite)]
        seen = total > 0
        share = np.full((len(part), n_cells), FRACTION_UNOBSERVED, np.uint8)
        share[np.ix_(finite, seen)] = of_frame[:, seen] * FRACTION_FULL // total[seen]
        return share

    with ThreadPoolExecutor(threads, "cover") as pool:
        return np.concatenate(list(pool.map(of, np.array_split(logits, threads))))


def _by_group(logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """(group, v, u, `AT_ONCE`) logits of so many frames side by side, the last filled up with 0."""
    _, n_v, n_u = logits.shape
    n_groups = -(-len(logits) // AT_ONCE)
    frames = np.zeros((n_groups * AT_ONCE, n_v, n_u), np.float32)
    frames[: len(logits)] = logits
    return np.ascontiguousarray(
        frames.reshape(n_groups, AT_ONCE, n_v, n_u).transpose(0, 2, 3, 1), np.float32
    )


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
    covered: NDArray[np.int64],
) -> None:
    """Add up the solid angle of aurora, (group, cell, frame), of (group, v, u, frame) logits.

    The frames of a group take each step together, in vectors: whether a pixel is aurora is no
    branch then, which outlines would make unpredictable. Indices are unsigned, so that none is
    checked for being negative.
    """
    _, n_v, n_u, _ = logits.shape
    v0, v1, wv = _neighbours(cell.shape[0], n_v)
    u0, u1, wu = _neighbours(cell.shape[1], n_u)
    ys, xs = _runs(v0), _runs(u0)
    west, east = np.empty(AT_ONCE, np.float64), np.empty(AT_ONCE, np.float64)
    some = np.empty((n_v, n_u), np.bool_)
    for group in range(len(logits)):
        for v in range(n_v):
            for u in range(n_u):
                most = logits[group, v, u, 0]
                for f in range(np.uint64(AT_ONCE)):
                    most = max(most, logits[group, v, u, f])
                some[v, u] = most >= threshold
        for j in range(ys.size - 1):
            top, bottom = np.uint64(v0[ys[j]]), np.uint64(v1[ys[j]])
            for i in range(xs.size - 1):
                left, right = np.uint64(u0[xs[i]]), np.uint64(u1[xs[i]])
                # A value between four sources is not above all of them.
                if not (
                    some[top, left] or some[top, right] or some[bottom, left] or some[bottom, right]
                ):
                    continue
                for y in range(np.uint64(ys[j]), np.uint64(ys[j + 1])):
                    up, down = 1.0 - wv[y], wv[y]
                    for f in range(np.uint64(AT_ONCE)):
                        one, other = logits[group, top, left, f], logits[group, bottom, left, f]
                        west[f] = one * up + other * down
                        one, other = logits[group, top, right, f], logits[group, bottom, right, f]
                        east[f] = one * up + other * down
                    for x in range(np.uint64(xs[i]), np.uint64(xs[i + 1])):
                        here, solid_angle = np.uint64(cell[y, x]), units[y, x]
                        if solid_angle == 0:
                            continue
                        near, far = 1.0 - wu[x], wu[x]
                        for f in range(np.uint64(AT_ONCE)):
                            aurora = west[f] * near + east[f] * far >= threshold
                            covered[group, here, f] += solid_angle if aurora else 0


@numba.njit(nogil=True, cache=True)
def _blend(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    weight: float,
    row: NDArray[np.float64],
) -> None:
    for u in range(row.size):
        row[u] = first[u] * (1.0 - weight) + second[u] * weight
