"""How much two frames differ, by sky cell: the arithmetic of the difference method.

Of each cell's visible pixels the mean of Δ = later - earlier and of |Δ|, in red and in green. Sums
are exact integers, divided once and rounded to float16 once, so the result is the same on every
machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

STATISTICS = ("mean", "mean_absolute")
CHANNELS = ("red", "green")
EIGHT_BIT = np.ones(len(CHANNELS))
FLOAT16_MAX = 65504.0
DEEPEST = 65536
"""No pixel of the deepest frames, 16 bits, changes by so many counts."""
WIDEST = 32_768
"""Pixels of a row whose Δ + DEEPEST, of at most 131 071, always sum to less than 2³²."""


@dataclass(frozen=True)
class CellSpans:
    """Visible pixels as runs of one cell within a row, in image order.

    Attributes
    ----------
    shape : (y, x) of the image
    start, stop : (run,) flat pixel numbers
    cell : (run,) cell of the run; n_cells is sky outside the cells
    stretch : (stretch + 1,) numbers of runs; those of `stretch[i]` to `stretch[i + 1]` lie in
        one row and touch one another
    n_pixels : (cell,) visible pixels of each cell
    n_visible : visible pixels of the image, those outside the cells included
    """

    shape: tuple[int, int]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    cell: NDArray[np.int64]
    stretch: NDArray[np.int64]
    n_pixels: NDArray[np.int64]
    n_visible: int


def cell_spans(cell: NDArray[np.int16], visible: NDArray[np.bool_], n_cells: int) -> CellSpans:
    """Find the runs of visible pixels of a (y, x) cell map, which `compare_frames` adds up.

    Raises
    ------
    ValueError
        If a row has more than `WIDEST` pixels.
    """
    height, width = cell.shape
    if width > WIDEST:
        raise ValueError(f"a cell map of {width} pixels a row; expected at most {WIDEST}")
    key = np.where(visible, np.where(cell >= 0, cell, n_cells), -1).astype(np.int64).ravel()
    first = np.append(True, key[1:] != key[:-1])
    first[::width] = True
    start = np.flatnonzero(first)
    stop = np.append(start[1:], key.size)
    keep = key[start] >= 0
    start, stop = start[keep], stop[keep]
    apart = np.append(True, (start[1:] != stop[:-1]) | (start[1:] % width == 0))
    n_pixels = np.bincount(key[key >= 0], minlength=n_cells + 1)[:n_cells]
    return CellSpans(
        (height, width), start, stop, key[start],
        np.append(np.flatnonzero(apart[: start.size]), start.size), n_pixels,
        int((stop - start).sum()),
    )  # fmt: skip


def compare_frames(
    later: NDArray[Any],
    earlier: NDArray[Any],
    spans: CellSpans,
    sky_shift_max_dn: float,
    units: NDArray[np.float64] = EIGHT_BIT,
) -> NDArray[np.float16] | None:
    """Measure the difference of two frames by cell.

    Parameters
    ----------
    later, earlier : (y, x, 3) uint8 or uint16 arrays, counts. Not modified.
    spans : of the camera's cell map
    sky_shift_max_dn : float, counts of the result
    units : counts of the result for one count of the frames, by channel

    Returns
    -------
    (statistic, channel, cell) float16 array, or None
        NaN for cells without pixels; None if the median of red or green over all visible pixels
        shifted by more than the limit.
    """
    for image in (later, earlier):
        if image.shape != (*spans.shape, 3):
            raise ValueError(f"a frame of {image.shape}, a sky map of {spans.shape}")
    n_cells = len(spans.n_pixels)
    sums = np.zeros((2, 2, n_cells + 1), np.int64)
    beyond = np.zeros((2, 2), np.int64)
    _accumulate(
        np.ascontiguousarray(later).reshape(-1),
        np.ascontiguousarray(earlier).reshape(-1),
        spans.start,
        spans.stop,
        spans.cell,
        spans.stretch,
        spans.shape[1],
        np.floor(np.minimum(sky_shift_max_dn / units, DEEPEST)).astype(np.int32),
        sums,
        beyond,
    )
    # The median is beyond the limit if more than half of the pixels are, and is not if fewer
    # are; only at exactly half does it depend on how far.
    most = 2 * int(beyond.max())
    if most > spans.n_visible:
        return None
    if (
        most == spans.n_visible > 0
        and (_median_shift(later, earlier, spans) * units).max() > sky_shift_max_dn
    ):
        return None
    means = np.full((2, 2, n_cells), np.nan)
    np.divide(sums[..., :n_cells], spans.n_pixels, out=means, where=spans.n_pixels > 0)
    means *= units[:, np.newaxis]
    return np.asarray(np.clip(means, -FLOAT16_MAX, FLOAT16_MAX), np.float16)


def _median_shift(
    later: NDArray[Any], earlier: NDArray[Any], spans: CellSpans
) -> NDArray[np.float64]:
    """Magnitude in red and green of the median Δ of the visible pixels; (2,) counts."""
    visible = np.zeros(spans.shape, np.bool_)
    for start, stop in zip(spans.start, spans.stop, strict=True):
        visible.reshape(-1)[start:stop] = True
    delta = later[visible][:, :2].astype(np.int64) - earlier[visible][:, :2]
    return np.asarray(np.abs(np.median(delta, axis=0)), np.float64)


@numba.njit(nogil=True, cache=True)
def _accumulate(
    later: NDArray[Any],
    earlier: NDArray[Any],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    cell: NDArray[np.int64],
    stretch: NDArray[np.int64],
    width: int,
    limits: NDArray[np.int32],
    sums: NDArray[np.int64],
    beyond: NDArray[np.int64],
) -> None:
    """Add ΣΔ and Σ|Δ| by channel and cell, and count pixels with Δ > limit and Δ < -limit.

    Frames are flattened, red green blue in turn. Runs of one cell are short, some nine pixels of a
    frame of 256, too short for vector instructions to fill. So the arithmetic of a whole stretch
    comes first, in vectors; it leaves Δ + 65 536 in the lower and |Δ| in the upper half of a
    word of 64 bits, and a run takes one addition a pixel and channel. A stretch is sliced before:
    indices counted from a slice's start need no check for negative ones.
    """
    red_limit, green_limit = np.int32(limits[0]), np.int32(limits[1])
    half, lower = np.uint64(32), np.uint64(0xFFFFFFFF)
    zero = np.int32(DEEPEST)
    red_words, green_words = np.empty(width, np.uint64), np.empty(width, np.uint64)
    red_above = red_below = green_above = green_below = np.int32(0)
    for index in range(stretch.size - 1):
        runs = range(stretch[index], stretch[index + 1])
        begin, end = start[stretch[index]], stop[stretch[index + 1] - 1]
        a, b = later[3 * begin : 3 * end], earlier[3 * begin : 3 * end]
        reds, greens = red_words[: end - begin], green_words[: end - begin]
        for i in range(end - begin):
            red = np.int32(np.int32(a[3 * i]) - np.int32(b[3 * i]))
            green = np.int32(np.int32(a[3 * i + 1]) - np.int32(b[3 * i + 1]))
            reds[i] = np.uint64(np.uint32(red + zero)) | (np.uint64(np.uint32(abs(red))) << half)
            greens[i] = np.uint64(np.uint32(green + zero)) | (
                np.uint64(np.uint32(abs(green))) << half
            )
            red_above = np.int32(red_above + (red > red_limit))
            red_below = np.int32(red_below + (red < -red_limit))
            green_above = np.int32(green_above + (green > green_limit))
            green_below = np.int32(green_below + (green < -green_limit))
        for run in runs:
            red_run = reds[start[run] - begin : stop[run] - begin]
            green_run = greens[start[run] - begin : stop[run] - begin]
            red_sum = green_sum = np.uint64(0)
            for i in range(red_run.size):
                red_sum += red_run[i]
                green_sum += green_run[i]
            raised = DEEPEST * red_run.size
            sums[0, 0, cell[run]] += np.int64(red_sum & lower) - raised
            sums[1, 0, cell[run]] += np.int64(red_sum >> half)
            sums[0, 1, cell[run]] += np.int64(green_sum & lower) - raised
            sums[1, 1, cell[run]] += np.int64(green_sum >> half)
    beyond[0, 0] += red_above
    beyond[1, 0] += red_below
    beyond[0, 1] += green_above
    beyond[1, 1] += green_below
