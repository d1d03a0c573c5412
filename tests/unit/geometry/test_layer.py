from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reprocess.campaign import Campaign, Site
from reprocess.geometry.calibration import cell_places, station_mlon_deg
from reprocess.geometry.layer import (
    central_angle_deg,
    layer_position,
    zenith_of_central_angle_deg,
)
from reprocess.geometry.magnetic import aacgm_many

JBS = Site(code="JBS", latitude_deg=-74.62, longitude_deg=164.22)


def test_central_angle_by_hand() -> None:
    """asin(R cos(el) / (R + h)), R = 6371.0088: at 10 degrees, 110 km: 90 - 10 - 75.487 = 4.513."""
    found = central_angle_deg([5.0, 10.0, 20.0, 90.0], 110.0)
    assert np.allclose(found, [6.682, 4.513, 2.520, 0.0], atol=0.001)
    assert central_angle_deg(10.0, 250.0) == pytest.approx(8.626, abs=0.001)
    # Seen at the horizon the layer is acos(R / (R + h)) away.
    assert central_angle_deg(0.0, 110.0) == pytest.approx(
        np.degrees(np.arccos(6371.0088 / 6481.0088))
    )
    zenith = np.linspace(0, 90, 50)
    back = zenith_of_central_angle_deg(central_angle_deg(90.0 - zenith, 110.0), 110.0)
    assert np.allclose(back, zenith)


def test_overhead_is_the_station_and_a_sphere_is_nearly_right() -> None:
    latitude, longitude = layer_position(JBS, [0.0, 77.0], [90.0, 90.0], 110.0)
    assert np.allclose(latitude, -74.62, atol=1e-6)
    assert np.allclose(longitude, 164.22, atol=1e-6)
    latitude, _ = layer_position(JBS, [0.0, 180.0], [10.0, 10.0], 110.0)
    assert np.allclose(np.abs(latitude + 74.62), 4.513, atol=0.03)  # on the sphere


def test_a_layer_point_seen_again_from_the_station() -> None:
    """Astropy's own geodesy: the point's direction from the station is the one asked for."""
    from astropy import units
    from astropy.coordinates import EarthLocation

    azimuth = np.array([0.0, 60.0, 130.0, 200.0, 331.0])
    elevation = np.array([5.0, 10.0, 30.0, 60.0, 85.0])
    site = Site(code="KHO", latitude_deg=78.148, longitude_deg=16.043, altitude_m=520)
    latitude, longitude = layer_position(site, azimuth, elevation, 110.0)
    point = EarthLocation.from_geodetic(longitude, latitude, 110_000.0)
    station = EarthLocation.from_geodetic(16.043, 78.148, 520.0)
    line = np.stack(
        [
            (p - s).to_value(units.m)
            for p, s in zip(point.geocentric, station.geocentric, strict=True)
        ]
    )
    lat, lon = np.radians(78.148), np.radians(16.043)
    east = np.array([-np.sin(lon), np.cos(lon), 0.0]) @ line
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)]) @ line
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]) @ line
    assert np.allclose(np.degrees(np.arctan2(east, north)) % 360, azimuth, atol=1e-4)
    assert np.allclose(np.degrees(np.arctan2(up, np.hypot(east, north))), elevation, atol=1e-4)


@pytest.mark.parametrize(
    ("elevation", "height_km", "hours"),
    [(20.0, 110.0, 1.0), (10.0, 110.0, 1.9), (5.0, 110.0, 2.9), (10.0, 250.0, 4.0)],
)
def test_how_far_in_mlt_the_sky_of_jang_bogo_reaches(
    elevation: float, height_km: float, hours: float, make_campaign: Callable[..., Campaign]
) -> None:
    """At 80 degrees of magnetic latitude an hour of MLT is 290 km."""
    campaign = make_campaign(cells={"emission_height_km": height_km})
    when = campaign.camera[0].valid_from
    azimuth = np.arange(0.0, 360.0, 5.0)
    latitude, longitude = layer_position(
        campaign.site, azimuth, np.full(azimuth.shape, elevation), height_km
    )
    _, mlon = aacgm_many(latitude, longitude, height_km, when)
    offset = ((mlon - station_mlon_deg(campaign) + 180) % 360 - 180) / 15
    assert np.abs(offset).max() == pytest.approx(hours, abs=0.05)


def test_cells_to_the_magnetic_north_share_the_station_s_mlt(
    make_campaign: Callable[..., Campaign],
) -> None:
    """Magnetic azimuth 0 and 180 lie on the station's meridian; east is later."""
    campaign = make_campaign(cells={"layout": "rings-20"})
    from reprocess.geometry.calibration import epoch_geometry

    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    places = cell_places(campaign)
    assert abs(places.mlt_offset_h[0]) < 0.1  # the cell around the zenith
    near = np.abs(cells.zenith_deg - 40.0) < 8.0
    along = near & (np.abs((cells.azimuth_deg + 90.0) % 180.0 - 90.0) < 8.0)
    assert along.sum() >= 2
    assert np.abs(places.mlt_offset_h[along]).max() < 0.1
    east = near & (np.abs(cells.azimuth_deg - 90.0) < 20.0)
    west = near & (np.abs(cells.azimuth_deg - 270.0) < 20.0)
    assert places.mlt_offset_h[east].min() > 0.1
    assert places.mlt_offset_h[west].max() < -0.1
    poleward = near & (np.abs(cells.azimuth_deg - 180.0) < 20.0)
    assert places.mlat_deg[poleward].max() < -79.9  # the south pole is towards magnetic south
