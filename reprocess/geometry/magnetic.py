"""Altitude-adjusted corrected geomagnetic coordinates (AACGM-v2) and magnetic local time.

Source: Shepherd 2014 (doi 10.1002/2014JA020264), by way of the `aacgmv2` package and its
IGRF coefficients. The C code behind it keeps one date for the whole process,
so every call here sets that date under a lock: results depend on the
arguments alone, never on what was asked before.
"""

from __future__ import annotations

import math
import threading
from datetime import UTC, date, datetime, timedelta

import aacgmv2
import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError

_LOCK = threading.Lock()
_STEP_DEG = 0.5
_FORGET_DAYS = 60


def aacgm(
    latitude_deg: float, longitude_deg: float, height_km: float, when: datetime
) -> tuple[float, float]:
    """Convert a geodetic position to AACGM-v2 latitude and longitude.

    Parameters
    ----------
    latitude_deg, longitude_deg : float, degrees north and east (WGS84)
    height_km : float, height above the ellipsoid, km
    when : datetime, aware or naive UTC; the date of the magnetic field

    Returns
    -------
    (mlat_deg, mlon_deg) : degrees; mlon in [-180, 180)

    Raises
    ------
    ConfigurationError
        If AACGM is not defined there (near the magnetic equator) or the date
        lies outside the model's coefficients.
    """
    naive = when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
    try:
        with _LOCK:
            mlat, mlon, _ = aacgmv2.convert_latlon(latitude_deg, longitude_deg, height_km, naive)
    except (RuntimeError, ValueError) as error:
        raise ConfigurationError(f"AACGM-v2 at {when:%Y-%m-%d}: {error}") from error
    if not (math.isfinite(mlat) and math.isfinite(mlon)):
        raise ConfigurationError(
            f"AACGM-v2 is not defined at {latitude_deg}°N {longitude_deg}°E, {height_km} km; "
            f"expected a site away from the magnetic equator, below 2000 km"
        )
    return float(mlat), (float(mlon) + 180.0) % 360.0 - 180.0


def aacgm_many(
    latitude_deg: NDArray[np.float64],
    longitude_deg: NDArray[np.float64],
    height_km: float,
    when: datetime,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert positions to AACGM-v2 latitude and longitude, as `aacgm`.

    Returns
    -------
    (mlat_deg, mlon_deg) : (n,) float64 arrays
        NaN where AACGM is not defined (near the magnetic equator).

    Raises
    ------
    ConfigurationError
        If the date lies outside the model's coefficients.
    """
    found = np.full((2, len(latitude_deg)), np.nan)
    for i, (latitude, longitude) in enumerate(zip(latitude_deg, longitude_deg, strict=True)):
        try:
            found[:, i] = aacgm(float(latitude), float(longitude), height_km, when)
        except ConfigurationError as error:
            if error.__cause__ is not None:  # the model has no coefficients; not this position
                raise
    return found[0], found[1]


def mlt_hours(mlon_deg: float, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Magnetic local time at an AACGM longitude.

    Parameters
    ----------
    mlon_deg : float, AACGM longitude, degrees east
    times : (n,) datetime64 array, UTC, of any unit and order

    Returns
    -------
    (n,) float32 array, hours in [0, 24); NaN where the time is NaT

    Raises
    ------
    ConfigurationError
        If a date lies outside the model's coefficients.

    Notes
    -----
    AACGM-v2's definition: 12 h + (mlon - AACGM longitude of the subsolar
    point) / 15. Its C code keeps the field of an earlier call made up to 30 days
    away, which would let results depend on what was computed before; here the
    field is that of 00 UT of each time's own day.
    """
    hours = np.full(times.shape, np.nan, dtype=np.float64)
    stamps = times.astype("datetime64[us]")
    known = ~np.isnat(stamps)
    days = stamps.astype("datetime64[D]")
    for day in np.unique(days[known]):
        chosen = known & (days == day)
        second = stamps[chosen].astype("datetime64[s]")
        fraction_s = (stamps[chosen] - second) / np.timedelta64(1, "s")
        hours[chosen] = _mlt_of_day(mlon_deg, day.item(), second) + fraction_s / 3600.0
    mlt = (hours % 24.0).astype(np.float32)
    return np.where(mlt >= 24.0, np.float32(0.0), mlt)


def magnetic_north_azimuth_deg(
    latitude_deg: float, longitude_deg: float, height_km: float, when: datetime
) -> float:
    """Geographic azimuth of AACGM north: along the meridian of constant AACGM longitude.

    Parameters
    ----------
    latitude_deg, longitude_deg : float, degrees north and east (WGS84)
    height_km : float, emission height, km
    when : datetime, aware or naive UTC

    Returns
    -------
    float, degrees in [0, 360), north 0, east 90

    Raises
    ------
    ConfigurationError
        As `aacgm`.

    Notes
    -----
    The direction in which mlon stays and mlat grows, from the gradients of
    both over 0.5 degrees of arc to either side of the point above the station.
    Not the compass declination: at Jang Bogo that is 62 degrees off.
    """

    def gradient(azimuth_deg: float) -> tuple[float, float]:
        ahead = _destination(latitude_deg, longitude_deg, azimuth_deg, _STEP_DEG)
        behind = _destination(latitude_deg, longitude_deg, azimuth_deg + 180.0, _STEP_DEG)
        mlat_ahead, mlon_ahead = aacgm(*ahead, height_km, when)
        mlat_behind, mlon_behind = aacgm(*behind, height_km, when)
        turn = (mlon_ahead - mlon_behind + 180.0) % 360.0 - 180.0
        return mlat_ahead - mlat_behind, turn

    mlat_north, mlon_north = gradient(0.0)
    mlat_east, mlon_east = gradient(90.0)
    north, east = mlon_east, -mlon_north
    if north * mlat_north + east * mlat_east < 0:
        north, east = -north, -east
    return math.degrees(math.atan2(east, north)) % 360.0


def _mlt_of_day(mlon_deg: float, day: date, times: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """MLT of whole seconds of one day, with the field of its 00 UT."""
    midnight = datetime(day.year, day.month, day.day)
    away = _FORGET_DAYS if midnight.year <= 1990 else -_FORGET_DAYS
    with _LOCK:
        field = aacgmv2.convert_mlt([mlon_deg] * 2, [midnight + timedelta(days=away), midnight])
        if min(field) < 0.0:  # how the C code says that it has no coefficients
            raise ConfigurationError(
                f"AACGM-v2 magnetic local time on {day}: no field coefficients for that date; "
                f"a newer aacgmv2 may have them"
            )
        found = aacgmv2.convert_mlt(np.full(len(times), mlon_deg), times.tolist())
    return np.asarray(found, dtype=np.float64)


def _destination(
    latitude_deg: float, longitude_deg: float, azimuth_deg: float, arc_deg: float
) -> tuple[float, float]:
    """Position reached along a great circle of the sphere."""
    latitude, azimuth, arc = map(math.radians, (latitude_deg, azimuth_deg, arc_deg))
    sine = math.sin(latitude) * math.cos(arc) + math.cos(latitude) * math.sin(arc) * math.cos(
        azimuth
    )
    turn = math.atan2(
        math.sin(azimuth) * math.sin(arc) * math.cos(latitude),
        math.cos(arc) - math.sin(latitude) * sine,
    )
    return math.degrees(math.asin(sine)), longitude_deg + math.degrees(turn)
