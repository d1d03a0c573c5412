"""Count occurrence from committed detections, grouped by anything known per frame.

The cube counts by calendar month. Everything else (Kp, IMF sector, season,
another MLT width, another Sun limit) is counted here, from the detections,
without an image or a network. Only committed days are read, and every object
is checked against its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from reprocess.campaign import Cube, FlagTable, StoreAccess
from reprocess.cube.count import (
    OUTCOMES,
    Counter,
    fraction_min,
    mlt_bin_index,
    mlt_bin_of_cells,
    mlt_bounds,
    own_mlt_offset_h,
)
from reprocess.cube.open import with_rates
from reprocess.cube.selection import attributes, cells_left_out, select
from reprocess.cube.tables import GroupKeys, GroupTable, as_table, month_table, table_of
from reprocess.detectors.detector import FRACTION_UNOBSERVED
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stages import detections_path
from reprocess.stores.layout import NOT_ACQUIRED_US, days_in_year
from reprocess.stores.metadata import metadata_digests
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import Records, day_block, only_fingerprint
from reprocess.stores.zarrview import ZarrView

READ_BYTES = 16 * 2**20
"""Fractions of one label held at a time: a month of one-minute frames and 400 cells."""
COUNTS_BYTES_MAX = 2 * 2**30
RECORD_THREADS = 8
_PER_FRAME = ("acquired", "mlt", "sun_elevation", "moon_elevation")


def count_occurrence(
    store_url: str | ObjectStore,
    groups: GroupKeys | None = None,
    *,
    years: Iterable[int] | None = None,
    labels: Sequence[str] | None = None,
    max_age: np.timedelta64 | None = None,
    by_mlt: bool = True,
    mlt: Literal["station", "cell"] = "station",
    mlt_elevation_min_deg: float = 10.0,
    mlt_bins: int = 24,
    mlt_centred: bool = False,
    sun_elevation_max_deg: float = -15.0,
    moon_elevation_max_deg: float | None = None,
    moon_illuminated_max: float | None = None,
    refraction: bool = False,
    cell_elevation_min_deg: float = 0.0,
    flags: Sequence[FlagTable] = (),
    cell_fraction_min: float = 0.5,
    compare: Sequence[str] | None = None,
    access: StoreAccess | Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Count observed and auroral frames by group, detector, MLT and sky cell.

    Parameters
    ----------
    store_url : directory or fsspec URL of the store; or the store, open
    groups : the group of each frame; None = calendar months
        - a table `(times, keys)`, a mapping of time to key, a pandas Series or a 1-D DataArray
          over time: a frame belongs to the last row at or before its time. Rows in any order,
          no time twice, UTC.
        - a function of (n,) datetime64[us] frame times returning (n,) keys.
        Keys are numbers, strings or times; None, NaN and NaT leave a frame without a group.
        A continuous quantity must be binned first.
    years : default all that have committed days
    labels : detectors, in the order of the result; default all, sorted
    max_age : a row of the table holds for less than this (3 h for Kp, so that a gap in the
        table is not filled); None = until the next row
    by_mlt : False counts all MLT in one bin of 24 h, frames without MLT included
    mlt, mlt_elevation_min_deg, mlt_bins, mlt_centred, sun_elevation_max_deg,
    moon_elevation_max_deg, moon_illuminated_max, refraction, cell_elevation_min_deg, flags,
    cell_fraction_min, compare : as in the campaign's `cube` section; `compare` defaults to `labels`
    access : how an S3 service is reached, as `open_cube`

    Returns
    -------
    Dataset
        `counts` and `n_days` (outcome, group, detector, mlt, cell) int32, with what
        `with_rates` adds, MLT bounds, cell coordinates and the settings as attributes.

    Raises
    ------
    ConfigurationError
        If a label or year has no committed detections, or the groups cannot be used.
    StoreError
        If an object is not the one its record names, or labels disagree on a frame's time.

    Notes
    -----
    A frame before the first row, in an unassigned row, or older than `max_age`
    is counted nowhere: not observed, never "no aurora". Groups of the table
    that no frame falls into stay, with counts of 0 and rates of NaN. A day
    counts once in `n_days` of each group that it has frames in, so `n_days`
    does not add up over groups. Memory: a month of fractions for each label,
    and the counts.
    """
    objects = open_objects(store_url, access) if isinstance(store_url, str) else store_url
    source = _Detections.find(objects, labels, years)
    bins = mlt_bins if by_mlt else 1
    centres, bounds = mlt_bounds(bins, mlt_centred and by_mlt)
    table = _table(groups, source, max_age)
    nbytes = 8 * len(OUTCOMES) * len(table.keys) * len(source.labels) * bins * source.n_cells
    if nbytes > COUNTS_BYTES_MAX:
        raise ConfigurationError(
            f"groups: found {len(table.keys)} groups, whose counts take {nbytes / 2**30:.1f} GiB; "
            f"expected at most {COUNTS_BYTES_MAX / 2**30:.0f} GiB: bin the quantity first"
        )
    counter = Counter(
        source.labels,
        bins,
        source.n_cells,
        fraction_min(cell_fraction_min),
        _compared(compare, source.labels),
        len(table.keys),
    )
    selection = Cube(
        sun_elevation_max_deg=sun_elevation_max_deg,
        moon_elevation_max_deg=moon_elevation_max_deg,
        moon_illuminated_max=moon_illuminated_max,
        refraction=refraction,
        cell_elevation_min_deg=cell_elevation_min_deg,
        flags=tuple(flags),
        cell_fraction_min=cell_fraction_min,
    )
    left_out = np.zeros(source.n_cells, np.bool_)
    if cell_elevation_min_deg > 0:
        left_out = cells_left_out(selection, source.cells["cell_zenith_bounds"][1][:, 1])
    offset = _own_mlt(source, mlt_elevation_min_deg) if mlt == "cell" and by_mlt else None
    for day in source.days():
        frame = day.frames()
        # The fill value of `acquired` is NaT, which has no group.
        times = frame["acquired"].view("datetime64[us]")
        selected = select(selection, times, frame["sun_elevation"], frame["moon_elevation"])
        group = table.codes(times)
        if not by_mlt:
            mlt_bin = np.zeros(len(times), dtype=np.int16)
        elif offset is None:
            mlt_bin = mlt_bin_index(frame["mlt"], mlt_bins, mlt_centred)
        else:
            mlt_bin = mlt_bin_of_cells(frame["mlt"], offset, mlt_bins, mlt_centred)
        fractions = {
            label: _without(values["fraction"], left_out) for label, values in day.values.items()
        }
        counter.add_day(group, mlt_bin, selected, fractions)
    coordinates: dict[str, Any] = {
        "outcome": list(OUTCOMES),
        "group": table.keys,
        "detector": list(source.labels),
        "mlt": ("mlt", centres, {"units": "hour", "bounds": "mlt_bounds"}),
        "mlt_bounds": (("mlt", "bound"), bounds, {"units": "hour"}),
        **source.cells,
    }
    dims = ("outcome", "group", "detector", "mlt", "cell")
    dataset = xr.Dataset(
        {
            "counts": (dims, counter.counts, {"long_name": "frames", "units": "1"}),
            "n_days": (dims, counter.n_days, {"long_name": "distinct UTC days", "units": "1"}),
        },
        coordinates,
        {
            **source.attributes,
            "years": sorted(source.committed),
            "compare": list(counter.compare),
            **attributes(selection),
            "mlt": f"magnetic local time of the {mlt}",
        },
    )
    return with_rates(dataset)


def _without(fraction: NDArray[np.uint8], cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The fractions, those of some cells not observed."""
    return np.where(cells, np.uint8(FRACTION_UNOBSERVED), fraction) if cells.any() else fraction


def _own_mlt(source: _Detections, elevation_min_deg: float) -> NDArray[np.float64]:
    """Each cell's MLT minus the station's, from the detections' own coordinates."""
    if not {"cell_mlt_offset_h", "cell_zenith_deg"} <= set(source.cells):
        raise ConfigurationError(
            f"{source.objects.url}: detections without cell_mlt_offset_h, made by a version before "
            f"0.2, cannot be counted by the cells' own MLT; run the campaign again"
        )
    return own_mlt_offset_h(
        source.cells["cell_mlt_offset_h"][1], source.cells["cell_zenith_deg"][1], elevation_min_deg
    )


def _compared(compare: Sequence[str] | None, labels: Sequence[str]) -> Sequence[str]:
    if compare is None:
        return labels
    unknown = [label for label in compare if label not in labels]
    if unknown:
        raise ConfigurationError(
            f"compare: found {', '.join(unknown)}, expected some of {', '.join(labels)}"
        )
    return compare


def _table(
    groups: GroupKeys | None, source: _Detections, max_age: np.timedelta64 | None
) -> GroupTable:
    first, last = min(source.committed), max(source.committed)
    if groups is None:
        return month_table(first, last)
    if not callable(groups):
        return as_table(groups, max_age).between(first, last)
    times: list[NDArray[np.datetime64]] = []
    keys: list[NDArray[Any]] = []
    for day in source.days(("acquired",)):
        acquired = day.frames()["acquired"]
        acquired = np.unique(acquired[acquired != NOT_ACQUIRED_US]).view("datetime64[us]")
        found = np.asarray(groups(acquired))
        if found.shape != acquired.shape:
            raise ConfigurationError(
                f"groups: found {found.shape} keys for {acquired.shape} frame times"
            )
        times.append(acquired)
        keys.append(found)
    return table_of(np.concatenate(times), np.concatenate(keys), None)


@dataclass(frozen=True)
class _Day:
    """One UTC day: label → variable → (slot, …) array, of the labels committed on it."""

    day: date
    values: Mapping[str, Mapping[str, NDArray[Any]]]

    def frames(self) -> dict[str, NDArray[Any]]:
        """The per-frame variables, from whichever label has the frame."""
        labels = iter(self.values.items())
        first, arrays = next(labels)
        merged = {name: array for name, array in arrays.items() if name in _PER_FRAME}
        for label, arrays in labels:
            mine = arrays["acquired"] != NOT_ACQUIRED_US
            held = merged["acquired"] != NOT_ACQUIRED_US
            if np.any(mine & held & (arrays["acquired"] != merged["acquired"])):
                raise StoreError(
                    f"detections of {self.day}: {first} and {label} hold frames of different "
                    f"times in one slot, expected the same frames; one of them is stale: run the "
                    f"campaign again, or count the labels one by one"
                )
            merged = {n: np.where(mine & ~held, arrays[n], merged[n]) for n in merged}
        return merged


@dataclass(frozen=True)
class _Detections:
    """The committed detections of a store, restricted to some labels and years.

    `committed` is year → day → label → fingerprint.
    """

    objects: ObjectStore
    labels: tuple[str, ...]
    committed: Mapping[int, Mapping[date, Mapping[str, str]]]
    slots: int
    n_cells: int
    cells: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def find(
        objects: ObjectStore, labels: Sequence[str] | None, years: Iterable[int] | None
    ) -> _Detections:
        wanted = None if years is None else sorted(set(years))
        committed: dict[int, dict[date, dict[str, str]]] = {}
        for block, found in sorted(Records(objects).list().items()):
            # Two records: a run died between them, and neither says what the bytes are.
            fingerprint = only_fingerprint(found)
            if block.stage == "detections" and fingerprint is not None:
                days = committed.setdefault(block.year, {})
                days.setdefault(date.fromisoformat(block.day), {})[block.label] = fingerprint
        known = sorted({name for y in committed.values() for d in y.values() for name in d})
        chosen = tuple(known if labels is None else labels)
        kept = {
            year: {
                day: {label: prints[label] for label in chosen if label in prints}
                for day, prints in days.items()
                if not set(chosen).isdisjoint(prints)
            }
            for year, days in committed.items()
            if wanted is None or year in wanted
        }
        kept = {year: days for year, days in kept.items() if days}
        missing = [str(label) for label in chosen if label not in known]
        missing += [str(year) for year in wanted or () if year not in kept]
        if missing or not kept:
            raise ConfigurationError(
                f"{objects.url}: found committed detections of {', '.join(known) or 'no label'} in "
                f"{', '.join(map(str, sorted(committed))) or 'no year'}, expected "
                f"{', '.join(missing) or 'at least one day'}; check the URL, label and years, or "
                f"run the campaign for them"
            )
        return _with_shape(_Detections(objects, chosen, kept, 0, 0))

    def days(self, names: Sequence[str] = ("fraction", *_PER_FRAME)) -> Iterator[_Day]:
        """The committed days in order of time, a bounded number of them in memory."""
        size = max(1, READ_BYTES // (self.slots * self.n_cells))
        for _, days in sorted(self.committed.items()):
            for batch in _consecutive(sorted(days), size):
                values: dict[date, dict[str, Mapping[str, NDArray[Any]]]] = {d: {} for d in batch}
                for label in self.labels:
                    committed = [day for day in batch if label in days[day]]
                    for run in _consecutive(committed, size):
                        for day, arrays in zip(run, self._read(label, run, names), strict=True):
                            values[day][label] = arrays
                for day in batch:
                    yield _Day(day, values.pop(day))

    def _read(
        self, label: str, days: Sequence[date], names: Sequence[str]
    ) -> list[dict[str, NDArray[Any]]]:
        """The variables of consecutive committed days of one label, day by day."""
        year = days[0].year
        records = Records(self.objects)
        blocks = [
            (day_block("detections", label, day), self.committed[year][day][label]) for day in days
        ]
        with ThreadPoolExecutor(RECORD_THREADS) as pool:
            expected: dict[str, str] = {}
            for record in pool.map(lambda block: records.read(*block), blocks):
                expected.update(record.objects)
        group = _open(self.objects, label, year, expected)
        start = (days[0] - date(year, 1, 1)).days * self.slots
        whole = {
            name: np.asarray(_array(group, name)[start : start + len(days) * self.slots])
            for name in names
        }
        return [
            {name: a[i * self.slots : (i + 1) * self.slots] for name, a in whole.items()}
            for i in range(len(days))
        ]


def _with_shape(source: _Detections) -> _Detections:
    """Read slots, cells and attributes, and make sure that all years and labels agree on them."""
    found: _Detections | None = None
    pairs = {
        (label, year): None
        for year, days in source.committed.items()
        for prints in days.values()
        for label in prints
    }
    for label, year in pairs:
        group = _open(source.objects, label, year)
        shape = _array(group, "fraction").shape
        cells = {
            name: (_dims(array), np.asarray(array[...]), dict(array.attrs))
            for name, array in group.arrays()
            if name.startswith("cell_") and _dims(array)[:1] == ("cell",)
        }
        attributes = {k: v for k, v in group.attrs.items() if k not in ("title", "detector")}
        slots = shape[0] // days_in_year(year)
        one = _Detections(
            source.objects, source.labels, source.committed, slots, shape[1], cells, attributes
        )
        if found is None:
            found = one
        elif (one.slots, one.n_cells) != (found.slots, found.n_cells) or any(
            name not in found.cells or not np.array_equal(values[1], found.cells[name][1])
            for name, values in one.cells.items()
        ):
            raise StoreError(
                f"{source.objects.url}: detections of {label} {year} have {one.slots} slots a day "
                f"and {one.n_cells} cells, expected the {found.slots} slots and the same "
                f"{found.n_cells} cells as the others; run the campaign for all years and labels"
            )
    assert found is not None
    return found


def _open(
    objects: ObjectStore, label: str, year: int, expected: Mapping[str, str] | None = None
) -> zarr.Group:
    path = detections_path(label, year)
    metadata = metadata_digests(objects, path)
    # Without blocks to read, the coordinates: all that is laid out, and nothing else.
    held = (metadata or None) if expected is None else expected
    view = ZarrView(objects, path, held, metadata=metadata, read_only=True)
    try:
        return zarr.open_group(view, mode="r", zarr_format=3)
    except FileNotFoundError as error:
        raise StoreError(
            f"{view}: is not there, although records say that days of it are committed; restore "
            f"it, or delete its records and run the campaign again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{view}: its metadata cannot be read ({error}); run `reprocess verify STORE --repair "
            f"CAMPAIGN`"
        ) from error


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    try:
        array = group[name]
    except KeyError as error:
        raise StoreError(
            f"{group.store}: found no {name}, expected a detections store; run the campaign again"
        ) from error
    assert isinstance(array, zarr.Array)
    return array


def _dims(array: zarr.Array[Any]) -> tuple[str | None, ...]:
    return tuple(getattr(array.metadata, "dimension_names", None) or ())


def _consecutive(days: Sequence[date], size: int) -> Iterator[list[date]]:
    """Split sorted days into runs without a gap, of at most `size` days."""
    run: list[date] = []
    for day in days:
        if run and (day - run[-1] != timedelta(days=1) or len(run) == size):
            yield run
            run = []
        run.append(day)
    if run:
        yield run
