"""Detectors side by side on their common denominator, by MLT and by elevation ring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from reprocess.cube.open import rates
from reprocess.plot import captions
from reprocess.plot.numbers import most_days, ratio_over_cells


@dataclass(frozen=True)
class Row:
    """One MLT bin or ring: cell-frames observed, with aurora by a label and by the reference.

    `factor` is occurrence by the label over that by the reference; None: too few frames to say
    (`ratio_over_cells`), or no reference. `days` is the largest number of UTC days behind one
    cell (`most_days`); None for what is more than one MLT bin, where days do not add up.
    """

    name: str
    observed: int
    aurora: int
    reference: int | None = None
    days: int | None = None
    factor: float | None = None

    def share(self, part: int | None) -> float | None:
        """A part of the observed cell-frames, 0-1; None where none was observed."""
        return part / self.observed if part is not None and self.observed else None


@dataclass(frozen=True)
class Comparison:
    """A label against a reference, or alone where `reference` is None."""

    label: str
    reference: str | None
    by_mlt: tuple[Row, ...]
    by_ring: tuple[Row, ...]
    total: Row


@dataclass(frozen=True)
class Total:
    """One detector over all cells and MLT: all it observed, and what all compared observed.

    `frames` and `frames_common` are the most counted frames behind one cell: a frame counts once
    in a cell. The others are sums over cells.
    """

    label: str
    observed: int
    aurora: int
    observed_common: int
    aurora_common: int
    frames: int
    frames_common: int


def totals(cube: xr.Dataset) -> tuple[Total, ...]:
    """Cell-frames of each detector, and its frames."""
    total = rates(cube, ["time", "mlt"])
    names = ("n_observed", "n_aurora", "n_observed_common", "n_aurora_common")
    found = []
    for label in total["detector"].values:
        one = total.sel(detector=label)
        frames = (int(one[name].max()) for name in ("n_observed", "n_observed_common"))
        found.append(Total(str(label), *(int(one[n].sum()) for n in names), *frames))
    return tuple(found)


def compare(cube: xr.Dataset, kinds: Mapping[str, str]) -> tuple[Comparison, ...]:
    """Compare each detector with the difference method, where both observed.

    Parameters
    ----------
    cube : from `open_cube`
    kinds : kind of each label, as in the campaign

    Returns
    -------
    tuple of Comparison
        One for each other compared label. The reference is the first compared label of kind
        `difference`, else the first compared one. With fewer than two compared labels each
        detector stands alone on what it observed itself.

    Notes
    -----
    A factor is the ratio of two sums of counts over the same frames and cells,
    so the denominators cancel. Cell-frames next to each other in sky and time
    are not independent: a factor has no error bar from its counts alone.
    """
    known = [str(label) for label in cube["detector"].values]
    compared = [label for label in map(str, cube.attrs.get("compare", known)) if label in known]
    total = rates(cube)
    hours = [captions.mlt_range(*bounds) for bounds in cube["mlt_bounds"].to_numpy()]
    rings, ring_of = _rings(cube)
    if len(compared) < 2:
        return tuple(
            _comparison(
                label, None, hours, rings, ring_of,
                _counts(total, "n_observed", label), _counts(total, "n_aurora", label), None,
                most_days(cube, [label], common=False),
            )
            for label in known
        )  # fmt: skip
    reference = next((x for x in compared if kinds.get(x) == "difference"), compared[0])
    return tuple(
        _comparison(
            label, reference, hours, rings, ring_of,
            _counts(total, "n_observed_common", label), _counts(total, "n_aurora_common", label),
            _counts(total, "n_aurora_common", reference),
            most_days(cube, [label], common=True),
        )
        for label in compared
        if label != reference
    )  # fmt: skip


def _counts(total: xr.Dataset, name: str, label: str) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = total[name].sel(detector=label).transpose("mlt", "cell").to_numpy()
    return counts


def _comparison(
    label: str,
    reference: str | None,
    hours: list[str],
    rings: list[str],
    ring_of: NDArray[np.int64],
    observed: NDArray[np.int64],
    aurora: NDArray[np.int64],
    other: NDArray[np.int64] | None,
    days: NDArray[np.int64] | None,
) -> Comparison:
    def row(name: str, chosen: Any, n_days: int | None = None) -> Row:
        # Over the bins: a cell's frames in several of them are different frames.
        n, with_aurora = observed[chosen].sum(axis=0), aurora[chosen].sum(axis=0)
        alone = Row(name, int(n.sum()), int(with_aurora.sum()), days=n_days)
        if other is None:
            return alone
        by_reference = other[chosen].sum(axis=0)
        factor = ratio_over_cells(n, by_reference, with_aurora)
        return replace(alone, reference=int(by_reference.sum()), factor=factor)

    by_bin = [None] * len(hours) if days is None else days[0].tolist()

    return Comparison(
        label,
        reference,
        by_mlt=tuple(row(name, slice(i, i + 1), by_bin[i]) for i, name in enumerate(hours)),
        by_ring=tuple(row(name, (slice(None), ring_of == i)) for i, name in enumerate(rings)),
        total=row("all", slice(None)),
    )


def _rings(cube: xr.Dataset) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the rings by elevation, highest first, and each cell's ring."""
    bounds = cube["cell_zenith_bounds"].transpose("cell", ...).to_numpy().astype(np.float64)
    edges, ring_of = np.unique(bounds.round(3), axis=0, return_inverse=True)
    names = [f"{90 - outer:.0f}–{90 - inner:.0f}°" for inner, outer in edges]
    return names, np.asarray(ring_of, np.int64).reshape(-1)
