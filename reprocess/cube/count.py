"""Exact integer counts of observed and auroral frames, by group, MLT and sky cell.

Pure arithmetic on arrays that are already in memory: one call a UTC day, so
six years need the memory of one day and of the counts. Counts are integers
and add up, so the order of the days and how they are spread over calls never
changes a result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED

OUTCOMES = ("observed", "aurora", "observed_common", "aurora_common")
MONTHS = 12
NO_BIN = -1

Fractions = Mapping[str, NDArray[np.uint8] | None]


class Counter:
    """Counts frames a UTC day at a time.

    Parameters
    ----------
    detectors : labels, in the order of the counts' detector axis
    n_mlt : number of MLT bins
    n_cells : number of sky cells
    fraction_min : smallest stored fraction that counts as aurora, 1-254 (`fraction_min`)
    compare : labels of the common denominator; the common counts of the others stay 0
    n_groups : size of the group axis; 12 for the months of a year

    Attributes
    ----------
    counts : (outcome, group, detector, mlt, cell) int32 array
        Frames, with outcomes as in `OUTCOMES`.
    n_days : array of the same shape and type
        Distinct UTC days with at least one such frame.

    Raises
    ------
    ValueError
        If a size or `fraction_min` is out of range, a label is given twice, or `compare` names
        a label that is not counted.

    Notes
    -----
    A fraction of 255 is a cell that was not observed; it adds to nothing,
    never to "no aurora". The common outcomes take the frames *and cells* that
    every label of `compare` observed. An int32 holds 68 years of one frame a second.
    """

    def __init__(
        self,
        detectors: Sequence[str],
        n_mlt: int,
        n_cells: int,
        fraction_min: int,
        compare: Sequence[str] = (),
        n_groups: int = MONTHS,
    ) -> None:
        if len(set(detectors)) != len(detectors):
            raise ValueError(f"detectors {list(detectors)}: each label once")
        unknown = [label for label in compare if label not in detectors]
        if unknown:
            raise ValueError(f"compare names {unknown}, expected some of {list(detectors)}")
        if not 1 <= fraction_min <= FRACTION_FULL:
            raise ValueError(f"fraction_min {fraction_min}, expected 1 to {FRACTION_FULL}")
        self.detectors = tuple(detectors)
        self.compare = tuple(label for label in self.detectors if label in compare)
        self.fraction_min = fraction_min
        shape = (len(OUTCOMES), n_groups, len(self.detectors), n_mlt, n_cells)
        self.counts: NDArray[np.int32] = np.zeros(shape, dtype=np.int32)
        self.n_days: NDArray[np.int32] = np.zeros(shape, dtype=np.int32)

    @property
    def n_groups(self) -> int:
        return int(self.counts.shape[1])

    @property
    def n_mlt(self) -> int:
        return int(self.counts.shape[3])

    @property
    def n_cells(self) -> int:
        return int(self.counts.shape[4])

    def add_day(
        self,
        group: int | NDArray[np.integer[Any]],
        mlt_bin: NDArray[np.integer[Any]],
        selected: NDArray[np.bool_],
        fractions: Fractions,
    ) -> None:
        """Add all frames of one UTC day; each day in exactly one call, in any order.

        Parameters
        ----------
        group : int, or (n,) integer array
            Month 0-11 of the day, or the group of each frame; -1 = none, not counted.
        mlt_bin : (n,) or (n, cell) integer array
            Bin of each frame, or of each cell of each frame; -1 = no bin, not counted.
        selected : (n,) bool array
            Whether the frame passed the Sun and Moon selection.
        fractions : label → (n, cell) uint8 array
            0-254, 255 = not observed. None, or no entry, where the label has nothing
            committed on this day: then the day has no common frames either, if the label is
            one of `compare`. Not modified.

        Raises
        ------
        ValueError
            If shapes or types differ, a group or bin is out of range, or a label is unknown.
        """
        unknown = [label for label in fractions if label not in self.detectors]
        if unknown:
            raise ValueError(f"fractions of {unknown}, expected some of {list(self.detectors)}")
        n = len(mlt_bin)
        given = {
            label: self._checked(label, array, n)
            for label, array in fractions.items()
            if array is not None
        }
        if mlt_bin.ndim == 2:
            self._add_by_cell(group, mlt_bin, selected, given)
            return
        order, ends = self._by_bin(group, mlt_bin, selected)
        if ends[-1] == 0:
            return
        for label, fraction in given.items():
            self._count(0, label, fraction, order, ends)
        if not self.compare or any(label not in given for label in self.compare):
            return
        unobserved = _unobserved([given[label] for label in self.compare])
        for label in self.compare:
            # 255 has every bit set: OR-ing it in makes a cell not observed and nothing else.
            common = given[label] if unobserved is None else given[label] | unobserved
            self._count(2, label, common, order, ends)

    def _add_by_cell(
        self,
        group: int | NDArray[np.integer[Any]],
        mlt_bin: NDArray[np.integer[Any]],
        selected: NDArray[np.bool_],
        given: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        """As `add_day`, each cell in a bin of its own."""
        n = len(mlt_bin)
        if mlt_bin.shape != (n, self.n_cells):
            raise ValueError(f"mlt_bin: found {mlt_bin.shape}, expected {(n, self.n_cells)}")
        self._check_frames(np.asarray(group), mlt_bin, selected, n)
        groups = np.broadcast_to(np.asarray(group, dtype=np.int64), (n,))
        frames = np.flatnonzero(selected & (groups >= 0)).astype(np.int64)
        bins = np.ascontiguousarray(mlt_bin, dtype=np.int16)
        common = None
        if self.compare and all(label in given for label in self.compare):
            common = _unobserved([given[label] for label in self.compare])
        counted = [(0, label, fraction) for label, fraction in given.items()]
        if self.compare and all(label in given for label in self.compare):
            counted += [
                (2, label, given[label] if common is None else given[label] | common)
                for label in self.compare
            ]
        for outcome, label, fraction in counted:
            detector = self.detectors.index(label)
            _count_cells(
                fraction,
                frames,
                np.ascontiguousarray(groups),
                bins,
                np.uint8(self.fraction_min),
                self.counts[outcome : outcome + 2, :, detector],
                self.n_days[outcome : outcome + 2, :, detector],
            )

    def _check_frames(
        self,
        groups: NDArray[np.integer[Any]],
        bins: NDArray[np.integer[Any]],
        selected: NDArray[np.bool_],
        n: int,
    ) -> None:
        if selected.shape != (n,) or selected.dtype != np.bool_:
            raise ValueError(f"selected: found {selected.dtype} {selected.shape}, expected bool")
        if groups.shape not in ((), (n,)):
            raise ValueError(f"group: found {groups.shape}, expected one or {n}")
        if n and not -1 <= groups.min() <= groups.max() < self.n_groups:
            raise ValueError(f"group outside -1 to {self.n_groups - 1}")
        if n and not -1 <= bins.min() <= bins.max() < self.n_mlt:
            raise ValueError(f"MLT bin outside -1 to {self.n_mlt - 1}")

    def _checked(self, label: str, fraction: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
        if fraction.dtype != np.uint8 or fraction.shape != (n, self.n_cells):
            raise ValueError(
                f"fractions of {label}: found {fraction.dtype} {fraction.shape}, "
                f"expected uint8 {(n, self.n_cells)}"
            )
        return np.ascontiguousarray(fraction)

    def _by_bin(
        self,
        group: int | NDArray[np.integer[Any]],
        mlt_bin: NDArray[np.integer[Any]],
        selected: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Frames in the order of (group, bin), those that do not count last.

        Returns
        -------
        (n,) frames; (group * mlt,) where in them each group's bin ends
        """
        groups, bins = np.asarray(group, np.int64), np.asarray(mlt_bin, np.int64)
        self._check_frames(groups, bins, selected, len(mlt_bin))
        n_keys = self.n_groups * self.n_mlt
        counted = selected & (bins >= 0) & (groups >= 0)
        key = np.where(counted, groups * self.n_mlt + bins, n_keys)
        ends = np.cumsum(np.bincount(key, minlength=n_keys)[:n_keys])
        return np.argsort(key, kind="stable"), ends

    def _count(
        self,
        outcome: int,
        label: str,
        fraction: NDArray[np.uint8],
        order: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> None:
        detector = self.detectors.index(label)
        _count_runs(
            fraction,
            order,
            ends,
            np.uint8(self.fraction_min),
            self.counts[outcome : outcome + 2, :, detector],
            self.n_days[outcome : outcome + 2, :, detector],
        )


def fraction_min(cell_fraction_min: float) -> int:
    """Smallest stored fraction that counts as aurora under a cell rule.

    Parameters
    ----------
    cell_fraction_min : float, share of the cell's visible solid angle, > 0, <= 1

    Returns
    -------
    int, 1-254 : ceil(254 * share), with 1e-9 allowed for the product's rounding

    Notes
    -----
    Fractions are stored as floor(254 * share), so a share of 0.5 is 127 and
    counts under 0.5; between stored steps the rule is stricter by at most 1/254.
    """
    if not 0 < cell_fraction_min <= 1:
        raise ValueError(f"cell_fraction_min {cell_fraction_min}, expected above 0 and up to 1")
    return max(1, math.ceil(FRACTION_FULL * cell_fraction_min - 1e-9))


def select_frames(
    sun_elevation_deg: NDArray[np.float32],
    moon_elevation_deg: NDArray[np.float32],
    sun_elevation_max_deg: float,
    moon_elevation_max_deg: float | None,
) -> NDArray[np.bool_]:
    """Tell which frames are dark enough to count.

    Parameters
    ----------
    sun_elevation_deg, moon_elevation_deg : (n,) float32 array, degrees
        NaN where there is no frame.
    sun_elevation_max_deg, moon_elevation_max_deg : float, degrees
        Kept up to and including the limit; None takes any Moon.

    Returns
    -------
    (n,) bool array, False where an elevation that is needed is NaN
    """
    selected = sun_elevation_deg <= np.float32(sun_elevation_max_deg)
    if moon_elevation_max_deg is not None:
        selected &= moon_elevation_deg <= np.float32(moon_elevation_max_deg)
    return selected


def mlt_bounds(
    n_bins: int, centred: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres and edges of the MLT bins.

    Parameters
    ----------
    n_bins : int, 1-1440, bins of equal width over 24 h
    centred : bool
        True centres bin 0 on midnight; False lets it begin there.

    Returns
    -------
    centres : (mlt,) float64 array, hours
    bounds : (mlt, 2) float64 array, hours
        The lower edge belongs to the bin. A centred bin 0 begins before 0.
    """
    if not 1 <= n_bins <= 1440:
        raise ValueError(f"n_bins {n_bins}, expected 1 to 1440")
    edges = (np.arange(n_bins + 1) - (0.5 if centred else 0.0)) * 24.0 / n_bins
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    return bounds.mean(axis=1), bounds


def mlt_bin_index(mlt_hours: ArrayLike, n_bins: int, centred: bool = False) -> NDArray[np.int16]:
    """Find the MLT bin of each frame.

    Parameters
    ----------
    mlt_hours : (n,) float array, hours
        Any turn: 24.5 is 0.5. NaN where there is no frame.
    n_bins, centred : as in `mlt_bounds`

    Returns
    -------
    (n,) int16 array, -1 where `mlt_hours` is not finite

    Notes
    -----
    Bins are [edge, next edge) of `mlt_bounds`, compared in float64.
    """
    bounds = mlt_bounds(n_bins, centred)[1]
    hours = np.asarray(mlt_hours, dtype=np.float64)
    finite = np.isfinite(hours)
    turned = np.mod(np.where(finite, hours, 0.0), 24.0)
    # The upper half of a centred bin 0 lies at the end of the day.
    index = np.searchsorted(bounds[:, 0], turned, side="right") - 1
    index = np.where((turned >= bounds[-1, 1]) & (turned < 24.0), 0, index)
    # np.mod of a tiny negative number rounds to 24 itself.
    index = np.where(turned >= 24.0, 0, index)
    return np.where(finite, index, NO_BIN).astype(np.int16)


def mlt_bin_of_cells(
    mlt_hours: ArrayLike, offset_h: ArrayLike, n_bins: int, centred: bool = False
) -> NDArray[np.int16]:
    """Find the MLT bin of each cell of each frame.

    Parameters
    ----------
    mlt_hours : (n,) float32 array, the station's MLT as stored
    offset_h : (cell,) float64 array, a cell's MLT minus the station's; NaN = the cell has none
    n_bins, centred : as in `mlt_bounds`

    Returns
    -------
    (n, cell) int16 array, -1 where either is not finite
    """
    station = np.asarray(mlt_hours, dtype=np.float64)[:, None]
    return mlt_bin_index(station + np.asarray(offset_h, np.float64), n_bins, centred)


def own_mlt_offset_h(
    offset_h: ArrayLike, zenith_deg: ArrayLike, elevation_min_deg: float
) -> NDArray[np.float64]:
    """Offsets of the cells that have an MLT of their own: NaN for centres below the limit.

    Parameters
    ----------
    offset_h : (cell,) float64 array, hours
    zenith_deg : (cell,) float array of the centres; compared in float32, as stored
    elevation_min_deg : lowest elevation, degrees; itself included
    """
    high = np.asarray(zenith_deg, np.float32) <= np.float32(90.0 - elevation_min_deg)
    return np.where(high, np.asarray(offset_h, np.float64), np.nan)


def _unobserved(fractions: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    """(n, cell) array, 255 where any of several labels did not observe, else 0; None for one."""
    if len(fractions) == 1:
        return None
    missing = fractions[0] == FRACTION_UNOBSERVED
    for fraction in fractions[1:]:
        missing |= fraction == FRACTION_UNOBSERVED
    result: NDArray[np.uint8] = np.negative(missing.view(np.uint8))
    return result


@numba.njit(cache=True, nogil=True)
def _count_runs(
    fraction: NDArray[np.uint8],
    order: NDArray[np.int64],
    ends: NDArray[np.int64],
    fraction_min: np.uint8,
    counts: NDArray[np.int32],
    n_days: NDArray[np.int32],
) -> None:
    """Add one day's frames to (2, group, mlt, cell) counts and day counts."""
    n_cells = fraction.shape[1]
    observed = np.zeros(n_cells, dtype=np.int32)
    aurora = np.zeros(n_cells, dtype=np.int32)
    # uint8 sums keep the inner loop at one byte a cell; they are emptied every 255 frames.
    observed_8 = np.zeros(n_cells, dtype=np.uint8)
    aurora_8 = np.zeros(n_cells, dtype=np.uint8)
    first = 0
    for key in range(ends.size):
        if first == ends[key]:
            continue
        observed[:] = 0
        aurora[:] = 0
        while first < ends[key]:
            last = min(first + 255, ends[key])
            observed_8[:] = 0
            aurora_8[:] = 0
            for i in range(first, last):
                row = fraction[order[i]]
                for cell in range(n_cells):
                    seen = np.uint8(row[cell] != np.uint8(255))
                    lit = np.uint8(row[cell] >= fraction_min)
                    observed_8[cell] += seen
                    aurora_8[cell] += seen & lit
            for cell in range(n_cells):
                observed[cell] += observed_8[cell]
                aurora[cell] += aurora_8[cell]
            first = last
        group, bin_ = divmod(key, counts.shape[2])
        for cell in range(n_cells):
            counts[0, group, bin_, cell] += observed[cell]
            counts[1, group, bin_, cell] += aurora[cell]
            n_days[0, group, bin_, cell] += observed[cell] > 0
            n_days[1, group, bin_, cell] += aurora[cell] > 0


@numba.njit(cache=True, nogil=True)
def _count_cells(
    fraction: NDArray[np.uint8],
    frames: NDArray[np.int64],
    groups: NDArray[np.int64],
    bins: NDArray[np.int16],
    fraction_min: np.uint8,
    counts: NDArray[np.int32],
    n_days: NDArray[np.int32],
) -> None:
    """Add one day's frames to (2, group, mlt, cell) counts, each cell in its own bin."""
    _, n_groups, n_mlt, n_cells = counts.shape
    met = np.zeros((2, n_groups, n_mlt, n_cells), dtype=np.bool_)
    for i in frames:
        group = groups[i]
        for cell in range(n_cells):
            bin_ = bins[i, cell]
            value = fraction[i, cell]
            if bin_ < 0 or value == np.uint8(255):
                continue
            counts[0, group, bin_, cell] += 1
            met[0, group, bin_, cell] = True
            if value >= fraction_min:
                counts[1, group, bin_, cell] += 1
                met[1, group, bin_, cell] = True
    for outcome in range(2):
        for group in range(n_groups):
            for bin_ in range(n_mlt):
                for cell in range(n_cells):
                    n_days[outcome, group, bin_, cell] += met[outcome, group, bin_, cell]
