"""Tables that say which group a time belongs to: months, Kp, IMF sectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError

GroupKeys = (
    Callable[[NDArray[np.datetime64]], Any] | Mapping[Any, Any] | tuple[Any, Any] | xr.DataArray
)
"""What a caller may give; a pandas Series is taken too, by its `index` and values."""

UNASSIGNED = -1


@dataclass(frozen=True)
class GroupTable:
    """Rows in order of time, each holding from its time until the next row's.

    Attributes
    ----------
    times : (row,) datetime64[us] array, ascending
    code : (row,) int64 array, index into `keys`; -1 = no group
    keys : (group,) array of distinct keys, sorted
    max_age : a row holds for less than this; None = until the next row
    """

    times: NDArray[np.datetime64]
    code: NDArray[np.int64]
    keys: NDArray[Any]
    max_age: np.timedelta64 | None = None

    def codes(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Group index of each time; -1 before the first row and where there is no group.

        Parameters
        ----------
        times : (n,) datetime64[us] array; NaT has no group
        """
        row = np.searchsorted(self.times, times, side="right") - 1
        held = (row >= 0) & ~np.isnat(times)
        if len(self.times) == 0:
            return np.full(len(times), UNASSIGNED, dtype=np.int64)
        if self.max_age is not None:
            held &= times - self.times[row] < self.max_age
        return np.where(held, self.code[row], UNASSIGNED)

    def between(self, first_year: int, last_year: int) -> GroupTable:
        """The rows, and only their keys, that can hold within a range of years."""
        start = np.datetime64(f"{first_year:04d}-01-01", "us")
        end = np.datetime64(f"{last_year + 1:04d}-01-01", "us")
        first = max(0, int(np.searchsorted(self.times, start, side="right")) - 1)
        last = int(np.searchsorted(self.times, end, side="left"))
        code = self.code[first:last]
        used = np.unique(code[code != UNASSIGNED])
        if len(used) == 0:
            raise ConfigurationError(
                f"groups: found no row with a key in {first_year} to {last_year}, expected times "
                f"(UTC) that cover the counted years"
            )
        lookup = np.full(len(self.keys) + 1, UNASSIGNED, dtype=np.int64)
        lookup[used] = np.arange(len(used))
        return GroupTable(self.times[first:last], lookup[code], self.keys[used], self.max_age)


def month_table(first_year: int, last_year: int) -> GroupTable:
    """Calendar months (UTC); the keys are their first days, as datetime64[s]."""
    months = np.arange(f"{first_year:04d}-01", f"{last_year + 1:04d}-01", dtype="datetime64[M]")
    codes = np.arange(len(months), dtype=np.int64)
    return GroupTable(months.astype("datetime64[us]"), codes, months.astype("datetime64[s]"))


def as_table(groups: Any, max_age: np.timedelta64 | None) -> GroupTable:
    """Read a table of times and keys in any of the forms that a caller may have.

    Parameters
    ----------
    groups : `(times, keys)`, a mapping of time to key, a 1-D DataArray over time, or an
        object with `index` and `to_numpy` (pandas Series)
    max_age : see `GroupTable`

    Raises
    ------
    ConfigurationError
        If it is none of these, a time is given twice or is missing, or the keys are not
        numbers, strings or times.
    """
    if isinstance(groups, xr.DataArray):
        if groups.ndim != 1:
            raise ConfigurationError(f"groups: found dims {groups.dims}, expected one over time")
        return table_of(groups[groups.dims[0]].to_numpy(), groups.to_numpy(), max_age)
    if isinstance(groups, Mapping):
        return table_of(list(groups), list(groups.values()), max_age)
    if isinstance(groups, tuple) and len(groups) == 2:
        return table_of(groups[0], groups[1], max_age)
    if hasattr(groups, "index") and hasattr(groups, "to_numpy"):
        index = groups.index
        if getattr(index, "tz", None) is not None:
            index = index.tz_convert("UTC").tz_localize(None)
        return table_of(np.asarray(index), groups.to_numpy(), max_age)
    raise ConfigurationError(
        f"groups: found {type(groups).__name__}, expected (times, keys), a mapping of time to "
        f"key, a Series or DataArray over time, or a function of times"
    )


def table_of(times: Any, keys: Any, max_age: np.timedelta64 | None) -> GroupTable:
    """Sort rows by time, number their keys, and join equal neighbours.

    Neighbours are joined only without `max_age`, which counts from a row's own time.
    """
    try:
        when = np.asarray(times).astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"groups: times cannot be read as UTC ({error})") from error
    found = np.asarray(keys)
    if when.ndim != 1 or found.shape != when.shape:
        raise ConfigurationError(
            f"groups: found {when.shape} times and {found.shape} keys, expected one key a time"
        )
    if np.isnat(when).any():
        raise ConfigurationError("groups: found a missing time, expected a time for each key")
    order = np.argsort(when, kind="stable")
    when, found = when[order], found[order]
    repeated = np.flatnonzero(np.diff(when) == np.timedelta64(0, "us"))
    if len(repeated):
        raise ConfigurationError(
            f"groups: found {when[repeated[0]]} twice, expected each time once"
        )
    code, names = _numbered(found)
    if max_age is None and len(code):
        changes = np.append(True, np.diff(code) != 0)
        when, code = when[changes], code[changes]
    return GroupTable(when, code, names, max_age)


def _numbered(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    missing = _missing(keys)
    present = keys[~missing]
    if present.dtype.kind == "O":
        present = np.array(list(present)) if len(present) else np.empty(0, dtype="U1")
    if present.ndim != 1 or present.dtype.kind not in "biufMmUT":
        raise ConfigurationError(
            f"groups: found keys of type {present.dtype}, expected numbers, strings or times"
        )
    names, inverse = np.unique(present, return_inverse=True)
    code = np.full(len(keys), UNASSIGNED, dtype=np.int64)
    code[~missing] = inverse
    return code, names


def _missing(keys: NDArray[Any]) -> NDArray[np.bool_]:
    missing = np.zeros(len(keys), dtype=np.bool_)
    if keys.dtype.kind in "fMm":
        missing = np.not_equal(keys, keys)  # NaN and NaT are not equal to themselves
    elif keys.dtype.kind == "O":
        missing[:] = [_is_missing(key) for key in keys]
    return missing


def _is_missing(key: Any) -> bool:
    # pandas' NA has no truth value, so it is known by its type.
    return key is None or type(key).__name__ == "NAType" or bool(key != key)
