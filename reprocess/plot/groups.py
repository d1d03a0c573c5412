"""Occurrence by month, season, year or any other grouping: a row of maps for each group."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reprocess.campaign import FlagTable
from reprocess.cube.groups import count_occurrence
from reprocess.cube.selection import limits, mlt_place
from reprocess.errors import ConfigurationError
from reprocess.plot import captions
from reprocess.plot.mapgrid import Maps, below_words, maps_figure
from reprocess.plot.occurrence import ScaleName, count_maps, head_lines, rate_scale
from reprocess.plot.page import PAGE_MM, save_figure
from reprocess.plot.sky import East, sky_of
from reprocess.stores.objects import ObjectStore

ROWS_MAX = 40
SECTORS = 4
"""MLT bins of a grouped page by default, centred on magnetic midnight, dawn, noon and dusk."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SEASONS = ("Nov–Feb", "Mar–Apr, Sep–Oct", "May–Aug")
_SEASON_OF_MONTH = np.array([0, 0, 1, 1, 2, 2, 2, 2, 1, 1, 0, 0])
GROUPINGS = ("month", "season", "year")


def draw_groups(counts: xr.Dataset, path: str | Path, *, dpi: int = 300, **options: Any) -> Path:
    """Write `groups_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(groups_figure(counts, **options), path, dpi)


def groups_figure(
    counts: xr.Dataset,
    *,
    detectors: Sequence[str] | None = None,
    common: bool | None = None,
    east: East = "left",
    vmax: float | None = None,
    scale: ScaleName = "sqrt",
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw a row of occurrence maps for each group: columns are detectors by MLT.

    Parameters
    ----------
    counts : over `group` or `time` (months), from `count_occurrence`, `count_groups` or
        `open_cube`. Not modified.
    detectors, common, east, vmax, scale, title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        As `occurrence_figure`; if there are no groups, or more than 40.

    Notes
    -----
    A month or group without a single observed frame keeps its row, hatched; leading
    and trailing months of a time axis without any are left out.
    """
    name = next((n for n in ("group", "time") if n in counts["counts"].dims), None)
    if name is None:
        raise ConfigurationError(
            f"maps by group: found dimensions {counts['counts'].dims}, expected group or time"
        )
    if name == "time":
        counts = _observed_span(counts)
    keys = counts[name].to_numpy()
    if not 0 < len(keys) <= ROWS_MAX:
        raise ConfigurationError(
            f"maps by group: found {len(keys)} groups, expected 1 to {ROWS_MAX}; "
            f"select some of them, or bin the quantity more widely"
        )
    whole = count_maps(counts, detectors, common)
    found = [
        count_maps(counts.isel({name: [i]}), detectors, whole.common) for i in range(len(keys))
    ]
    # (row, detector × MLT, cell): a band of MLT sectors for each detector.
    n_cells = whole.rate.shape[-1]
    rate = np.stack([one.rate.reshape(-1, n_cells) for one in found])
    notes = [[note for row in one.notes() for note in row] for one in found]
    head = head_lines(counts, whole.common, title=title or _title(counts))
    return maps_figure(
        Maps(
            [_called(key) for key in keys],
            list(whole.hours) * len(whole.labels),
            rate,
            notes,
            bands=whole.labels,
        ),
        sky_of(counts, east),
        rate_scale(rate, vmax, scale),
        head,
        [
            *below_words("frames", "rate over all cells", found[0].days),
            f"above: magnetic local time of the {mlt_place(counts.attrs)}, hours",
        ],
        width_mm=width_mm,
        simulated=captions.is_simulated(counts.attrs),
        columns=rate.shape[1],
    )


def count_groups(
    store_url: str | ObjectStore,
    by: str,
    *,
    like: xr.Dataset | None = None,
    flags: Sequence[FlagTable] = (),
    max_age_h: float | None = None,
    mlt_bins: int = SECTORS,
    mlt_centred: bool = True,
    labels: Sequence[str] | None = None,
    years: Iterable[int] | None = None,
) -> xr.Dataset:
    """Count a store's detections by month, season, year, or a table in a file.

    Parameters
    ----------
    store_url : directory or fsspec URL of the store; or the store, open
    by : "month" (of the year, all years together), "season" (Lloyd's: November to February,
        the equinoxes, May to August), "year", or the path of a CSV file of times (UTC,
        ISO 8601) and keys, one row a change, with or without a line of names
    like : cube whose limits of Sun, Moon and cells are used; default those of
        `count_occurrence`
    flags : flag tables of the campaign, which a cube names but does not hold
    max_age_h : a row of a table holds for less than this; default until the next row
    mlt_bins, mlt_centred, labels, years : as `count_occurrence`

    Raises
    ------
    ConfigurationError
        As `count_occurrence`; if the file cannot be read.
    """
    names: Sequence[str] = ()
    keys: Any
    if by in _CALENDAR:
        keys, names = _CALENDAR[by]
    else:
        keys = read_table(by)
    told: dict[str, Any] = {"flags": flags}
    if like is not None:
        told = limits(like.attrs, flags)
        if labels is None and "compare" in like.attrs:
            told["compare"] = [str(label) for label in like.attrs["compare"]]
            labels = [str(label) for label in like["detector"].to_numpy()]
    counts = count_occurrence(
        store_url,
        keys,
        labels=labels,
        max_age=None if max_age_h is None else np.timedelta64(round(3600 * max_age_h), "s"),
        mlt_bins=mlt_bins,
        mlt_centred=mlt_centred,
        years=years,
        **told,
    )
    if names:
        counts = counts.assign_coords(group=[names[int(key)] for key in counts["group"].values])
    return counts.assign_attrs(grouped_by=by if by in GROUPINGS else Path(by).stem)


def read_table(path: str) -> tuple[list[str], list[Any]]:
    """Read times and keys from a CSV file; keys that all are numbers become numbers.

    Raises
    ------
    ConfigurationError
        If there is no such file, or a row has not two columns.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"--by {path}: found no such grouping and no such file ({error.strerror}), expected "
            f"{', '.join(GROUPINGS)}, or a CSV file of times and keys"
        ) from error
    rows = [row for row in csv.reader(text.splitlines()) if row and not row[0].startswith("#")]
    if rows and not rows[0][0].strip()[:4].isdigit():
        rows = rows[1:]
    if not rows or any(len(row) < 2 for row in rows):
        raise ConfigurationError(
            f"{path}: found {len(rows)} rows and not two columns in all of them, expected "
            f"`2021-06-10T00:00,key` in each"
        )
    # A time zone would be dropped by NumPy with a warning: UTC is what the table is in.
    times = [row[0].strip().removesuffix("Z").replace(" ", "T") for row in rows]
    keys: list[Any] = [row[1].strip() or None for row in rows]
    with contextlib.suppress(ValueError):
        keys = [float("nan") if key is None else float(key) for key in keys]
    return times, keys


def _months(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return times.astype("datetime64[M]").astype(np.int64) % 12


def _years(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return times.astype("datetime64[Y]").astype(np.int64) + 1970


def _seasons(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return np.asarray(_SEASON_OF_MONTH[_months(times)], dtype=np.int64)


_Keys = Callable[[NDArray[np.datetime64]], NDArray[np.int64]]
_CALENDAR: Mapping[str, tuple[_Keys, Sequence[str]]] = {
    "month": (_months, _MONTHS),
    "season": (_seasons, _SEASONS),
    "year": (_years, ()),
}


def _observed_span(counts: xr.Dataset) -> xr.Dataset:
    others = [dim for dim in counts["counts"].dims if dim != "time"]
    seen = np.flatnonzero(counts["counts"].sum(others).to_numpy() > 0)
    return counts.isel(time=slice(seen[0], seen[-1] + 1)) if len(seen) else counts.isel(time=[0])


def _title(counts: xr.Dataset) -> str:
    years = counts.attrs.get("years")
    when = captions.period(counts) if years is None else captions.year_ranges(years)
    by = counts.attrs.get("grouped_by", "month" if "time" in counts.dims else "group")
    parts = (f"Aurora occurrence by {by}", str(counts.attrs.get("site", "")), when)
    return " · ".join(part for part in parts if part)


def _called(key: Any) -> str:
    if isinstance(key, np.datetime64):
        return str(key.astype("datetime64[M]"))
    return f"{key:g}" if isinstance(key, np.floating) else str(key)
