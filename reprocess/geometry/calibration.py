"""The geometry of one camera epoch of a campaign: skymap, cells and the pixels behind them."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Cells, Site, SkymapLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.cells import CellMap, SkyCells, map_cells, ring_cells
from reprocess.geometry.layer import layer_position
from reprocess.geometry.magnetic import aacgm, aacgm_many, magnetic_north_azimuth_deg
from reprocess.geometry.pixelmap import skymap_digests
from reprocess.geometry.skymap import Skymap, build_skymap, mask_bytes


@dataclass(frozen=True, eq=False)
class EpochGeometry:
    """All that says where in the sky the processed pixels of a camera epoch look.

    Its hash is its identity, so what is derived from it can be kept.
    """

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
    that the cells of all years and camera epochs are the same. A mask or
    skymap whose content has changed is read again.
    """
    return _epoch_geometry(
        campaign.site,
        campaign.cells,
        magnetic_epoch(campaign),
        campaign.image.size_px,
        epoch.model_copy(update={"noise": None}),
        str((_mask_digest(epoch), _lens_settings(epoch))),
    )


@dataclass(frozen=True)
class CellPlaces:
    """Where the centres of a campaign's cells lie at the emission height; all float64.

    Attributes
    ----------
    latitude_deg, longitude_deg : (cell,) array, geodetic (WGS84)
    mlat_deg, mlon_deg : (cell,) array, AACGM-v2 at the campaign's magnetic epoch; NaN where
        it is not defined
    mlt_offset_h : (cell,) array, hours in [-12, 12): a cell's MLT minus the station's
    """

    latitude_deg: NDArray[np.float64]
    longitude_deg: NDArray[np.float64]
    mlat_deg: NDArray[np.float64]
    mlon_deg: NDArray[np.float64]
    mlt_offset_h: NDArray[np.float64]


def cell_places(campaign: Campaign) -> CellPlaces:
    """Find where the cells' centres lie; kept for the life of the process.

    Notes
    -----
    The line of sight from the station through the cell's centre, straight (no
    refraction), to the emission height above the ellipsoid. MLT at one time
    differs between two places by their AACGM longitudes, 15 degrees an hour.
    At a magnetic latitude of 80 degrees a cell 10 degrees above the horizon is
    up to 1.9 h from the station at 110 km.
    """
    return _cell_places(campaign.site, campaign.cells, magnetic_epoch(campaign))


@functools.lru_cache(maxsize=8)
def _cell_places(site: Site, settings: Cells, when: datetime) -> CellPlaces:
    height_km = settings.emission_height_km
    north = 0.0
    if settings.azimuth == "magnetic":
        north = magnetic_north_azimuth_deg(site.latitude_deg, site.longitude_deg, height_km, when)
    cells = ring_cells(settings, north)
    latitude, longitude = layer_position(
        site, cells.azimuth_deg + cells.north_azimuth_deg, 90.0 - cells.zenith_deg, height_km
    )
    mlat, mlon = aacgm_many(latitude, longitude, height_km, when)
    _, station = aacgm(site.latitude_deg, site.longitude_deg, height_km, when)
    offset = ((mlon - station + 180.0) % 360.0 - 180.0) / 15.0
    for array in (latitude, longitude, mlat, mlon, offset):
        array.setflags(write=False)
    return CellPlaces(latitude, longitude, mlat, mlon, offset)


def geometry_settings(campaign: Campaign, epoch: CameraEpoch) -> dict[str, Any]:
    """List everything that an epoch's geometry depends on, for fingerprints.

    Returns
    -------
    dict
        JSON-able. Mask and skymap enter by the SHA-256 of their content, not their path.

    Raises
    ------
    ConfigurationError
        If the mask or a skymap's file cannot be read.

    Notes
    -----
    Sufficient for cells, MLT and Sun alike, hence the emission height and the
    magnetic epoch whatever the cells' azimuth reference. The station's names
    and the epoch's times and noise change no direction: left out.
    """
    return {
        "lens": _lens_settings(epoch),
        "image_width_px": epoch.image_width_px,
        "image_height_px": epoch.image_height_px,
        "crop": epoch.crop.model_dump(mode="json"),
        "size_px": campaign.image.size_px,
        "zenith_max_deg": epoch.zenith_max_deg,
        "mask_sha256": _mask_digest(epoch),
        **epoch.model_dump(mode="json", include={"horizon", "hide"}),
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
    contents: str,  # noqa: ARG001  (part of the cache's key)
) -> EpochGeometry:
    north = 0.0
    if settings.azimuth == "magnetic":
        north = magnetic_north_azimuth_deg(
            site.latitude_deg, site.longitude_deg, settings.emission_height_km, magnetic_epoch
        )
    skymap = build_skymap(epoch, size_px)
    cells = ring_cells(settings, north)
    return EpochGeometry(
        skymap, cells, map_cells(skymap, cells, settings.visible_min, settings.pixels_min)
    )


def _lens_settings(epoch: CameraEpoch) -> dict[str, Any]:
    lens = epoch.lens
    if not isinstance(lens, SkymapLens):
        return lens.model_dump(mode="json")
    settings = lens.model_dump(mode="json", exclude={"azimuth", "elevation"})
    return {**settings, "sha256": skymap_digests(lens)}


def _mask_digest(epoch: CameraEpoch) -> str | None:
    if epoch.mask is None:
        return None
    try:
        return hashlib.sha256(mask_bytes(epoch.mask)).hexdigest()
    except OSError as error:
        raise ConfigurationError(
            f"camera epoch {epoch.name}: mask: found {epoch.mask}, which cannot be read "
            f"({error.strerror}); expected an image of the stored size"
        ) from error
