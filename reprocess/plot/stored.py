"""What pictures read from a store: committed days, checked against their records.

A picture that needs to know where the camera looked takes the campaign that
the store's last run was made with, from `runs/`; a campaign that is given
must agree with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
import zarr

from reprocess import stages
from reprocess.campaign import Campaign, StoreAccess, campaign_from_mapping
from reprocess.cube.selection import attributes
from reprocess.errors import ConfigurationError, StoreError
from reprocess.request import differences
from reprocess.stores.days import DayReader
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Listing, Record, Records, day_block, only_fingerprint
from reprocess.stores.zarrview import ZarrView

_NOT_SCIENCE = ("archive", "store", "store_access", "years")
_PLACES = ("mask", "weights", "table")
"""Paths: another machine has others, and what they lead to is in the fingerprints."""
_LISTED_MAX = 6


class Stored:
    """A store that pictures are drawn from.

    Parameters
    ----------
    url : directory or fsspec URL of the store
    campaign : the campaign that the store is expected to be of; None takes its last run's
    access : how an S3 service is reached; default as the campaign given says

    Raises
    ------
    ConfigurationError
        If the campaign is another than the store's; says in what.
    """

    def __init__(
        self, url: str, campaign: Campaign | None = None, access: StoreAccess | None = None
    ) -> None:
        self.url = url
        if access is None and campaign is not None:
            access = campaign.store_access
        self.access = access
        self.objects = open_objects(url, access)
        self.records = Records(self.objects)
        self.given = campaign
        if campaign is not None:
            self._check(campaign)

    @cached_property
    def listing(self) -> Listing:
        """Committed blocks of all years."""
        return self.records.list()

    @cached_property
    def campaign(self) -> Campaign:
        """The campaign given, or that of the store's last run.

        Raises
        ------
        ConfigurationError
            If none was given and no run has left one.
        """
        if self.given is not None:
            return self.given
        document = self._last_run
        if document is None:
            raise ConfigurationError(
                f"{self.url}: found no run that says where the camera looked (runs/ is empty), "
                f"expected a store that `reprocess run` has written; give --campaign FILE"
            )
        return campaign_from_mapping(document, f"campaign of the last run in {self.url}")

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that have committed detections, in the campaign's order."""
        found = {block.label for block in self.listing if block.stage == "detections"}
        return tuple(label for label in self.campaign.detectors if label in found)

    @property
    def days(self) -> list[date]:
        """Days with any committed frames or detections, in order."""
        stages_read = ("frames", "detections")
        return sorted({date.fromisoformat(b.day) for b in self.listing if b.stage in stages_read})

    def record(self, stage: str, label: str, day: date) -> Record | None:
        """The record of a committed day; None where there is none, or a run died in it."""
        block = day_block(stage, label, day)
        fingerprint = only_fingerprint(self.listing.get(block, ()))
        return None if fingerprint is None else self.records.read(block, fingerprint)

    def reader(self, stage: str, label: str, day: date) -> DayReader | None:
        """Reads a committed day; None where it is not committed or its data was removed."""
        record = self.record(stage, label, day)
        if record is None:
            return None
        path = {
            "frames": lambda: stages.frames_path(day.year),
            "evidence": lambda: stages.evidence_path(label, day.year),
            "detections": lambda: stages.detections_path(label, day.year),
        }[stage]()
        if not self.objects.exists(f"{path}/zarr.json"):
            return None
        slots = self.campaign.slots_per_day
        return DayReader(self.objects, path, day, slots, record.objects)

    def cells(self, label: str, year: int) -> xr.Dataset:
        """Cell edges and sky attributes of a label's detections, as a dataset."""
        view = ZarrView(self.objects, stages.detections_path(label, year), read_only=True)
        try:
            group = zarr.open_group(view, mode="r", zarr_format=3)
        except FileNotFoundError as error:
            raise StoreError(f"{view}: is not there, although its records are") from error
        names = ("cell_zenith_bounds", "cell_azimuth_bounds", "cell_azimuth_deg")
        arrays: dict[str, Any] = {}
        for name in names:
            array = group[name]
            dims = ("cell", "bound") if name.endswith("bounds") else ("cell",)
            arrays[name] = (dims, np.asarray(array[...]), dict(array.attrs))  # type: ignore[index]
        return xr.Dataset({}, arrays, dict(group.attrs))

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """What each run wrote about itself, the last one first; unreadable ones are left out."""
        keys = [
            key
            for key in self.objects.keys("runs")
            if key.endswith("/run.json") and not key.startswith("runs/tmp/")
        ]
        found = []
        for key in sorted(keys, reverse=True):
            try:
                document = json.loads(self.objects.read(key))
            except (ValueError, FileNotFoundError):
                continue
            if isinstance(document, dict):
                found.append(document)
        return found

    @property
    def _last_run(self) -> dict[str, Any] | None:
        campaigns = (document.get("campaign") for document in self.runs)
        return next((found for found in campaigns if isinstance(found, dict)), None)

    def _check(self, campaign: Campaign) -> None:
        frames = self.records.read_settings("frames")
        wanted = json.loads(json.dumps(stages.frames_settings(campaign)))
        found = list(differences(frames, wanted, "")) if frames is not None else []
        if self._last_run is not None:
            # Validated again, so that keys which are newer than the run have their defaults.
            last = campaign_from_mapping(self._last_run, f"campaign of the last run in {self.url}")
            old, new = (_science(one.model_dump(mode="json")) for one in (last, campaign))
            found += differences(old, new)
        refuse_differences(self.url, campaign.name, found)


def check_years(asked: Iterable[int], held: Iterable[int], url: str) -> None:
    """Refuse years of which there is nothing to draw.

    Raises
    ------
    ConfigurationError
        If one of `asked` is not among `held`; names both.
    """
    held = set(held)
    unknown = sorted(set(asked) - held)
    if unknown:
        raise ConfigurationError(
            f"--years: found {', '.join(map(str, unknown))}, expected years that {url} holds "
            f"({', '.join(map(str, sorted(held))) or 'none'})"
        )


def check_cube(cube: xr.Dataset, campaign: Campaign, url: str) -> None:
    """Refuse a cube that is of another campaign than the one asked for.

    Raises
    ------
    ConfigurationError
        If name, station, selection, detectors or bins differ; says in what.
    """
    settings = campaign.cube
    wanted: dict[str, Any] = {
        "campaign": campaign.name,
        "site": campaign.site.code,
        "site_latitude_deg": campaign.site.latitude_deg,
        "site_longitude_deg": campaign.site.longitude_deg,
        **attributes(settings),
        "compare": list(campaign.compared),
    }
    held = {key: cube.attrs[key] for key in wanted if key in cube.attrs}
    held = {k: list(v) if isinstance(v, (list, tuple, np.ndarray)) else v for k, v in held.items()}
    wanted = {key: wanted[key] for key in held}
    held |= {"detectors": [str(label) for label in cube["detector"].to_numpy()]}
    held |= {"cube.mlt_bins": cube.sizes["mlt"], "cells": cube.sizes["cell"]}
    wanted |= {"detectors": list(campaign.detectors), "cube.mlt_bins": settings.mlt_bins}
    wanted |= {"cells": stages.campaign_cells_count(campaign)}
    refuse_differences(url, campaign.name, list(differences(held, wanted)))


def refuse_differences(url: str, name: str, found: Sequence[str]) -> None:
    """Raise the error that names the differences, if there are any."""
    unique = list(dict.fromkeys(found))
    if unique:
        more = f"; and {len(unique) - _LISTED_MAX} more" if len(unique) > _LISTED_MAX else ""
        raise ConfigurationError(
            f"{url}: is of another campaign than {name} ({'; '.join(unique[:_LISTED_MAX])}{more}); "
            f"expected the campaign file that it was made with, or another store"
        )


def _science(document: dict[str, Any]) -> dict[str, Any]:
    """A campaign's settings without places, lists as mappings so that differences are named."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: kept(v) for k, v in value.items() if k not in _PLACES}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return {str(i): kept(v) for i, v in enumerate(value)}
        return value

    return {k: kept(v) for k, v in document.items() if k not in _NOT_SCIENCE}
