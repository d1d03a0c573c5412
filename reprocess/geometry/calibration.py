"""The geometry of one camera epoch of a campaign: skymap, cells and the pixels behind them."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprocess.campaign import CameraEpoch, Campaign, Cells, Site
from reprocess.errors import ConfigurationError
from reprocess.geometry.cells import CellMap, SkyCells, map_cells, ring_cells
from reprocess.geometry.magnetic import aacgm, magnetic_north_azimuth_deg
from reprocess.geometry.skymap import Skymap, build_skymap, mask_bytes


@dataclass(frozen=True)
class EpochGeometry:
    """All that says where in the sky the processed pixels of a camera epoch look."""

    skymap: Skymap
    cells: SkyCells
    cellmap: CellMap


def epoch_geometry(campaign: Campaign, epoch: CameraEpoch) -> EpochGeometry:
    """Compute a camera epoch's skymap and cell map; kept for the life of the process.

    Parameters
    ----------
    campaign : gives site, image size, cell layout and the magnetic epoch
    epoch : one of the campaign's camera epochs

    Returns
    -------
    EpochGeometry
        Read-only arrays, shared between callers.

    Raises
    ------
    ConfigurationError
        As `build_skymap`; if AACGM is not defined at the station.

    Notes
    -----
    AACGM north is taken at one fixed date a campaign, `magnetic_epoch`, so
    that the cells of all years and camera epochs are the same. A mask whose
    content has changed is read again.
    """
    return _epoch_geometry(
        campaign.site,
        campaign.cells,
        magnetic_epoch(campaign),
        campaign.image.size_px,
        epoch.model_copy(update={"noise": None}),
        _mask_digest(epoch),
    )


def geometry_settings(campaign: Campaign, epoch: CameraEpoch) -> dict[str, Any]:
    """List everything that an epoch's geometry depends on, for fingerprints.

    Returns
    -------
    dict
        JSON-able. The mask enters by the SHA-256 of its content, not its path.

    Raises
    ------
    ConfigurationError
        If the mask cannot be read.

    Notes
    -----
    Sufficient for cells, MLT and Sun alike, hence the emission height and the
    magnetic epoch whatever the cells' azimuth reference. The station's names
    and the epoch's `valid_from` and noise change no direction: left out.
    """
    return {
        "lens": epoch.lens.model_dump(mode="json"),
        "image_width_px": epoch.image_width_px,
        "image_height_px": epoch.image_height_px,
        "crop": epoch.crop.model_dump(mode="json"),
        "size_px": campaign.image.size_px,
        "zenith_max_deg": epoch.zenith_max_deg,
        "mask_sha256": _mask_digest(epoch),
        "cells": campaign.cells.model_dump(mode="json"),
        "site": campaign.site.model_dump(mode="json", exclude={"code", "name"}),
        "magnetic_epoch": magnetic_epoch(campaign).isoformat(),
    }


def magnetic_epoch(campaign: Campaign) -> datetime:
    """The one date (UTC) at which AACGM coordinates are taken: the first camera epoch's start."""
    return campaign.camera[0].valid_from


def station_mlon_deg(campaign: Campaign) -> float:
    """AACGM longitude of the station at the emission height, degrees east, -180 to 180.

    Raises
    ------
    ConfigurationError
        If AACGM is not defined there (near the magnetic equator) or then.
    """
    site = campaign.site
    _, mlon = aacgm(
        site.latitude_deg,
        site.longitude_deg,
        campaign.cells.emission_height_km,
        magnetic_epoch(campaign),
    )
    return mlon


@functools.lru_cache(maxsize=32)
def _epoch_geometry(
    site: Site,
    settings: Cells,
    magnetic_epoch: datetime,
    size_px: int,
    epoch: CameraEpoch,
    mask_digest: str | None,  # noqa: ARG001  (part of the cache's key)
) -> EpochGeometry:
    north = 0.0
    if settings.azimuth == "magnetic":
        north = magnetic_north_azimuth_deg(
            site.latitude_deg, site.longitude_deg, settings.emission_height_km, magnetic_epoch
        )
    skymap = build_skymap(epoch, size_px)
    cells = ring_cells(settings, north)
    return EpochGeometry(skymap, cells, map_cells(skymap, cells, settings.visible_min))


def _mask_digest(epoch: CameraEpoch) -> str | None:
    if epoch.mask is None:
        return None
    try:
        return hashlib.sha256(mask_bytes(epoch.mask)).hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"mask {epoch.mask}: cannot be read ({error.strerror}); "
            f"expected an image of the stored size"
        ) from error
