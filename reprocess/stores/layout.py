"""How a year lies in Zarr: dimensions, chunks, encodings, CF attributes.

A year store is laid out whole when the year is first touched: every array
has its final size and the slot grid is written, so that workers only ever
replace chunks of their own UTC day. Plain Zarr v3 that `xarray.open_zarr`
reads without this package.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import zarr
import zarr.codecs
from numpy.typing import NDArray

from reprocess.campaign import SECONDS_PER_DAY
from reprocess.errors import LayoutDamaged, LockLost, StoreError
from reprocess.stores.ahead import ahead
from reprocess.stores.objects import MemoryObjects, ObjectStore
from reprocess.stores.records import (
    OVERWRITTEN,
    UNFINISHED,
    LayoutRecord,
    layout_key,
    layout_mark_key,
    mark_layout,
    read_layout,
    write_layout,
)
from reprocess.stores.zarrview import ZarrView, digest

CHUNK_SLOTS_MAX = 60
READS_AHEAD = 8
NOT_ACQUIRED_US = np.iinfo(np.int64).min
"""Fill value of `acquired`: no frame in the slot. Decodes to NaT."""

ACQUIRED_ATTRIBUTES: dict[str, Any] = {
    "long_name": "time of the frame in this slot, UTC; middle of its exposure",
    "units": "microseconds since 1970-01-01",
    "calendar": "proleptic_gregorian",
    "_FillValue": int(NOT_ACQUIRED_US),
}


@dataclass(frozen=True)
class Variable:
    """One variable along `time` of a year store.

    Attributes
    ----------
    dims, shape : dimensions after `time`, and their sizes
    fill : value of a slot never written
    chunk_slots : slots a chunk; None = a whole UTC day
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    fill: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)
    chunk_slots: int | None = None


@dataclass(frozen=True)
class Coordinate:
    """One array of a store that does not run along `time`."""

    name: str
    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)


ACQUIRED = Variable("acquired", (), (), "int64", int(NOT_ACQUIRED_US), ACQUIRED_ATTRIBUTES)


def status_variable(meanings: Mapping[str, int], long_name: str) -> Variable:
    """A uint8 flag variable; 0 is the fill value and means that no frame is there."""
    return Variable(
        "status",
        (),
        (),
        "uint8",
        0,
        {
            "long_name": long_name,
            "flag_values": list(meanings.values()),
            "flag_meanings": " ".join(meanings),
        },
    )


def chunk_slots(slots_per_day: int) -> int:
    """The largest divisor of a day's slots that is at most 60: chunks never cross a day."""
    return max(n for n in range(1, CHUNK_SLOTS_MAX + 1) if slots_per_day % n == 0)


def days_in_year(year: int) -> int:
    """365 or 366."""
    return (date(year + 1, 1, 1) - date(year, 1, 1)).days


def day_start(day: date, slots_per_day: int) -> int:
    """Index along `time` of a UTC day's first slot."""
    return (day - date(day.year, 1, 1)).days * slots_per_day


@dataclass(frozen=True)
class YearLayout:
    """Everything a year store is, before any block is written.

    `path` is relative to the store's URL, such as `frames/2021.zarr`.
    """

    path: str
    year: int
    slots_per_day: int
    phase_s: float
    variables: tuple[Variable, ...]
    coordinates: tuple[Coordinate, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def objects(self) -> dict[str, bytes]:
        """The metadata and coordinate objects of the year, by key."""
        memory = MemoryObjects()
        n_slots = days_in_year(self.year) * self.slots_per_day
        with warnings.catch_warnings():
            # Consolidated metadata is not yet in the v3 specification; xarray and zarr read it.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            store = ZarrView(memory, self.path)
            group = zarr.create_group(
                store,
                zarr_format=3,
                attributes={"Conventions": "CF-1.11", "format_version": 1, **self.attributes},
            )
            cadence_s = SECONDS_PER_DAY // self.slots_per_day
            seconds = np.arange(n_slots, dtype=np.int64) * cadence_s + round(self.phase_s)
            write_coordinate(
                group,
                Coordinate(
                    "time",
                    ("time",),
                    seconds.astype("int32"),
                    {
                        "standard_name": "time",
                        "long_name": "start of the slot, UTC",
                        "units": f"seconds since {self.year:04d}-01-01",
                        "calendar": "proleptic_gregorian",
                    },
                ),
            )
            for coordinate in self.coordinates:
                write_coordinate(group, coordinate)
            for variable in self.variables:
                group.create_array(
                    variable.name,
                    shape=(n_slots, *variable.shape),
                    chunks=(variable.chunk_slots or self.slots_per_day, *variable.shape),
                    dtype=variable.dtype,
                    fill_value=variable.fill,
                    compressors=[zarr.codecs.ZstdCodec(level=1)],
                    filters=None,
                    dimension_names=("time", *variable.dims),
                    attributes=dict(variable.attributes),
                )
            zarr.consolidate_metadata(store)
        return memory.data


def write_coordinate(group: zarr.Group, coordinate: Coordinate) -> None:
    """Write one small array in one chunk."""
    values = np.asarray(coordinate.values)
    if values.dtype.kind == "U":
        values = values.astype(object)  # Zarr v3 specifies variable-length strings only
    array = group.create_array(
        coordinate.name,
        shape=values.shape,
        chunks=tuple(max(1, n) for n in values.shape),
        dtype=str if values.dtype == object else values.dtype,
        fill_value=None,
        compressors=[zarr.codecs.ZstdCodec(level=1)],
        filters=None,
        dimension_names=coordinate.dims,
        attributes=dict(coordinate.attributes),
        config={"write_empty_chunks": True},
    )
    array[...] = values


def lay_out(
    objects: ObjectStore,
    layout: YearLayout,
    *,
    replace: bool = False,
    guard: Callable[[], None] = lambda: None,
) -> bool:
    """Write what a year store lacks or has otherwise; chunks of committed days are not touched.

    Parameters
    ----------
    replace : remove the chunks of arrays whose shape changed, instead of refusing;
        for a run that does every day of the year again
    guard : raises `LockLost` when another run has taken over; called before and after every write

    Returns
    -------
    bool
        Whether a mark lies on the year now: `finish_layout` takes it off, when every block that
        this layout is for has been made. Until then nothing else would tell that the year was laid
        out for a change that was begun by a run which died, and then taken back.

    Raises
    ------
    LockLost
        From `guard`. The last write may lie on the new holder's: a mark is left, so that the next
        run lays the year out again.
    StoreError
        If the store holds arrays of another shape or type under this path.

    Notes
    -----
    The digests of all it wrote are kept last, in `records/layout/`: no block's record covers
    metadata and coordinates. An object that is not as those digests say is damaged; it is written
    again, whatever shape it tells.
    """
    overwritten = layout_mark_key(layout.path, OVERWRITTEN)
    marked = objects.exists(overwritten)  # a mark that is left later tells of a later write
    with _marking(objects, layout.path):
        changed = _lay_out(objects, layout, replace, guard)
    if marked:
        guard()
        objects.delete(overwritten)
    return changed or objects.exists(layout_mark_key(layout.path, UNFINISHED))


def finish_layout(
    objects: ObjectStore, layout: YearLayout, guard: Callable[[], None] = lambda: None
) -> None:
    """Take the mark of `lay_out` off, after all that was to be made under the layout."""
    with _marking(objects, layout.path):
        guard()
        objects.delete(layout_mark_key(layout.path, UNFINISHED))
        guard()  # else nothing would tell that it was the new holder's mark


@contextlib.contextmanager
def _marking(objects: ObjectStore, path: str) -> Iterator[None]:
    try:
        yield
    except LockLost:
        mark_layout(objects, path, OVERWRITTEN)
        raise


def _lay_out(
    objects: ObjectStore, layout: YearLayout, replace: bool, guard: Callable[[], None]
) -> bool:
    """Whether anything had to be written; it was, under a mark."""
    wanted = layout.objects()
    recorded = _recorded(objects, layout.path)
    coordinates = {f"{layout.path}/{coordinate.name}" for coordinate in layout.coordinates}
    lacking: dict[str, bytes] = {}
    outgrown: list[str] = []

    def read(key: str) -> bytes | None:
        try:
            return objects.read(key)
        except (FileNotFoundError, ValueError):
            return None

    for key, present in ahead(read, wanted, READS_AHEAD):
        data = wanted[key]
        if present is None:
            lacking[key] = data
            continue
        if present == data:
            continue
        if recorded is not None and digest(present) != recorded.get(key) == digest(data):
            lacking[key] = data
            continue
        reshaped = _another_shape(key, present, data)
        array = key.removesuffix("/zarr.json")
        # A coordinate, such as one of each camera epoch, holds nothing of any day.
        if reshaped and not replace and array not in coordinates:
            raise StoreError(
                f"{objects.url}/{key}: found an array of {reshaped}; the image size, cadence or "
                f"cells changed under this store: run with --recompute frames, or give the "
                f"campaign a new store"
            )
        if reshaped:
            outgrown.append(f"{array}/c")
        lacking[key] = data
    # Only now, so that a refused layout leaves everything as it was.
    if not lacking and recorded == {key: digest(data) for key, data in wanted.items()}:
        return False
    guard()
    mark_layout(objects, layout.path, UNFINISHED)
    for chunks in outgrown:
        guard()
        objects.delete_tree(chunks)
        lacking |= {key: data for key, data in wanted.items() if key.startswith(f"{chunks}/")}
    write_objects(objects, layout.path, wanted, lacking, recorded, guard=guard)
    return True


def write_objects(
    objects: ObjectStore,
    path: str,
    wanted: Mapping[str, bytes],
    lacking: Mapping[str, bytes],
    recorded: Mapping[str, str] | None,
    *,
    bound: str = "",
    guard: Callable[[], None] = lambda: None,
) -> None:
    """Write the metadata and coordinates that a hierarchy lacks, and last what all of them are.

    Parameters
    ----------
    wanted, lacking : every object of the hierarchy by key, and those that are not there
    recorded : digests by key as they are recorded now, None if they are not
    """
    digests = {key: digest(data) for key, data in wanted.items()}
    if not lacking and recorded == digests:
        return
    if recorded is not None and recorded != digests:
        guard()
        objects.delete(layout_key(path))  # neither the old nor the new, until all is written
    for key, data in lacking.items():
        guard()
        objects.write(key, data)
    if recorded != digests:
        guard()
        write_layout(objects, LayoutRecord(path, digests, bound))
    guard()  # else nothing would tell that the last write came after another run's


def damaged_metadata(objects: ObjectStore, path: str) -> list[str]:
    """Keys of a hierarchy's metadata and coordinates that are not as they were laid out.

    Empty, too, where it is not recorded how they were.

    Raises
    ------
    StoreError
        If the record of them is itself damaged.
    """
    layout = read_layout(objects, path)
    if layout is None:
        return []
    damaged = []
    for key, wanted in sorted(layout.objects.items()):
        try:
            if digest(objects.read(key)) == wanted:
                continue
        except (FileNotFoundError, IsADirectoryError, ValueError):
            pass
        damaged.append(key)
    return damaged


def mend(
    objects: ObjectStore, layout: YearLayout, guard: Callable[[], None] = lambda: None
) -> list[str]:
    """Write damaged metadata and coordinates again, where the wanted bytes are those recorded.

    Returns
    -------
    list of str
        Keys that were written. What was laid out otherwise, by other settings or another
        version of a library, is left as it is; so is all where the record is damaged.
    """
    try:
        damaged = damaged_metadata(objects, layout.path)
    except StoreError:
        return []
    if not damaged:
        return []
    wanted, recorded = layout.objects(), metadata_digests(objects, layout.path)
    mended = [key for key in damaged if key in wanted and digest(wanted[key]) == recorded[key]]
    with _marking(objects, layout.path):
        for key in mended:
            guard()
            objects.write(key, wanted[key])
        guard()
    return mended


def forget_layout(objects: ObjectStore, path: str) -> None:
    """Take back what a hierarchy was laid out as, before its objects are removed."""
    objects.delete(layout_key(path))


def metadata_digests(objects: ObjectStore, path: str) -> dict[str, str]:
    """Digests of a hierarchy's metadata and coordinates; empty where they are not known.

    Raises
    ------
    LayoutDamaged
        If they were recorded and the record is damaged.
    """
    try:
        layout = read_layout(objects, path)
    except StoreError as error:
        raise LayoutDamaged(str(error)) from error
    return {} if layout is None else layout.objects


def _recorded(objects: ObjectStore, path: str) -> dict[str, str] | None:
    """As recorded; None where it is not, or is damaged: it is then written again."""
    try:
        layout = read_layout(objects, path)
    except StoreError:
        return None
    return None if layout is None else layout.objects


def _another_shape(key: str, present: bytes, wanted: bytes) -> str | None:
    """How two arrays' metadata differ in shape, type or chunks; None if they do not."""
    if not key.endswith("/zarr.json"):
        return None
    try:
        old = zarr.core.metadata.ArrayV3Metadata.from_dict(_json(present))
        new = zarr.core.metadata.ArrayV3Metadata.from_dict(_json(wanted))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # a group's metadata: attributes and the consolidated copy may change
    if (old.shape, old.dtype, old.chunk_grid) == (new.shape, new.dtype, new.chunk_grid):
        return None
    return f"shape {old.shape}, expected {new.shape}"


def _json(data: bytes) -> dict[str, Any]:
    document = json.loads(data)
    if not isinstance(document, dict) or document.get("node_type") != "array":
        raise ValueError("not an array")
    return document


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
            array = _json(objects.read(f"{path}/{name}/zarr.json"))
            along_time = "time" in array["dimension_names"] and name != "time"
            shape = array["chunk_grid"]["configuration"]["chunk_shape"]
            chunks[name] = int(shape[0]) if along_time else 0
        first = int(index.split("/")[0]) * chunks[name]
        if chunks[name] and start <= first < start + slots_per_day:
            guard()
            objects.delete(key)


class DayReader:
    """Reads one UTC day of one year store, refusing bytes that its record does not name."""

    def __init__(
        self,
        objects: ObjectStore,
        path: str,
        day: date,
        slots_per_day: int,
        expected: Mapping[str, str],
    ) -> None:
        metadata = metadata_digests(objects, path)
        view = ZarrView(objects, path, expected, metadata=metadata, read_only=True)
        try:
            self._group = zarr.open_group(view, mode="r", zarr_format=3)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise LayoutDamaged(
                f"{view}: is no Zarr group that can be read ({error}); run `reprocess verify "
                f"STORE --repair CAMPAIGN`"
            ) from error
        self._start = day_start(day, slots_per_day)
        self._slots = slots_per_day

    def read(self, name: str, slot: int = 0, n_slots: int | None = None) -> NDArray[Any]:
        """The day's values of a variable from a slot on; fill values where nothing was written.

        Raises
        ------
        StoreError
            If a stored object is not the one that the record names.
        """
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        start = self._start + slot
        values = array[start : start + (self._slots if n_slots is None else n_slots)]
        return np.asarray(values)
