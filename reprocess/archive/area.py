"""Shrink a frame by the mean over each pixel's area, in whole numbers.

OpenCV's area average adds in float32: single counts depend on the order in which it adds, so on
its version and the processor. Sums of integers do not, and from 960 px or more to 256 they take a
quarter of the time or less.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray


def area_mean(image: NDArray[Any], size_px: int) -> NDArray[Any]:
    """Average a square image over the areas of fewer pixels.

    Parameters
    ----------
    image : (n, n, 3) uint8 or uint16 array, contiguous, counts. Not modified.
    size_px : at most n

    Returns
    -------
    (size_px, size_px, 3) array of the same type, counts

    Notes
    -----
    floor(mean + ½), where a pixel of the result is n / size_px pixels of the image wide and high,
    and one that lies in several of them counts in each by the share of its area there. Exact,
    hence the same on every machine.
    """
    spans = _spans(len(image), size_px)
    found = np.empty((size_px, size_px, 3), image.dtype)
    _average(image, *spans, found)
    return found


class _Spans(NamedTuple):
    """The pixels along one side that each pixel of the result spans, in parts of a pixel.

    Attributes
    ----------
    first, last : (size_px,) int64 arrays, the pixels that it begins and ends in
    first_parts, last_parts : (size_px,) int64 arrays, of these pixels; 0 of a last one that is
        also the first
    parts : of a pixel between them
    span : parts that a pixel of the result has
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    first_parts: NDArray[np.int64]
    last_parts: NDArray[np.int64]
    parts: int
    span: int


@functools.lru_cache(maxsize=16)
def _spans(n_px: int, size_px: int) -> _Spans:
    divisor = math.gcd(n_px, size_px)
    parts, span = size_px // divisor, n_px // divisor
    begin = np.arange(size_px) * span
    first, last = begin // parts, (begin + span - 1) // parts
    first_parts = np.minimum((first + 1) * parts, begin + span) - begin
    last_parts = np.where(last > first, begin + span - last * parts, 0)
    return _Spans(first, last, first_parts, last_parts, parts, span)


@numba.njit(nogil=True, cache=True)
def _average(
    image: NDArray[Any],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    first_parts: NDArray[np.int64],
    last_parts: NDArray[np.int64],
    parts: int,
    span: int,
    found: NDArray[Any],
) -> None:
    size = len(first)
    # Of one row of the result: down the columns first, which is most of the work and goes
    # along the image's rows; 32 bits are enough for a span of 65 537 parts of 16 bits.
    columns = np.empty((image.shape[1], 3), np.uint32)
    numbers = columns.reshape(columns.size)
    pixels = np.empty((size, 3), np.float64)  # whole numbers far below 2^53
    area = float(span * span)
    for y in range(size):
        numbers[:] = 0
        for row in range(first[y], last[y] + 1):
            weight = parts
            if row == first[y]:
                weight = first_parts[y]
            elif row == last[y]:
                weight = last_parts[y]
            counts = image[row].reshape(numbers.size)
            for at in range(numbers.size):
                numbers[at] += np.uint32(weight) * counts[at]
        for x in range(size):
            red, green, blue = 0, 0, 0
            for column in range(first[x] + 1, last[x]):
                red += columns[column, 0]
                green += columns[column, 1]
                blue += columns[column, 2]
            begin, end = columns[first[x]], columns[last[x]]
            pixels[x, 0] = parts * red + first_parts[x] * begin[0] + last_parts[x] * end[0]
            pixels[x, 1] = parts * green + first_parts[x] * begin[1] + last_parts[x] * end[1]
            pixels[x, 2] = parts * blue + first_parts[x] * begin[2] + last_parts[x] * end[2]
        result, sums = found[y].reshape(3 * size), pixels.reshape(3 * size)
        for at in range(3 * size):
            result[at] = np.int32(sums[at] / area + 0.5)
