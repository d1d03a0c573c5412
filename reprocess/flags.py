"""Tables that say of a time whether it counts: cloudy or clear, lamps on, dome closed.

A user's own table, CSV or Parquet, of intervals or of samples. It decides which
frames are counted and nothing else, so changing it needs no image.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fsspec
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import FlagTable
from reprocess.errors import ConfigurationError
from reprocess.extras import require

PARQUET_MAGIC = b"PAR1"
_UNKNOWN = -1


@dataclass(frozen=True)
class Flags:
    """Rows of a flag table in order of time.

    Attributes
    ----------
    start, end : (row,) datetime64[us] arrays, UTC
        A row holds from start up to, not including, end; end is NaT in a table of samples.
    value : (row,) array of str
    """

    start: NDArray[np.datetime64]
    end: NDArray[np.datetime64]
    value: NDArray[np.str_]

    def at(self, times: NDArray[np.datetime64], tolerance_s: float | None) -> list[str | None]:
        """The flag of each time; None where no row holds.

        Parameters
        ----------
        times : (n,) datetime64[us] array, UTC
        tolerance_s : for samples: the nearest holds if it is at most so far away (of two equally
            near the earlier); None for intervals
        """
        row = self._rows(times, tolerance_s)
        return [None if r == _UNKNOWN else str(self.value[r]) for r in row.tolist()]

    def _rows(self, times: NDArray[np.datetime64], tolerance_s: float | None) -> NDArray[np.int64]:
        known = ~np.isnat(times)
        at = times.astype("datetime64[us]").astype(np.int64)
        row = np.full(len(at), _UNKNOWN, np.int64)
        if not len(self.start):
            return row
        start = self.start.astype(np.int64)
        before = np.searchsorted(start, at, side="right") - 1
        if tolerance_s is None:
            inside = known & (before >= 0)
            inside[inside] = at[inside] < self.end.astype(np.int64)[before[inside]]
            row[inside] = before[inside]
            return row
        best = np.full(len(at), np.iinfo(np.int64).max)
        for candidate in (before, before + 1):
            safe = np.clip(candidate, 0, len(start) - 1)
            distance = np.abs(start[safe] - at)
            near = known & (candidate == safe) & (distance <= round(tolerance_s * 1e6))
            better = near & (distance < best)
            row[better], best[better] = safe[better], distance[better]
        return row


def kept(settings: FlagTable, times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Tell which frames a flag table lets count.

    Parameters
    ----------
    settings : one entry of `cube.flags`
    times : (n,) datetime64[us] array, UTC; NaT counts as unknown

    Returns
    -------
    (n,) bool array

    Raises
    ------
    ConfigurationError
        If the table cannot be read or is none; naming the row.

    Notes
    -----
    A value of `reject` is rejected, any other value in the table is kept; or, with `keep`, only
    its values are. Where no row holds, `unknown` decides.
    """
    found = load(settings).at(times, settings.tolerance_s)
    verdict: dict[str | None, bool] = {None: settings.unknown == "keep"}
    for value in set(found) - {None}:
        verdict[value] = value in settings.keep if settings.keep else value not in settings.reject
    return np.array([verdict[value] for value in found], np.bool_)


def digest(settings: FlagTable) -> str:
    """SHA-256 of the table's bytes, 16 hexadecimal characters: what the cube is bound to."""
    return hashlib.sha256(_read(settings.table)).hexdigest()[:16]


def load(settings: FlagTable) -> Flags:
    """Read a table; see `kept` for errors."""
    return _parse(_read(settings.table), settings.table, settings.tolerance_s is not None)


def _read(url: str) -> bytes:
    try:
        with fsspec.open(url, "rb") as file:
            return bytes(file.read())
    except (OSError, ValueError, ImportError) as error:
        raise ConfigurationError(
            f"cube.flags: {url}: cannot be read ({error}); expected a CSV or Parquet table"
        ) from error


@functools.lru_cache(maxsize=8)
def _parse(data: bytes, name: str, samples: bool) -> Flags:
    wanted = ("time", "flag") if samples else ("start", "end", "flag")
    columns = _parquet(data, name) if data.startswith(PARQUET_MAGIC) else _csv(data, name)
    missing = [column for column in wanted if column not in columns]
    if missing:
        form = "samples, as tolerance_s is given" if samples else "intervals, without tolerance_s"
        raise ConfigurationError(
            f"cube.flags: {name}: found columns {', '.join(columns) or 'none'}, expected "
            f"{', '.join(wanted)} ({form})"
        )
    start = _times(columns[wanted[0]], name, wanted[0])
    value = np.array(["" if v is None else str(v).strip() for v in columns["flag"]], np.str_)
    if samples:
        end = np.full(len(start), np.datetime64("NaT"), "datetime64[us]")
    else:
        end = _times(columns["end"], name, "end")
    order = np.argsort(start, kind="stable")
    flags = Flags(start[order], end[order], value[order])
    _check(flags, name, samples)
    return flags


def _check(flags: Flags, name: str, samples: bool) -> None:
    if samples:
        wrong = np.flatnonzero(flags.start[1:] == flags.start[:-1])
        text = "twice, expected each time once"
    else:
        backward = np.flatnonzero(flags.end <= flags.start)
        if len(backward):
            raise ConfigurationError(
                f"cube.flags: {name}: the interval from {flags.start[backward[0]]} ends at "
                f"{flags.end[backward[0]]}, expected a later end"
            )
        wrong = np.flatnonzero(flags.start[1:] < flags.end[:-1])
        text = "inside the interval before it, expected intervals that do not overlap"
    if len(wrong):
        raise ConfigurationError(f"cube.flags: {name}: found {flags.start[wrong[0] + 1]} {text}")


def _csv(data: bytes, name: str) -> Mapping[str, Sequence[Any]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"cube.flags: {name}: is neither Parquet nor text ({error})"
        ) from error
    lines = (line for line in io.StringIO(text) if line.strip() and not line.startswith("#"))
    rows = list(csv.reader(lines, skipinitialspace=True))
    if not rows:
        return {}
    header = [column.strip() for column in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise ConfigurationError(
                f"cube.flags: {name}: row {number} has {len(row)} values, expected {len(header)}: "
                f"{', '.join(header)}"
            )
    return {column: [row[i] for row in rows[1:]] for i, column in enumerate(header)}


def _parquet(data: bytes, name: str) -> Mapping[str, Sequence[Any]]:
    require("pyarrow", "parquet", f"cube.flags: {name}: Parquet")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigurationError(f"cube.flags: {name}: is no Parquet table ({error})") from error
    columns: dict[str, Sequence[Any]] = {}
    for column in table.column_names:
        values = table[column]
        if pyarrow.types.is_timestamp(values.type):
            # Not to Python objects: nanoseconds would need pandas. Zones are stored as UTC.
            values = values.cast(pyarrow.timestamp("us", values.type.tz), safe=False)
            columns[column] = list(values.cast(pyarrow.int64()).to_numpy().view("datetime64[us]"))
        else:
            columns[column] = values.to_pylist()
    return columns


def _times(values: Iterable[Any], name: str, column: str) -> NDArray[np.datetime64]:
    found = []
    for number, value in enumerate(values, start=1):
        if isinstance(value, np.datetime64):
            found.append(value)
            continue
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError as error:
            raise ConfigurationError(
                f"cube.flags: {name}: {column} of row {number} of the table: found {value!r}, "
                f"expected an ISO 8601 time such as 2021-06-01T10:00:00, UTC unless it says other"
            ) from error
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        found.append(np.datetime64(moment, "us"))
    return np.array(found, "datetime64[us]")
