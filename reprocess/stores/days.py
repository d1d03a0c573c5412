"""Chunks of one UTC day in the arrays of a year: written whole, read, erased."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from reprocess.errors import LayoutDamaged
from reprocess.stores.layout import day_start
from reprocess.stores.metadata import array_document, metadata_digests
from reprocess.stores.objects import ObjectStore
from reprocess.stores.zarrview import ZarrView


class DayWriter:
    """Writes one UTC day of one year store, and remembers the digest of every object.

    Every variable of the day must be written whole: `finish` fails otherwise,
    so no chunk of an earlier attempt can stay behind.
    """

    def __init__(
        self,
        objects: ObjectStore,
        path: str,
        day: date,
        slots_per_day: int,
        guard: Callable[[], None],
    ) -> None:
        self._view = ZarrView(objects, path)
        self._group = zarr.open_group(self._view, mode="r+", zarr_format=3)
        self._start = day_start(day, slots_per_day)
        self._slots = slots_per_day
        self._guard = guard
        self._written: dict[str, set[int]] = {}

    def write(self, name: str, slot: int, values: NDArray[Any]) -> None:
        """Replace the chunks from a slot of the day on.

        Parameters
        ----------
        name : variable
        slot : first slot of the day; a multiple of the variable's chunk
        values : (slots, …) array; a multiple of the variable's chunk long

        Raises
        ------
        ValueError
            If the region does not cover whole chunks: Zarr would accept it and mix two writes.
        LockLost
            If another run has taken the year over.
        """
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        chunk = array.chunks[0]
        if slot % chunk or len(values) % chunk or slot + len(values) > self._slots:
            raise ValueError(
                f"{name}: slots {slot} to {slot + len(values)} do not cover whole chunks of {chunk}"
            )
        if values.dtype != array.dtype:
            raise ValueError(f"{name}: values of {values.dtype} for an array of {array.dtype}")
        # Zarr's own search for empty chunks takes 70 ms a chunk of frames, 5 ms a frame of a day
        # with few (measured); `_is_empty` takes 0.7 ms, and Zarr is told not to look.
        array = array.with_config({"write_empty_chunks": True})
        for first in range(0, len(values), chunk):
            self._guard()
            start = self._start + slot + first
            part = values[first : first + chunk]
            if _is_empty(part, array.fill_value):
                index = (start // chunk, *(0 for _ in part.shape[1:]))
                self._view.remove(f"{name}/{array.metadata.encode_chunk_key(index)}")
            else:
                array[start : start + chunk] = part
        self._written.setdefault(name, set()).update(range(slot, slot + len(values)))

    def finish(self, names: Sequence[str]) -> dict[str, str]:
        """Digests by key of what the day left; all `names` must have been written whole."""
        short = [name for name in names if len(self._written.get(name, ())) != self._slots]
        if short:
            raise ValueError(f"{self._view.path}: {', '.join(short)} not written for the whole day")
        return dict(sorted(self._view.written.items()))


def _is_empty(values: NDArray[Any], fill: Any) -> bool:
    """Whether there is nothing but the fill value."""
    if fill == 0:
        return not values.any()
    if np.issubdtype(values.dtype, np.floating) and np.isnan(fill):
        return bool(np.isnan(values).all())
    return bool((values == fill).all())


def erase_day(
    objects: ObjectStore, path: str, day: date, slots_per_day: int, guard: Callable[[], None]
) -> None:
    """Remove a UTC day's chunks from a year store, whatever arrays it holds."""
    start = day_start(day, slots_per_day)
    chunks: dict[str, int] = {}
    for key in sorted(objects.keys(path)):
        name, separator, index = key[len(path) + 1 :].partition("/c/")
        if not separator:
            continue
        if name not in chunks:
            array = array_document(objects.read(f"{path}/{name}/zarr.json"))
            along_time = "time" in array["dimension_names"] and name != "time"
            shape = array["chunk_grid"]["configuration"]["chunk_shape"]
            chunks[name] = int(shape[0]) if along_time else 0
        first = int(index.split("/")[0]) * chunks[name]
        if chunks[name] and start <= first < start + slots_per_day:
            guard()
            objects.delete(key)


class YearReader:
    """One year store, opened once for the days that are read from it."""

    def __init__(self, objects: ObjectStore, path: str) -> None:
        self._expected: dict[str, str] = {}
        metadata = metadata_digests(objects, path)
        view = ZarrView(objects, path, self._expected, metadata=metadata, read_only=True)
        try:
            self._group = zarr.open_group(view, mode="r", zarr_format=3)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise LayoutDamaged(
                f"{view}: is no Zarr group that can be read ({error}); run `reprocess verify "
                f"STORE --repair CAMPAIGN`"
            ) from error

    def expect(self, digests: Mapping[str, str]) -> None:
        """Take a record's word for its own chunks; those of no record must be absent."""
        self._expected.update(digests)

    def read(self, name: str, start: int, n_slots: int) -> NDArray[Any]:
        """Values of a variable from a slot of the year on."""
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return np.asarray(array[start : start + n_slots])


class DayReader:
    """Reads one UTC day of one year store, refusing bytes that its record does not name.

    Parameters
    ----------
    expected : digests of the day's chunks by key
    year : the store at `path`, if it is open already
    """

    def __init__(
        self,
        objects: ObjectStore,
        path: str,
        day: date,
        slots_per_day: int,
        expected: Mapping[str, str],
        year: YearReader | None = None,
    ) -> None:
        self._year = YearReader(objects, path) if year is None else year
        self._year.expect(expected)
        self._start = day_start(day, slots_per_day)
        self._slots = slots_per_day

    def read(self, name: str, slot: int = 0, n_slots: int | None = None) -> NDArray[Any]:
        """The day's values of a variable from a slot on; fill values where nothing was written.

        Raises
        ------
        StoreError
            If a stored object is not the one that the record names.
        """
        return self._year.read(
            name, self._start + slot, self._slots if n_slots is None else n_slots
        )
