"""Count a cube-year again from its detections, by the way that readers count, and compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from reprocess.campaign import FlagTable
from reprocess.cube.count import MONTHS, OUTCOMES
from reprocess.cube.groups import count_occurrence
from reprocess.cube.selection import limits
from reprocess.cube.shape import CUBE_PATH
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stores.metadata import metadata_digests
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, only_fingerprint
from reprocess.stores.zarrview import ZarrView


def recount_year(objects: ObjectStore, year: int, flags: Sequence[FlagTable] = ()) -> Iterator[str]:
    """Tell each number of a cube-year that the committed detections do not give.

    Parameters
    ----------
    objects : the store
    year : one that the cube holds
    flags : the campaign's flag tables, where the cube was counted with some

    Yields
    ------
    str
        One line a variable and label that differs: how many numbers, and the first of them.

    Raises
    ------
    StoreError
        If detections or the cube's metadata are not what their records say, or the cube was
        counted with other flag tables than were given.

    Notes
    -----
    Bins, selection, cell rule and compared labels are taken from the cube's own metadata, so no
    campaign is needed but for flag tables. The counting is `count_occurrence`, which reads the
    detections in another way than publishing does and groups them by calendar month.
    """
    view = ZarrView(
        objects, CUBE_PATH, metadata=metadata_digests(objects, CUBE_PATH), read_only=True
    )
    cube = zarr.open_group(view, mode="r", zarr_format=3)
    labels = [str(label) for label in _values(cube, "detector")]
    days: dict[str, set[str]] = {}
    for block, found in Records(objects).list([year]).items():
        if block.stage == "detections" and block.label in labels and only_fingerprint(found):
            days.setdefault(block.day, set()).add(block.label)
    held = [label for label in labels if any(label in on_day for on_day in days.values())]
    months = np.datetime64("1970-01-01") + _values(cube, "time").astype(int)
    first = int(np.searchsorted(months, np.datetime64(f"{year:04d}-01-01")))
    span = slice(first, first + MONTHS)
    committed = np.zeros(MONTHS, np.int64)
    for day, on_day in days.items():
        committed[int(day[5:7]) - 1] += len(on_day) == len(labels)
    yield from _differences("n_days_committed", _values(cube, "n_days_committed", span), committed)
    counted = _count(objects, cube, year, held, flags) if held else None
    for name in ("counts", "n_days"):
        array = cube[name]
        assert isinstance(array, zarr.Array)
        for index, label in enumerate(labels):
            stored = np.asarray(array[:, span, index])
            again = np.zeros_like(stored)
            if counted is not None and label in held:
                again = counted[name].sel(detector=label).to_numpy()
            yield from _differences(f"{name} of {label}", stored, again)


def _count(
    objects: ObjectStore, cube: zarr.Group, year: int, held: list[str], flags: Sequence[FlagTable]
) -> Any:
    told: dict[str, Any] = dict(cube.attrs)
    try:
        chosen = limits(told, flags)
    except ConfigurationError as error:
        raise StoreError(f"{CUBE_PATH}: {error}") from error
    compare = [str(label) for label in told["compare"]]
    bounds = _values(cube, "mlt_bounds")
    return count_occurrence(
        objects,
        years=[year],
        labels=held,
        mlt_bins=len(bounds),
        mlt_centred=bool(bounds[0, 0] < 0),
        # A label of `compare` with nothing committed leaves no common frames at all.
        compare=compare if set(compare) <= set(held) else [],
        **chosen,
    )


def _values(cube: zarr.Group, name: str, span: slice = slice(None)) -> NDArray[Any]:
    try:
        array = cube[name]
    except KeyError as error:
        raise StoreError(f"{CUBE_PATH}: found no {name}, expected an occurrence cube") from error
    assert isinstance(array, zarr.Array)
    return np.asarray(array[span])


def _differences(name: str, stored: NDArray[Any], again: NDArray[Any]) -> Iterator[str]:
    where = np.argwhere(stored != again)
    if not len(where):
        return
    first = tuple(int(i) for i in where[0])
    at = (
        f"{OUTCOMES[first[0]]}, month {first[1] + 1}"
        if stored.ndim > 1
        else f"month {first[0] + 1}"
    )
    yield (
        f"{name}: {len(where)} numbers are not what the detections give; first at {at}: "
        f"stored {int(stored[first])}, counted {int(again[first])}"
    )
