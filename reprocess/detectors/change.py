"""How much two frames differ, by sky cell: the arithmetic of the difference method.

Of each cell's visible pixels the mean of Δ = later - earlier and of |Δ|, in red and in green. Sums
are exact integers, divided once and rounded to float16 once, so the result is the same on every
machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

STATISTICS = ("mean", "mean_absolute")
CHANNELS = ("red", "green")
EIGHT_BIT = np.ones(len(CHANNELS))
FLOAT16_MAX = 65504.0
DEPTHS = (np.dtype(np.uint8), np.dtype(np.uint16))
LONGEST = 256
"""Pixels of a run: 256 bytes sum to less than 2¹⁶."""
MOST = 2**24
"""Visible pixels of an image: so many bytes sum to less than 2³²."""


@dataclass(frozen=True)
class CellSpans:
    """Visible pixels as runs of one cell within a row, in image order.

    Attributes
    ----------
    visible : (y, x), those outside the cells included
    start, stop : (run,) flat pixel numbers; at most `LONGEST` apart
    cell : (run,) cell of the run; n_cells is sky outside the cells
    stretch : (stretch + 1,) numbers of runs; those of `stretch[i]` to `stretch[i + 1]` lie in
        one row and touch one another
    n_pixels : (cell,) visible pixels of each cell
    n_visible : visible pixels of the image
    """

    visible: NDArray[np.bool_]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    cell: NDArray[np.int16]
    stretch: NDArray[np.int64]
    n_pixels: NDArray[np.int64]
    n_visible: int


def cell_spans(cell: NDArray[np.int16], visible: NDArray[np.bool_], n_cells: int) -> CellSpans:
    """Find the runs of visible pixels of a (y, x) cell map, which `compare_frames` adds up.

    Raises
    ------
    ValueError
        If more than `MOST` pixels are visible.
    """
    height, width = cell.shape
    n_visible = int(np.count_nonzero(visible))
    if n_visible > MOST:
        raise ValueError(f"a cell map of {n_visible} visible pixels; expected at most {MOST}")
    key = np.where(visible, np.where(cell >= 0, cell, n_cells), -1).astype(np.int64).ravel()
    first = np.append(True, key[1:] != key[:-1])
    first.reshape(height, width)[:, ::LONGEST] = True
    start = np.flatnonzero(first)
    stop = np.append(start[1:], key.size)
    keep = key[start] >= 0
    start, stop = start[keep], stop[keep]
    apart = np.append(True, (start[1:] != stop[:-1]) | (start[1:] % width == 0))
    n_pixels = np.bincount(key[key >= 0], minlength=n_cells + 1)[:n_cells]
    # As short as they can be: they are read anew for every pair.
    return CellSpans(
        visible=visible,
        start=start.astype(np.int32),
        stop=stop.astype(np.int32),
        cell=key[start].astype(np.int16),
        stretch=np.append(np.flatnonzero(apart[: start.size]), start.size),
        n_pixels=n_pixels,
        n_visible=n_visible,
    )


def compare_frames(
    later: Sequence[NDArray[Any]],
    earlier: Sequence[NDArray[Any]],
    spans: CellSpans,
    sky_shift_max_dn: float,
    units: NDArray[np.float64] = EIGHT_BIT,
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Measure the difference of pairs of frames by cell.

    Parameters
    ----------
    later, earlier : pairs of (y, x, 3) uint8 or uint16 arrays, counts. Not modified.
    spans : of the camera's cell map
    sky_shift_max_dn : float, counts of the result
    units : counts of the result for one count of the frames, by channel

    Returns
    -------
    (pair, statistic, channel, cell) float16 array
        NaN for cells without pixels, and for a pair whose sky shifted.
    (pair,) bool array
        Whether the median of red or green over all visible pixels shifted by more than the limit.

    Raises
    ------
    ValueError
        If a frame is not of the shape of the cell map, or not of 8 or 16 bits as its partner.
    """
    delta = np.full(
        (len(later), len(STATISTICS), len(CHANNELS), len(spans.n_pixels)), np.nan, np.float16
    )
    means = np.empty(delta.shape[1:])
    shifted = np.zeros(len(later), np.bool_)
    # A median is beyond a limit only if half of the pixels are, each by at least one count.
    enough = max(spans.n_visible, 1) / 2 * (np.floor(sky_shift_max_dn / units) + 1)
    for pair, (a, b) in enumerate(zip(later, earlier, strict=True)):
        if not a.shape == b.shape == (*spans.visible.shape, 3):
            raise ValueError(
                f"frames of {a.shape} and {b.shape}, a sky map of {spans.visible.shape}"
            )
        if not a.dtype == b.dtype or a.dtype not in DEPTHS:
            raise ValueError(f"frames of {a.dtype} and {b.dtype}; expected 8 or 16 bits, both")
        far = _compare(
            np.ascontiguousarray(a).reshape(-1),
            np.ascontiguousarray(b).reshape(-1),
            spans.start,
            spans.stop,
            spans.cell,
            spans.stretch,
            spans.n_pixels,
            spans.visible.shape[1],
            enough,
            units,
            means,
        )
        if far and (_median_shift(a, b, spans) * units).max() > sky_shift_max_dn:
            shifted[pair] = True
        else:
            delta[pair] = means
    return delta, shifted


def _median_shift(
    later: NDArray[Any], earlier: NDArray[Any], spans: CellSpans
) -> NDArray[np.float64]:
    """Magnitude in red and green of the median Δ of the visible pixels; (2,) counts."""
    both = (
        [image[..., channel][spans.visible].astype(np.int32) for image in (later, earlier)]
        for channel in range(len(CHANNELS))
    )
    return np.abs([np.median(a - b) for a, b in both])


@numba.njit(nogil=True, cache=True)
def _compare(
    later: NDArray[Any],
    earlier: NDArray[Any],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    cell: NDArray[np.int16],
    stretch: NDArray[np.int64],
    n_pixels: NDArray[np.int64],
    width: int,
    enough: NDArray[np.float64],
    units: NDArray[np.float64],
    means: NDArray[np.float64],
) -> bool:
    """Fill (statistic, channel, cell) means; say whether max(Δ, 0) or max(-Δ, 0) of a channel,
    its rise or its fall, sum to `enough` over all visible pixels.

    Frames are flattened, red green blue in turn. Runs of one cell are short, some nine pixels of a
    frame of 256, too short for vector instructions to fill, and loops of so few turns are
    mispredicted. So the arithmetic of a whole stretch comes first, in vectors; it leaves rise and
    fall of red and of green in the four quarters of a word of 64 bits. Then words are summed along
    the stretch, and a run is one subtraction. What the sum carries from one quarter into the
    next, or loses beyond the last, the subtraction takes back, because a run alone fills no
    quarter. Counts of 16 bits would: of them the lower bytes are summed, then the upper ones.
    """
    n_cells = n_pixels.size
    every_byte, every_quarter = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
    words, summed = np.empty(width, np.uint64), np.zeros(width + 1, np.uint64)
    quarters = words.view(np.uint16)
    sums = np.zeros((later.itemsize, n_cells + 1, 2), np.uint64)
    for index in range(stretch.size - 1):
        runs = slice(stretch[index], stretch[index + 1])
        ends, cells = stop[runs], cell[runs]
        begin, end = np.int64(start[runs.start]), np.int64(ends[-1])
        n = end - begin
        a, b = later[3 * begin : 3 * end], earlier[3 * begin : 3 * end]
        out = quarters[: 4 * n]
        for i in range(n):
            red_a, red_b, green_a, green_b = a[3 * i], b[3 * i], a[3 * i + 1], b[3 * i + 1]
            red, green = max(red_a, red_b), max(green_a, green_b)
            out[4 * i] = red - red_b
            out[4 * i + 1] = red - red_a
            out[4 * i + 2] = green - green_b
            out[4 * i + 3] = green - green_a
        for byte in range(later.itemsize):
            total = before = np.uint64(0)
            word, until = words[:n], summed[1 : n + 1]
            for i in range(n):
                if later.itemsize == 1:  # decided when compiled
                    total += word[i]
                else:
                    total += (word[i] >> np.uint64(8 * byte)) & every_byte
                until[i] = total
            for run in range(ends.size):
                after = summed[np.uint64(np.int64(ends[run]) - begin)]
                change, before = after - before, after
                into = np.uint64(cells[run])
                sums[byte, into, 0] += change & every_quarter
                sums[byte, into, 1] += (change >> np.uint64(16)) & every_quarter
    halves = sums.view(np.uint32)  # rise of red and of green, fall of red and of green
    far = False
    for channel in range(2):
        rises = falls = np.int64(0)
        for c in range(n_cells + 1):
            rise = fall = np.int64(0)
            for byte in range(later.itemsize):
                rise += np.int64(halves[byte, c, channel]) << (8 * byte)
                fall += np.int64(halves[byte, c, 2 + channel]) << (8 * byte)
            rises += rise
            falls += fall
            if c < n_cells:
                for statistic, change_sum in enumerate((rise - fall, rise + fall)):
                    mean = np.nan
                    if n_pixels[c]:
                        mean = change_sum / n_pixels[c] * units[channel]
                        mean = min(max(mean, -FLOAT16_MAX), FLOAT16_MAX)
                    means[statistic, channel, c] = mean
        far |= max(rises, falls) >= enough[channel]
    return far
