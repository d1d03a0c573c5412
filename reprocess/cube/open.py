"""Open the occurrence cube: counts read once, and the rates that follow from them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import xarray as xr

from reprocess.campaign import StoreAccess
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.s3 import is_s3
from reprocess.stores.zarrview import ZarrView

CUBE_NAME = "occurrence.zarr"
CUBE_LOCK = "locks/cube"
PUBLICATION_WAIT_S = 10.0
"""Seconds that a reader waits for a run that publishes."""
COUNT_DIMS = ("outcome", "detector", "mlt", "cell")


def open_cube(
    url: str,
    storage_options: Mapping[str, Any] | None = None,
    access: StoreAccess | Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open the occurrence cube of a store, with all counts in memory.

    Parameters
    ----------
    url : directory or fsspec URL of the store, or of the `occurrence.zarr` in it
    storage_options : passed to fsspec; only for URLs. `access` is then not used
    access : how an S3 service is reached, such as {"profile": "polar"}, with the keys of a
        campaign's `store_access`; without it and without `storage_options`, as AWS's files and
        environment say

    Returns
    -------
    Dataset
        `counts` and `n_days` (outcome, time, detector, mlt, cell) as stored, and what
        `with_rates` adds.

    Raises
    ------
    ConfigurationError
        If there is no cube at the URL.
    StoreError
        If what is there is not a cube.

    Notes
    -----
    A month in which nothing was observed has count 0 and rate NaN. Counts
    add up over months and MLT bins, rates do not: `rates` sums first.

    While a run publishes, the cube is read again until what was read is of one
    moment; a `UserWarning` tells when that took too long, or when the run that
    published died (`PUBLICATION_WAIT_S`). A cube that was copied without its
    store's `locks/` cannot be checked.
    """
    place = str(url).rstrip("/")
    if not place.endswith(f"/{CUBE_NAME}") and place != CUBE_NAME:
        place = f"{place}/{CUBE_NAME}"
    if is_s3(place) and storage_options is None:
        return open_stored_cube(open_objects(place.removesuffix(f"/{CUBE_NAME}"), access))
    options = dict(storage_options) if storage_options else None
    return _whole(lambda: _load(place, place, options), place, lambda: _lock_names(place, options))


def open_stored_cube(objects: ObjectStore) -> xr.Dataset:
    """As `open_cube`, through a store that is already open, by whatever access that has."""
    place = f"{objects.url}/{CUBE_NAME}"
    view = ZarrView(objects, CUBE_NAME, read_only=True)
    return _whole(lambda: _load(view, place, None), place, lambda: objects.keys(CUBE_LOCK))


@dataclass(frozen=True)
class _Publication:
    """Which publication of the cube came last, by its lock, and whether it has ended."""

    number: int
    at_rest: bool


def _whole(
    load: Callable[[], xr.Dataset], place: str, lock_names: Callable[[], Iterable[str]]
) -> xr.Dataset:
    """Load a cube at a moment at which no run publishes: the number of its lock tells."""
    deadline = time.monotonic() + PUBLICATION_WAIT_S
    while True:
        before = _publication(lock_names)
        steady = before is None or before.at_rest
        late = time.monotonic() > deadline
        if steady or late:
            try:
                loaded = load()
            except (ConfigurationError, StoreError):
                if late or before == _publication(lock_names):
                    raise
                continue  # between two shapes
            if steady and before == _publication(lock_names):
                return loaded
            if late:
                warnings.warn(
                    f"{place}: a run is publishing, or died while it did: some years may be of two "
                    f"moments; wait for it, or run the campaign again",
                    stacklevel=3,
                )
                return loaded
        time.sleep(0.05)


def _publication(lock_names: Callable[[], Iterable[str]]) -> _Publication | None:
    """The last publication of a cube; None if its store does not tell."""
    try:
        names = {str(key).rpartition("/")[2] for key in lock_names()}
    except OSError:
        return None
    number = max((int(name) for name in names if name.isascii() and name.isdecimal()), default=None)
    return None if number is None else _Publication(number, f"{number}.released" in names)


def _lock_names(place: str, options: dict[str, Any] | None) -> Iterable[str]:
    store = place.removesuffix(CUBE_NAME).rstrip("/")
    fs, root = fsspec.url_to_fs(store or ".", use_listings_cache=False, **(options or {}))
    found: Iterable[str] = fs.find(f"{root}/{CUBE_LOCK}")
    return found


def _load(source: str | ZarrView, place: str, options: dict[str, Any] | None) -> xr.Dataset:
    try:
        # Metadata is read array by array: a consolidated copy could be older than the arrays.
        dataset = xr.open_zarr(source, chunks=None, consolidated=False, storage_options=options)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(
            f"{place}: found no cube, expected the {CUBE_NAME} that a finished run leaves in its "
            f"store; check the URL, or run the campaign first"
        ) from error
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(
            f"{place}: its metadata cannot be read ({error}); expected an occurrence cube. Run "
            f"`reprocess verify` on the store, which tells what is damaged and can repair it"
        ) from error
    with dataset:
        counts = dataset.get("counts")
        found = () if counts is None else counts.dims
        if counts is None or not {*COUNT_DIMS, "time"} <= set(found) or "outcome" not in dataset:
            raise StoreError(
                f"{place}: found variables {sorted(map(str, dataset.variables))} with counts over "
                f"{found}, expected counts(outcome, time, detector, mlt, cell); this is not an "
                f"occurrence cube: check the URL, or publish the cube again"
            )
        try:
            loaded: xr.Dataset = dataset.load()
        except (ValueError, RuntimeError) as error:
            raise StoreError(
                f"{place}: its numbers cannot be decoded ({error}). Run `reprocess verify` on the "
                f"store, which tells what is damaged and can repair it"
            ) from error
    described = [name for name in loaded.data_vars if str(name).startswith("cell_")]
    described += [name for name in loaded.data_vars if str(name).endswith("_bounds")]
    return with_rates(loaded.set_coords(dict.fromkeys(described)))


def with_rates(dataset: xr.Dataset) -> xr.Dataset:
    """Add numerators, denominators and rates to a dataset of counts.

    Parameters
    ----------
    dataset : with `counts` over `outcome` ("observed", "aurora", "observed_common",
        "aurora_common") and any other dimensions. Not modified.

    Returns
    -------
    Dataset
        With `n_observed`, `n_aurora`, `occurrence`, and the same three ending in `_common`:
        frames and cells that all compared detectors observed. `occurrence` is float32, 0-1,
        and NaN where nothing was observed.
    """
    counts = dataset["counts"]
    new: dict[Hashable, xr.DataArray] = {}
    for suffix, text in (("", ""), ("_common", ", observed by all compared detectors")):
        observed = counts.sel(outcome=f"observed{suffix}", drop=True)
        aurora = counts.sel(outcome=f"aurora{suffix}", drop=True)
        observed.attrs = {"long_name": f"frames observed{text}", "units": "1"}
        aurora.attrs = {"long_name": f"frames with aurora{text}", "units": "1"}
        new[f"n_observed{suffix}"] = observed
        new[f"n_aurora{suffix}"] = aurora
        new[f"occurrence{suffix}"] = _occurrence(aurora, observed, text)
    return dataset.assign(new)


def rates(dataset: xr.Dataset, dim: str | Iterable[Hashable] | None = None) -> xr.Dataset:
    """Occurrence over several months, bins or cells: counts are summed, then divided.

    Parameters
    ----------
    dataset : from `open_cube` or `count_occurrence`, or a selection of one
    dim : dimensions to sum over; None sums over time or group

    Returns
    -------
    Dataset
        `n_observed`, `n_aurora` (int64), `occurrence` (float32, NaN where nothing was
        observed) and the same three ending in `_common`, without the summed dimensions.

    Notes
    -----
    Every frame weighs the same, so a month with more dark hours weighs more; a
    sum over cells weighs equal-area cells the same. `n_days` is left out: a
    day counts in several bins and cells, so only sums over months hold.
    """
    if dim is None:
        dim = [name for name in ("time", "group") if name in dataset["counts"].dims]
    dims = [dim] if isinstance(dim, str) else list(dim)
    if "outcome" in dims:
        raise ValueError("rates over 'outcome': outcomes are not parts of one whole")
    kept = dataset.drop_vars([n for n in dataset.data_vars if n != "counts"])
    attributes = dataset["counts"].attrs
    counts = kept["counts"].sum(dims, dtype=np.int64).assign_attrs(attributes)
    shared = [n for n, c in kept.coords.items() if not set(c.dims) & set(dims)]
    summed = xr.Dataset({"counts": counts}, attrs=dataset.attrs)
    summed = summed.assign_coords({name: kept.coords[name] for name in shared})
    return with_rates(summed).drop_vars(["counts", "outcome"])


def _occurrence(aurora: xr.DataArray, observed: xr.DataArray, text: str) -> xr.DataArray:
    rate = np.full(observed.shape, np.nan, dtype=np.float32)
    np.divide(
        aurora.to_numpy(), observed.to_numpy(), out=rate, where=observed.to_numpy() > 0,
        casting="same_kind",
    )  # fmt: skip
    attributes = {"long_name": f"share of frames with aurora{text}", "units": "1"}
    return observed.copy(data=rate).assign_attrs(attributes)
