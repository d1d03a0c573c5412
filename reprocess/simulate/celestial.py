"""Where Sun, Moon and stars stand, to a few tenths of a degree.

Kept apart from `reprocess.geometry` on purpose: the simulated truth must not
share an error with the code it tests. Low-precision formulae of the
Astronomical Almanac (page C5, Sun 0.01 deg; D22, Moon 0.3 deg), topocentric
parallax of the Moon included.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

J2000 = np.datetime64("2000-01-01T12:00:00", "us")


class Horizontal(NamedTuple):
    """A direction from the station, degrees."""

    azimuth_deg: float
    elevation_deg: float


def days_since_j2000(time: np.datetime64) -> float:
    """Days since 2000-01-01 12:00 UTC (UTC taken for UT1 and TT)."""
    return float((time.astype("datetime64[us]") - J2000) / np.timedelta64(1, "D"))


def sidereal_deg(time: np.datetime64, longitude_deg: float) -> float:
    """Local mean sidereal time as an angle, degrees in [0, 360)."""
    days = days_since_j2000(time)
    return float((280.46061837 + 360.98564736629 * days + longitude_deg) % 360.0)


def horizontal(
    ra_deg: float, declination_deg: float, latitude_deg: float, sidereal: float
) -> Horizontal:
    """Azimuth (north 0, east 90) and elevation of an equatorial direction, degrees."""
    hour = np.radians(sidereal - ra_deg)
    dec, lat = np.radians(declination_deg), np.radians(latitude_deg)
    up = np.sin(lat) * np.sin(dec) + np.cos(lat) * np.cos(dec) * np.cos(hour)
    north = np.cos(lat) * np.sin(dec) - np.sin(lat) * np.cos(dec) * np.cos(hour)
    east = -np.cos(dec) * np.sin(hour)
    azimuth = float(np.degrees(np.arctan2(east, north)) % 360.0)
    return Horizontal(azimuth, float(np.degrees(np.arcsin(np.clip(up, -1.0, 1.0)))))


def sun(time: np.datetime64, latitude_deg: float, longitude_deg: float) -> Horizontal:
    """Direction of the Sun's centre, unrefracted."""
    ra, dec, _ = _sun_equatorial(days_since_j2000(time))
    return horizontal(ra, dec, latitude_deg, sidereal_deg(time, longitude_deg))


def moon(
    time: np.datetime64, latitude_deg: float, longitude_deg: float
) -> tuple[Horizontal, float]:
    """Direction of the Moon's centre, unrefracted, and its illuminated share."""
    days = days_since_j2000(time)
    t = days / 36525.0
    ecliptic = (
        218.32 + 481267.881 * t
        + 6.29 * _sin(135.0 + 477198.87 * t) - 1.27 * _sin(259.3 - 413335.36 * t)
        + 0.66 * _sin(235.7 + 890534.22 * t) + 0.21 * _sin(269.9 + 954397.74 * t)
        - 0.19 * _sin(357.5 + 35999.05 * t) - 0.11 * _sin(186.5 + 966404.03 * t)
    )  # fmt: skip
    beta = (
        5.13 * _sin(93.3 + 483202.02 * t) + 0.28 * _sin(228.2 + 960400.89 * t)
        - 0.28 * _sin(318.3 + 6003.15 * t) - 0.17 * _sin(217.6 - 407332.21 * t)
    )  # fmt: skip
    ra, dec = _equatorial(ecliptic, beta)
    where = horizontal(ra, dec, latitude_deg, sidereal_deg(time, longitude_deg))
    parallax = 0.9508 + 0.0518 * np.cos(np.radians(135.0 + 477198.87 * t))
    elevation = where.elevation_deg - parallax * np.cos(np.radians(where.elevation_deg))
    sun_longitude = _sun_equatorial(days)[2]
    elongation = np.arccos(np.cos(np.radians(beta)) * np.cos(np.radians(ecliptic - sun_longitude)))
    return Horizontal(where.azimuth_deg, float(elevation)), float((1 - np.cos(elongation)) / 2)


def _sin(degrees: float) -> float:
    return float(np.sin(np.radians(degrees)))


def _sun_equatorial(days: float) -> tuple[float, float, float]:
    """Right ascension, declination and ecliptic longitude of the Sun, degrees."""
    anomaly = 357.528 + 0.9856003 * days
    longitude = 280.460 + 0.9856474 * days + 1.915 * _sin(anomaly) + 0.020 * _sin(2 * anomaly)
    ra, dec = _equatorial(longitude, 0.0)
    return ra, dec, longitude


def _equatorial(longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    lon, lat, tilt = np.radians([longitude_deg, latitude_deg, 23.439])
    x = np.cos(lat) * np.cos(lon)
    y = np.cos(tilt) * np.cos(lat) * np.sin(lon) - np.sin(tilt) * np.sin(lat)
    z = np.sin(tilt) * np.cos(lat) * np.sin(lon) + np.cos(tilt) * np.sin(lat)
    return float(np.degrees(np.arctan2(y, x)) % 360.0), float(np.degrees(np.arcsin(z)))
