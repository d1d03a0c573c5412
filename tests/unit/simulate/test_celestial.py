"""The simulator's own Sun, Moon and sidereal time, against published values and skyfield."""

import numpy as np
import pytest

from reprocess.campaign import Site
from reprocess.geometry import ephemeris
from reprocess.simulate.celestial import horizontal, moon, sidereal_deg, sun

LATITUDE, LONGITUDE = -74.62, 164.22


def test_greenwich_sidereal_time_of_meeus_example_12b():
    # Meeus, Astronomical Algorithms: 1987 April 10, 19:21:00 UT, mean sidereal 8h34m57.0896s.
    time = np.datetime64("1987-04-10T19:21:00", "us")
    assert sidereal_deg(time, 0.0) == pytest.approx(15 * (8 + 34 / 60 + 57.0896 / 3600), abs=1e-3)


def test_the_celestial_pole_stands_still_at_the_latitude():
    for sidereal in (0.0, 77.0, 250.0):
        where = horizontal(123.0, -90.0, LATITUDE, sidereal)
        assert where.elevation_deg == pytest.approx(74.62)
        assert abs(where.azimuth_deg - 180.0) < 1e-6


def test_a_star_on_the_meridian_and_one_rising_in_the_east():
    culminating = horizontal(40.0, 0.0, 60.0, 40.0)
    assert culminating.elevation_deg == pytest.approx(30.0)
    assert culminating.azimuth_deg == pytest.approx(180.0)
    assert horizontal(130.0, 0.0, 60.0, 40.0).azimuth_deg == pytest.approx(90.0)


def test_sun_and_moon_agree_with_the_ephemeris():
    site = Site(code="JBS", latitude_deg=LATITUDE, longitude_deg=LONGITUDE)
    times = np.arange("2021-01-01", "2023-01-01", 30011, dtype="datetime64[m]").astype(
        "datetime64[us]"
    )
    suns = [sun(t, LATITUDE, LONGITUDE).elevation_deg for t in times]
    moons = [moon(t, LATITUDE, LONGITUDE) for t in times]
    assert np.abs(suns - ephemeris.sun_elevation_deg(site, times)).max() < 0.05
    elevations = np.array([where.elevation_deg for where, _ in moons])
    assert np.abs(elevations - ephemeris.moon_elevation_deg(site, times)).max() < 0.4
    phases = np.array([phase for _, phase in moons])
    assert np.abs(phases - ephemeris.moon_phase_fraction(times)).max() < 0.01
