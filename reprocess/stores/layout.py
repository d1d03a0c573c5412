"""How a year lies in Zarr: dimensions, chunks, encodings, CF attributes.

A year store is laid out whole when the year is first touched: every array
has its final size and the slot grid is written, so that workers only ever
replace chunks of their own UTC day. Plain Zarr v3 that `xarray.open_zarr`
reads without this package.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import zarr
import zarr.codecs
from numpy.typing import NDArray

from reprocess.campaign import SECONDS_PER_DAY
from reprocess.stores.objects import MemoryObjects
from reprocess.stores.zarrview import ZarrView

CHUNK_SLOTS_MAX = 60
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
