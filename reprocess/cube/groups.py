"""Count occurrence from committed detections, grouped by anything known per frame.

The cube counts by calendar month. Everything else (Kp, IMF sector, season,
another MLT width, another Sun limit) is counted here, from the detections,
without an image or a network. Only committed days are read, and every object
is checked against its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from reprocess.campaign import Cube, FlagTable, StoreAccess
from reprocess.cube.chosen import Chosen
from reprocess.cube.committed import Detections
from reprocess.cube.count import (
    OUTCOMES,
    Counter,
    fraction_min,
    mlt_bounds,
)
from reprocess.cube.open import with_rates
from reprocess.cube.selection import attributes
from reprocess.cube.tables import GroupKeys, GroupTable, as_table, month_table, table_of
from reprocess.errors import ConfigurationError
from reprocess.stores.layout import NOT_ACQUIRED_US
from reprocess.stores.objects import ObjectStore, open_objects

COUNTS_BYTES_MAX = 2 * 2**30


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
    exposure_range_s: tuple[float, float] | None = None,
    gain_range: tuple[float, float] | None = None,
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
        If an object is not the one its record names, labels disagree on a frame's time, or
        exposure or gain is limited and the frames store does not hold the frames.

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
    source = Detections.find(objects, labels, years)
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
        mlt=mlt,
        mlt_elevation_min_deg=mlt_elevation_min_deg,
        mlt_bins=mlt_bins,
        mlt_centred=mlt_centred,
        sun_elevation_max_deg=sun_elevation_max_deg,
        moon_elevation_max_deg=moon_elevation_max_deg,
        moon_illuminated_max=moon_illuminated_max,
        refraction=refraction,
        cell_elevation_min_deg=cell_elevation_min_deg,
        exposure_range_s=exposure_range_s,
        gain_range=gain_range,
        flags=tuple(flags),
        cell_fraction_min=cell_fraction_min,
    )
    for day in Chosen(source, selection, by_mlt=by_mlt).days():
        counter.add_day(table.codes(day.times), day.mlt_bin, day.selected, day.fractions)
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
        },
    )
    return with_rates(dataset)


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
    groups: GroupKeys | None, source: Detections, max_age: np.timedelta64 | None
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
