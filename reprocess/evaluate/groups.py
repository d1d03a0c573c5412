"""Which images, and which cells of them, belong together in a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from reprocess.evaluate.measure import Measured, truly
from reprocess.geometry.cells import SkyCells
from reprocess.labels import LabelIndex

ALL = "all"
VALUES_MAX = 12
"""A column of text with more values than this is not a table."""
PARTS = 3
STEADY = 0.1
"""Relative change over a lag below which aurora that stays is stationary."""
MOON_HIGH_DEG = 10.0


@dataclass(frozen=True, eq=False)
class FrameGroup:
    """Images of one value of a column: `rows` is (n,) bool."""

    by: str
    value: str
    rows: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CellGroup:
    """Cell-frames of one value: `cells` is (n, cell) bool."""

    by: str
    value: str
    cells: NDArray[np.bool_]


def frame_groups(
    index: LabelIndex, share: NDArray[np.float32], fraction_min: int
) -> Iterator[FrameGroup]:
    """Group images by whether they show aurora, station, camera and every condition.

    Notes
    -----
    A column of text makes a group a value, if it has 2 to `VALUES_MAX`. A
    column of numbers with few values likewise; of others, 0 is a group of its
    own where a fifth of the images has it, and the rest is cut at its terciles.
    The Moon's elevation is cut at the horizon and at 10 degrees.
    """
    aurora = np.asarray(truly(share, fraction_min).any(axis=1), np.bool_)
    for value, rows in (("with aurora", aurora), ("without aurora", ~aurora)):
        if rows.any():
            yield FrameGroup("image", value, rows)
    columns = {"station": index.station, "camera": index.camera, **index.conditions}
    for name, values in columns.items():
        if values.dtype.kind == "f":
            groups = list(_by_number(name, values))
        else:
            groups = [(str(v), values == v) for v in np.unique(values) if str(v)]
        groups = [(value, rows) for value, rows in groups if rows.any()]
        if 2 <= len(groups) <= VALUES_MAX:
            for value, rows in groups:
                yield FrameGroup(name, value, rows)


def cell_groups(measured: Measured, cells: SkyCells, fraction_min: int) -> Iterator[CellGroup]:
    """Group cell-frames by ring, and those of true aurora by brightness and motion.

    Notes
    -----
    Brightness is the cell's mean of R, G, B over the median of the image's
    background, cut at the terciles of all cells of true aurora. Aurora is
    stationary where the cell had some a lag before and that brightness changed by
    less than a tenth, moving where it had none or changed by more; cells without
    a partner are in neither.
    """
    scored = measured.scored
    for low in np.unique(cells.zenith_min_deg)[::-1]:
        ring = cells.zenith_min_deg == low
        high = cells.zenith_max_deg[ring][0]
        inside = scored & ring
        if inside.any():
            yield CellGroup("elevation", f"{90 - high:.0f} to {90 - low:.0f} deg", inside)
    now = scored & truly(measured.share, fraction_min)
    known = now & np.isfinite(measured.over)
    if known.any():
        edges = np.quantile(measured.over[known], np.linspace(0, 1, PARTS + 1)[1:-1])
        place = np.searchsorted(edges, np.nan_to_num(measured.over), side="right")
        names = [
            f"below {edges[0]:.0f} DN",
            *(f"{a:.0f} to {b:.0f} DN" for a, b in pairwise(edges)),
            f"from {edges[-1]:.0f} DN",
        ]
        for i, name in enumerate(names):
            yield CellGroup("aurora over background", name, known & (place == i))
    partner = measured.partner
    paired = known & np.isfinite(measured.delta).all(axis=(1, 2))
    if paired.any():
        before = np.maximum(partner, 0)
        there = truly(measured.share[before], fraction_min) & (partner >= 0)[:, None]
        earlier = measured.over[before]
        change = np.abs(measured.over - earlier) / np.maximum(np.abs(earlier), 1.0)
        still = there & (change < STEADY)
        yield CellGroup("motion", "stationary", paired & still)
        yield CellGroup("motion", "moving or changing", paired & ~still)


def _by_number(name: str, values: NDArray[np.float64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    known = np.isfinite(values)
    if "moon_elevation" in name and known.any():
        yield "below the horizon", known & (values < 0)
        yield f"0 to {MOON_HIGH_DEG:g} deg", known & (values >= 0) & (values < MOON_HIGH_DEG)
        yield f"from {MOON_HIGH_DEG:g} deg", known & (values >= MOON_HIGH_DEG)
        return
    different = np.unique(values[known])
    if len(different) <= 2 * PARTS:
        for value in different:
            yield f"{value:g}", values == value
        return
    rest = known.copy()
    if (values[known] == 0).mean() >= 0.2:
        yield "0", values == 0
        rest &= values != 0
    edges = np.unique(np.quantile(values[rest], np.linspace(0, 1, PARTS + 1)))
    for i, (low, high) in enumerate(pairwise(edges)):
        last = i == len(edges) - 2
        inside = rest & (values >= low) & ((values <= high) if last else (values < high))
        yield f"{low:.3g} to {high:.3g}", inside
