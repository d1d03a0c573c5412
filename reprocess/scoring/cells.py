"""Pictures averaged over sky cells."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from reprocess.geometry.cells import CellMap

CHANNELS = 3


def cell_colours(images: NDArray[np.uint8], cellmaps: Sequence[CellMap]) -> NDArray[np.float32]:
    """Average red, green and blue over each cell's visible pixels.

    Parameters
    ----------
    images : (n, y, x, 3) uint8 array, counts. Not modified.
    cellmaps : the map of each frame's camera epoch, n of them

    Returns
    -------
    (n, cell, 3) float32 array, counts; NaN for cells without a pixel
    """
    n_cells = len(cellmaps[0].observed) if cellmaps else 0
    colours = np.empty((len(images), n_cells, CHANNELS), np.float32)
    for i, (image, cellmap) in enumerate(zip(images, cellmaps, strict=True)):
        ones = np.ones(cellmap.cell.shape, np.float32)
        colours[i] = cell_means(image, cellmap.cell, ones, n_cells)
    return colours


def cell_means(
    values: NDArray[np.uint8],
    cell: NDArray[np.int16],
    weight: NDArray[np.float32],
    n_cells: int,
) -> NDArray[np.float64]:
    """Average an image over each cell, with weights.

    Parameters
    ----------
    values : (y, x, c) uint8 array. Not modified.
    cell : (y, x) int16 array, -1 outside
    weight : (y, x) float32 array

    Returns
    -------
    (cell, c) float64 array; NaN for cells without weight
    """
    total = np.zeros((n_cells, values.shape[2] + 1))
    _add_up(np.ascontiguousarray(values), cell, weight, total)
    means = np.full((n_cells, values.shape[2]), np.nan)
    np.divide(total[:, :-1], total[:, -1:], out=means, where=total[:, -1:] > 0)
    return means


@numba.njit(nogil=True, cache=True)
def _add_up(
    values: NDArray[np.uint8],
    cell: NDArray[np.int16],
    weight: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    height, width, channels = values.shape
    for y in range(height):
        for x in range(width):
            index = cell[y, x]
            if index >= 0:
                w = np.float64(weight[y, x])
                for c in range(channels):
                    total[index, c] += w * values[y, x, c]
                total[index, channels] += w
