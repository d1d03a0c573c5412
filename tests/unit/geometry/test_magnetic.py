from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest

from reprocess.campaign import Site
from reprocess.errors import ConfigurationError
from reprocess.geometry.ephemeris import sun_elevation_deg
from reprocess.geometry.magnetic import aacgm, aacgm_many, magnetic_north_azimuth_deg, mlt_hours

START = datetime(2018, 1, 1, tzinfo=UTC)
JBS_MLON_DEG = -53.8


def mlt_minus_ut(times: np.ndarray) -> np.ndarray:
    hours = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "h")
    offset: np.ndarray = (mlt_hours(JBS_MLON_DEG, times) - hours + 12) % 24 - 12
    return offset


def test_jang_bogo_in_aacgm() -> None:
    mlat, mlon = aacgm(-74.62, 164.22, 110.0, START)
    assert mlat == pytest.approx(-79.9, abs=0.1)
    assert mlon == pytest.approx(-53.6, abs=0.5)


def test_the_package_documentation_s_own_example() -> None:
    """60 N, 15 E, 300 km, 2013-11-03 00 UT: 57.4736 N, 93.6111 E, MLT 1.4816 (IGRF-13 then)."""
    when = datetime(2013, 11, 3)
    mlat, mlon = aacgm(60.0, 15.0, 300.0, when)
    assert mlat == pytest.approx(57.4736, abs=0.01)
    assert mlon == pytest.approx(93.6111, abs=0.02)
    mlt = mlt_hours(mlon, np.array([when], dtype="datetime64[s]"))
    assert mlt[0] == pytest.approx(1.4816, abs=0.002)


def test_aacgm_north_at_jang_bogo_is_not_the_compass_s() -> None:
    azimuth = magnetic_north_azimuth_deg(-74.62, 164.22, 110.0, START)
    assert azimuth == pytest.approx(70.0, abs=3.0)


@pytest.mark.parametrize(("latitude", "longitude"), [(-74.62, 164.22), (78.148, 16.043)])
def test_along_aacgm_north_the_longitude_stays_and_the_latitude_grows(
    latitude: float, longitude: float
) -> None:
    """A short step on the flat tangent plane, worked out apart from the code under test."""
    azimuth = np.radians(magnetic_north_azimuth_deg(latitude, longitude, 110.0, START))
    step = 0.3
    moved = (
        latitude + step * np.cos(azimuth),
        longitude + step * np.sin(azimuth) / np.cos(np.radians(latitude)),
    )
    mlat, mlon = aacgm(latitude, longitude, 110.0, START)
    moved_mlat, moved_mlon = aacgm(*moved, 110.0, START)
    assert moved_mlat - mlat == pytest.approx(step, rel=0.15)
    across = (moved_mlon - mlon) * np.cos(np.radians(mlat))
    assert abs(across) < 0.05 * step


def test_aacgm_north_at_the_geographic_pole_is_defined() -> None:
    assert 0.0 <= magnetic_north_azimuth_deg(90.0, 0.0, 110.0, START) < 360.0


def test_where_aacgm_is_not_defined_it_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"not defined at 10\.0°N"):
        aacgm(10.0, 0.0, 110.0, START)


@pytest.mark.parametrize("year", [1500, 2300])
def test_a_date_without_coefficients_is_a_configuration_error(year: int) -> None:
    """Never the -1 h that the C code answers, nor the 23 h that it would wrap to."""
    with pytest.raises(ConfigurationError, match=str(year)):
        aacgm(-74.62, 164.22, 110.0, datetime(year, 1, 1))
    with pytest.raises(ConfigurationError, match=str(year)):
        mlt_hours(JBS_MLON_DEG, np.array([f"{year}-01-01T00:00"], dtype="datetime64[s]"))


def test_mlt_is_ut_minus_eight_and_a_half_at_jang_bogo(jbs: Site) -> None:
    """Over the dark times of a year -8.1 to -9.0 h; over all times -7.9 to -9.03."""
    times = np.arange("2019-01-01", "2020-01-01", 3, dtype="datetime64[h]")
    offset = mlt_minus_ut(times)
    assert offset.mean() == pytest.approx(-8.45, abs=0.1)
    dark = offset[sun_elevation_deg(jbs, times) < -15.0]
    assert dark.min() == pytest.approx(-9.0, abs=0.1)
    assert dark.max() == pytest.approx(-8.1, abs=0.1)


def test_no_dark_time_from_13_to_19_mlt_at_jang_bogo(jbs: Site) -> None:
    """The dayside of the magnetic pole is sunlit: bins 13 to 19 ([13, 20) MLT) stay empty."""
    times = np.arange("2019-01-01", "2020-01-01", 20, dtype="datetime64[m]")
    dark = times[sun_elevation_deg(jbs, times) < -15.0]
    hours = np.bincount(mlt_hours(JBS_MLON_DEG, dark).astype(int), minlength=24)
    assert hours[13:20].sum() == 0
    assert (hours[:13] > 0).all()
    assert (hours[20:] > 0).all()


def test_magnetic_noon_at_svalbard_is_near_nine_ut() -> None:
    """Stated for KHO throughout its literature: magnetic noon about 09 UT."""
    _, mlon = aacgm(78.148, 16.043, 110.0, datetime(2013, 12, 4))
    noon = mlt_hours(mlon, np.array(["2013-12-04T09:00"], dtype="datetime64[s]"))
    assert noon[0] == pytest.approx(12.0, abs=0.5)


def test_mlt_grows_one_hour_for_fifteen_degrees() -> None:
    times = np.array(["2019-06-15T12:00"], dtype="datetime64[s]")
    west, east = (float(mlt_hours(mlon, times)[0]) for mlon in (-60.0, -45.0))
    assert (east - west) % 24 == pytest.approx(1.0, abs=1e-5)


def test_mlt_does_not_depend_on_what_was_asked_before() -> None:
    """The C code behind it keeps a date up to 30 days away: 2e-4 h in this case."""
    times = np.array(["2019-06-15T12:00"], dtype="datetime64[s]")
    found = []
    for before in (300, 40, 29, 20, 5, 1, 0):
        for days in (300, before):  # the first is far enough for the C code to forget the rest
            mlt_hours(JBS_MLON_DEG, times + np.array([-days], dtype="timedelta64[D]"))
        found.append(float(mlt_hours(JBS_MLON_DEG, times)[0]))
    assert found == [found[0]] * 7


def test_mlt_is_the_same_one_by_one_at_once_and_in_threads() -> None:
    times = np.arange("2019-03-01T22:00", "2019-03-02T02:00", 7, dtype="datetime64[m]")
    at_once = mlt_hours(JBS_MLON_DEG, times[::-1])[::-1]
    with ThreadPoolExecutor(4) as pool:
        singly = list(pool.map(lambda t: mlt_hours(JBS_MLON_DEG, t[None])[0], times))
    assert np.array_equal(at_once, np.array(singly))


def test_mlt_sees_parts_of_a_second_and_missing_times() -> None:
    times = np.array(["2019-06-15T12:00:00", "2019-06-15T12:00:00.9", "NaT"], "datetime64[us]")
    whole, part, missing = mlt_hours(JBS_MLON_DEG, times).astype(float)
    assert part - whole == pytest.approx(0.9 / 3600, rel=0.01)
    assert np.isnan(missing)


def test_mlt_is_float32_in_the_day_and_empty_for_nothing() -> None:
    times = np.arange("2019-06-15", "2019-06-17", 1, dtype="datetime64[m]")
    mlt = mlt_hours(JBS_MLON_DEG, times)
    assert mlt.dtype == np.float32
    assert mlt.min() >= 0.0
    assert mlt.max() < 24.0
    assert mlt_hours(JBS_MLON_DEG, times[:0]).shape == (0,)


def test_aacgm_published_example() -> None:
    """README of aacgmv2 2.6 and 2.7: 60 N 15 E, 300 km, 2013-11-03: 57.4736, 93.6111, MLT 1.4816.

    The coefficients of a year change with the field model behind them, by 0.02 degrees here.
    """
    when = datetime(2013, 11, 3)
    mlat, mlon = aacgm(60.0, 15.0, 300.0, when)
    assert mlat == pytest.approx(57.4736, abs=0.03)
    assert mlon == pytest.approx(93.6111, abs=0.03)
    assert mlt_hours(mlon, np.array(["2013-11-03"], "M8[s]"))[0] == pytest.approx(1.4816, abs=0.01)


def test_many_positions_are_those_of_one_and_nan_where_undefined() -> None:
    when = datetime(2018, 1, 1)
    latitude, longitude = np.array([-74.62, 0.0, 78.1]), np.array([164.22, 0.0, 16.0])
    mlat, mlon = aacgm_many(latitude, longitude, 110.0, when)
    assert np.isnan(mlat).tolist() == [False, True, False]
    assert (mlat[0], mlon[0]) == aacgm(-74.62, 164.22, 110.0, when)
    with pytest.raises(ConfigurationError, match="AACGM-v2"):
        aacgm_many(latitude, longitude, 110.0, datetime(1400, 1, 1))
