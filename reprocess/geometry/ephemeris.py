"""Sun and Moon over a site, offline: JPL's DE421 as shipped by `skyfield-data`.

No network, ever: the kernel is read from the installed package and the
time scale from Skyfield's own tables. Both are loaded at the first call and
kept for the life of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import Site
from reprocess.errors import ConfigurationError

Elevation = Callable[[Site, NDArray[np.datetime64]], NDArray[np.float32]]

_Compute = Callable[[NDArray[np.datetime64]], NDArray[np.float64]]
_LOADING = threading.Lock()
_TIMES_AT_ONCE = 2048
EPHEMERIS = "JPL DE421, nutation IAU 2000B, light undeflected"
"""What elevations come from; part of the fingerprint of what holds them."""


@dataclass(frozen=True)
class _Sky:
    timescale: Any
    earth: Any
    sun: Any
    moon: Any
    kernel: Any


@dataclass(frozen=True)
class Observer:
    """A site at a time: `place` observes Skyfield targets, `kernel` holds those of DE421."""

    place: Any
    kernel: Any


def observer_at(site: Site, time: np.datetime64) -> Observer:
    """Stand at a site (WGS84) at a time (UTC).

    Raises
    ------
    ConfigurationError
        If the time lies outside DE421, 1900 to 2050.
    """
    from skyfield.api import wgs84
    from skyfield.errors import EphemerisRangeError

    sky = _sky()
    place = wgs84.latlon(site.latitude_deg, site.longitude_deg, elevation_m=site.altitude_m)
    try:
        where = (sky.earth + place).at(_skyfield_times(sky, np.asarray([time]))[0])
    except EphemerisRangeError as error:
        raise ConfigurationError(
            f"stars at {time}: outside the ephemeris DE421, expected years 1900 to 2050"
        ) from error
    return Observer(where, sky.kernel)


def sun_elevation_deg(site: Site, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Elevation of the Sun's centre above the horizon, without refraction.

    Parameters
    ----------
    site : geodetic position, WGS84
    times : (n,) datetime64 array, UTC

    Returns
    -------
    (n,) float32 array, degrees; NaN where the time is NaT

    Raises
    ------
    ConfigurationError
        If a time lies outside DE421, 1900 to 2050.

    Notes
    -----
    Apparent position: light time, aberration, nutation. Deflection of light by the Sun and planets
    is left out: it moves the Moon by less than 0.00001" where a float32 of degrees keeps 0.014".
    Safe in threads.
    """
    return _elevation_deg(site, times, "sun")


def moon_elevation_deg(site: Site, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Elevation of the Moon's centre above the horizon, with parallax, without refraction.

    Parameters, returns and errors as `sun_elevation_deg`.
    """
    return _elevation_deg(site, times, "moon")


REFRACTION_FROM_DEG = -1.0


def apparent_elevation_deg(elevation_deg: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Raise elevations by the refraction of a standard atmosphere.

    Parameters
    ----------
    elevation_deg : (n,) float array, degrees, unrefracted; NaN stays NaN. Not modified.

    Returns
    -------
    (n,) float32 array, degrees

    Notes
    -----
    Sæmundsson 1986 (Sky & Telescope 72, 70; Meeus, *Astronomical Algorithms*, 16.4):
    R = 1.02′ / tan(h + 10.3 / (h + 5.11)), 1010 hPa, 10 °C: 29′ at 0°, 5.4′ at 10°. Below −1°
    there is no ray to refract and the elevation stays, so a twilight limit of −15° is the same
    with and without.
    """
    true = np.asarray(elevation_deg, np.float64)
    high = true >= REFRACTION_FROM_DEG
    h = np.where(high, true, 0.0)
    raised = true + 1.02 / 60 / np.tan(np.radians(h + 10.3 / (h + 5.11)))
    return np.where(high, raised, true).astype(np.float32)


def moon_phase_fraction(times: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Illuminated fraction of the Moon's disk, seen from the Earth's centre.

    Parameters
    ----------
    times : (n,) datetime64 array, UTC

    Returns
    -------
    (n,) float32 array, 0 new to 1 full; NaN where the time is NaT

    Raises
    ------
    ConfigurationError
        If a time lies outside DE421, 1900 to 2050.
    """
    sky = _sky()

    def fraction(part: NDArray[np.datetime64]) -> NDArray[np.float64]:
        moon = sky.earth.at(_skyfield_times(sky, part)).observe(sky.moon).apparent()
        return np.asarray(moon.fraction_illuminated(sky.sun), dtype=np.float64)

    return _in_parts(times, fraction)


def _elevation_deg(site: Site, times: NDArray[np.datetime64], body: str) -> NDArray[np.float32]:
    target = getattr(_sky(), body)

    def elevation(part: NDArray[np.datetime64]) -> NDArray[np.float64]:
        place = _standing(site, part.astype("datetime64[us]").tobytes())
        seen = place.observe(target).apparent(deflectors=())
        return np.asarray(seen.altaz()[0].degrees, dtype=np.float64)

    return _in_parts(times, elevation)


@lru_cache(maxsize=2)
def _standing(site: Site, times_us: bytes) -> Any:
    """The site at many times, kept, because the Earth's attitude serves Sun and Moon."""
    from skyfield.api import wgs84
    from skyfield.nutationlib import iau2000b

    sky = _sky()
    place = wgs84.latlon(site.latitude_deg, site.longitude_deg, elevation_m=site.altitude_m)
    times = _skyfield_times(sky, np.frombuffer(times_us, "datetime64[us]"))
    # The 77 largest of 1365 terms: within 0.001", where a float32 of degrees keeps 0.014". Skyfield
    # has this setter for those who need no more; without it, all terms are computed.
    times._nutation_angles = iau2000b(times.tt)
    return (sky.earth + place).at(times)


def _in_parts(times: NDArray[np.datetime64], compute: _Compute) -> NDArray[np.float32]:
    """Apply `compute` to bounded runs of the known times; NaN for the others."""
    from skyfield.errors import EphemerisRangeError

    values = np.full(times.shape, np.nan, dtype=np.float32)
    known = np.flatnonzero(~np.isnat(times))
    for start in range(0, len(known), _TIMES_AT_ONCE):
        part = known[start : start + _TIMES_AT_ONCE]
        try:
            values[part] = compute(times[part])
        except EphemerisRangeError as error:
            raise ConfigurationError(
                f"Sun and Moon from {times[part].min()} to {times[part].max()}: outside the "
                f"ephemeris DE421, expected years 1900 to 2050"
            ) from error
    return values


def _skyfield_times(sky: _Sky, times: NDArray[np.datetime64]) -> Any:
    day = times.astype("datetime64[D]")
    second = (times.astype("datetime64[us]") - day) / np.timedelta64(1, "s")
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    in_year = (day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return sky.timescale.utc(year, 1, 1 + in_year, 0, 0, second)


def _sky() -> _Sky:
    with _LOADING:
        return _load_sky()


@cache
def _load_sky() -> _Sky:
    """Read kernel and time scale, and touch both bodies so that nothing is lazy any more.

    The kernel's path is taken from the package's data directory, not from
    `get_skyfield_data_path`, which warns of Earth-rotation tables that this
    module does not read.
    """
    from skyfield.api import load, load_file

    kernel = load_file(str(files("skyfield_data") / "data" / "de421.bsp"))
    sky = _Sky(load.timescale(builtin=True), kernel["earth"], kernel["sun"], kernel["moon"], kernel)
    epoch = sky.timescale.utc(2000, 1, 1)
    for body in (sky.sun, sky.moon):
        sky.earth.at(epoch).observe(body).apparent()
    return sky
