from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skyfield.api import wgs84

from reprocess.campaign import Site
from reprocess.errors import ConfigurationError
from reprocess.geometry import ephemeris
from reprocess.geometry.ephemeris import (
    apparent_elevation_deg,
    moon_elevation_deg,
    moon_phase_fraction,
    sun_elevation_deg,
)

POLE = Site(code="POLE", latitude_deg=90.0, longitude_deg=0.0)


def at(*times: str) -> np.ndarray:
    return np.array(times, dtype="datetime64[us]")


def test_sun_s_declination_of_meeus_example_25a() -> None:
    """1992-10-13 0h TD (UTC 59 s earlier): declination -7.78507; at the pole that is elevation."""
    assert sun_elevation_deg(POLE, at("1992-10-12T23:59:01"))[0] == pytest.approx(-7.785, abs=0.005)


def test_moon_s_declination_and_parallax_of_meeus_example_47a() -> None:
    """1992-04-12 0h TD: declination 13.768368, distance 368409.7 km; pole radius 6356.752 km."""
    declination = np.radians(13.768368)
    above = 368409.7 * np.sin(declination) - 6356.752
    expected = np.degrees(np.arctan2(above, 368409.7 * np.cos(declination)))
    assert moon_elevation_deg(POLE, at("1992-04-11T23:59:01"))[0] == pytest.approx(
        expected, abs=0.005
    )


def test_illuminated_fraction_of_meeus_example_48a() -> None:
    """1992-04-12 0h TD: k = 0.6786."""
    assert moon_phase_fraction(at("1992-04-11T23:59:01"))[0] == pytest.approx(0.6786, abs=0.001)


def test_sun_and_moon_stand_together_in_the_eclipse_of_2017() -> None:
    """Greatest eclipse 2017-08-21 18:25:32 UT at 37.0 N 87.7 W, Sun 64 degrees high (NASA)."""
    place = Site(code="ECL", latitude_deg=36.97, longitude_deg=-87.67)
    time = at("2017-08-21T18:25:32")
    sun, moon = sun_elevation_deg(place, time)[0], moon_elevation_deg(place, time)[0]
    assert sun == pytest.approx(64.0, abs=0.5)
    assert moon == pytest.approx(sun, abs=0.03)
    assert moon_phase_fraction(time)[0] < 0.001


def test_sun_at_jang_bogo_on_the_june_solstice(jbs: Site) -> None:
    """Declination 23.436: noon 90 - 74.62 - 23.436 = -8.06, midnight 51.18 - 90 = -38.82."""
    elevation = sun_elevation_deg(jbs, np.arange("2019-06-21", "2019-06-22", dtype="datetime64[m]"))
    assert elevation.max() == pytest.approx(-8.06, abs=0.02)
    assert elevation.min() == pytest.approx(-38.82, abs=0.02)


@pytest.mark.parametrize("year", [2018, 2020, 2023])
def test_dark_hours_of_a_year_at_jang_bogo(jbs: Site, year: int) -> None:
    times = np.arange(f"{year}-01-01", f"{year + 1}-01-01", 30, dtype="datetime64[m]")
    hours = (sun_elevation_deg(jbs, times) < -15.0).sum() / 2
    assert hours == pytest.approx(2152, rel=0.02)


@pytest.mark.parametrize("body", ["sun", "moon"])
@pytest.mark.parametrize("year", [1995, 2021, 2049])
def test_the_short_nutation_is_within_a_float32_of_the_whole(
    jbs: Site, body: str, year: int
) -> None:
    times = np.arange(f"{year}-01-01", f"{year + 1}-01-01", 7001, dtype="datetime64[m]")
    sky = ephemeris._sky()
    place = sky.earth + wgs84.latlon(jbs.latitude_deg, jbs.longitude_deg, jbs.altitude_m)
    seen = place.at(ephemeris._skyfield_times(sky, times)).observe(getattr(sky, body))
    whole = seen.apparent().altaz()[0].degrees
    found = getattr(ephemeris, f"{body}_elevation_deg")(jbs, times)
    # Half of the spacing of float32 above 64 degrees, and 0.001".
    assert np.abs(found - whole).max() < 3.9e-6 + 0.001 / 3600


@pytest.mark.parametrize("elevation", [sun_elevation_deg, moon_elevation_deg])
def test_empty_and_missing_times(jbs: Site, elevation: ephemeris.Elevation) -> None:
    assert elevation(jbs, at()).shape == (0,)
    found = elevation(jbs, at("2019-06-21T00:00", "NaT"))
    assert found.dtype == np.float32
    assert np.isnan(found).tolist() == [False, True]
    assert moon_phase_fraction(at()).shape == (0,)


def test_long_arrays_are_the_same_as_short_ones(jbs: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.arange("2019-12-31T20:00", "2020-01-01T04:00", 10, dtype="datetime64[m]")
    whole = sun_elevation_deg(jbs, times)
    monkeypatch.setattr(ephemeris, "_TIMES_AT_ONCE", 7)
    assert np.allclose(sun_elevation_deg(jbs, times), whole, rtol=0, atol=1e-5)


def test_threads_agree(jbs: Site) -> None:
    ephemeris._load_sky.cache_clear()  # so that threads race to load it
    times = np.arange("2019-06-21", "2019-06-22", 60, dtype="datetime64[m]")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: moon_elevation_deg(jbs, times), range(16)))
    assert all(np.array_equal(values, found[0]) for values in found)


def test_no_network_is_ever_asked(jbs: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    ephemeris._load_sky.cache_clear()
    assert np.isfinite(sun_elevation_deg(jbs, at("2023-12-31T23:59:59"))).all()


def test_a_time_outside_the_ephemeris_is_a_configuration_error(jbs: Site) -> None:
    with pytest.raises(ConfigurationError, match=r"2070.*1900 to 2050"):
        sun_elevation_deg(jbs, at("2070-01-01"))


@pytest.mark.parametrize(
    ("true", "minutes"), [(0.0, 29.0), (-0.5667, 34.5), (10.0, 5.41), (45.0, 1.01), (90.0, 0.0)]
)
def test_refraction_is_that_of_a_standard_atmosphere(true: float, minutes: float) -> None:
    """Sæmundsson 1986, from true elevations; Meeus gives 34' at apparent 0 (16.3)."""
    found = apparent_elevation_deg(np.array([true]))[0]
    assert 60 * (float(found) - true) == pytest.approx(minutes, abs=0.15)


def test_below_the_horizon_nothing_is_refracted() -> None:
    deep = np.array([-1.01, -15.0, np.nan])
    found = apparent_elevation_deg(deep)
    assert found[:2].tolist() == deep[:2].astype(np.float32).tolist()
    assert np.isnan(found[2])
