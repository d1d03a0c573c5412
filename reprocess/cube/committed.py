"""The committed detections of a store, read day by day, a bounded number of them at a time.

Each object is checked against the record of its block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from reprocess.cube.days import DayExposure
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stages import detections_path, frames_path
from reprocess.stores.days import YearReader
from reprocess.stores.layout import NOT_ACQUIRED_US, days_in_year
from reprocess.stores.metadata import metadata_digests
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, day_block, only_fingerprint
from reprocess.stores.zarrview import ZarrView

READ_BYTES = 16 * 2**20
"""Fractions of one label held at a time: a month of one-minute frames and 400 cells."""
RECORD_THREADS = 8
PER_FRAME = ("acquired", "mlt", "sun_elevation", "moon_elevation")


@dataclass(frozen=True)
class Day:
    """One UTC day: label → variable → (slot, …) array, of the labels committed on it."""

    day: date
    values: Mapping[str, Mapping[str, NDArray[Any]]]

    def frames(self) -> dict[str, NDArray[Any]]:
        """The per-frame variables, from whichever label has the frame."""
        labels = iter(self.values.items())
        first, arrays = next(labels)
        merged = {name: array for name, array in arrays.items() if name in PER_FRAME}
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
class Detections:
    """The committed detections of a store, restricted to some labels and years.

    `committed` is year → day → label → fingerprint, `frames` day → fingerprint of its frames.
    """

    objects: ObjectStore
    labels: tuple[str, ...]
    committed: Mapping[int, Mapping[date, Mapping[str, str]]]
    frames: Mapping[date, str] = field(default_factory=dict)
    slots: int = 0
    n_cells: int = 0
    cells: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def find(
        objects: ObjectStore, labels: Sequence[str] | None, years: Iterable[int] | None
    ) -> Detections:
        wanted = None if years is None else sorted(set(years))
        committed: dict[int, dict[date, dict[str, str]]] = {}
        frames: dict[date, str] = {}
        for block, found in sorted(Records(objects).list().items()):
            # Two records: a run died between them, and neither says what the bytes are.
            fingerprint = only_fingerprint(found)
            if fingerprint is None:
                continue
            if block.stage == "frames":
                frames[date.fromisoformat(block.day)] = fingerprint
            elif block.stage == "detections":
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
        return _with_shape(Detections(objects, chosen, kept, frames))

    def within(self, first: date, end: date) -> Detections:
        """Only the days from `first` on and before `end`."""
        kept = {
            year: {day: prints for day, prints in days.items() if first <= day < end}
            for year, days in self.committed.items()
        }
        return replace(self, committed={year: days for year, days in kept.items() if days})

    def days(self, names: Sequence[str] = ("fraction", *PER_FRAME)) -> Iterator[Day]:
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
                    yield Day(day, values.pop(day))

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


class Exposures:
    """Exposure and gain of the frames that detections were made of, a day at a time.

    Parameters
    ----------
    source : days are asked for in order of time, so that each year's frames are opened once
    """

    def __init__(self, source: Detections) -> None:
        self._source = source
        self._year: tuple[int, YearReader] | None = None

    def read(self, day: date, acquired: NDArray[np.int64]) -> DayExposure:
        """A day's exposure and gain by slot; `acquired` are its detections' times.

        Raises
        ------
        StoreError
            If the day's frames have no record or are not what it says, or are others than the
            detections were made of.
        """
        source, year = self._source, day.year
        if self._year is None or self._year[0] != year:
            self._year = (year, YearReader(source.objects, frames_path(year)))
        frames = DayExposure.read(
            source.objects, source.slots, day, source.frames.get(day), self._year[1]
        )
        held = acquired != NOT_ACQUIRED_US
        if np.any(frames.acquired[held] != acquired[held]):
            raise StoreError(
                f"frames of {day}: found other times than its detections have, expected the "
                f"frames they were made of; run the campaign again"
            )
        return frames


def _with_shape(source: Detections) -> Detections:
    """Read slots, cells and attributes, and make sure that all years and labels agree on them."""
    found: Detections | None = None
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
        one = replace(source, slots=slots, n_cells=shape[1], cells=cells, attributes=attributes)
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
