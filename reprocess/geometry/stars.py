"""Where the bright stars and planets stand over a site, offline.

The list is the Bright Star Catalogue, 5th revised edition (Hoffleit & Warren
1991, CDS V/50), down to V = 4.5: positions of J2000. Proper motion is left
out: by 2030 it is 1.2 arc minutes for the fastest (Rigil Kentaurus), a
fraction of that for all others, far below any all-sky camera's pixel. T CrB
and Mira, which are far fainter nearly always, are not in it. The planets come
from the ephemeris that the Sun and Moon come from.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import Site
from reprocess.errors import ConfigurationError
from reprocess.geometry.ephemeris import observer_at

Array = NDArray[np.float64]
PLANETS = ("Venus", "Mars", "Jupiter", "Saturn")
_KERNEL_NAMES = {
    "Venus": "venus",
    "Mars": "mars",
    "Jupiter": "jupiter barycenter",
    "Saturn": "saturn barycenter",
}


@dataclass(frozen=True)
class BrightStars:
    """The catalogue, brightest first.

    Attributes
    ----------
    name : (star,) tuple of str; the common name, else the designation, else HR number
    ra_deg, dec_deg : (star,) float64 array, J2000, degrees
    v_mag : (star,) float64 array, visual magnitude
    keys : name, designation and HR number, lower case → index
    """

    name: tuple[str, ...]
    ra_deg: Array
    dec_deg: Array
    v_mag: Array
    keys: dict[str, int]


@cache
def bright_stars() -> BrightStars:
    """Read the catalogue that the package carries: 902 stars to V = 4.5."""
    text = (files("reprocess.geometry") / "bright_stars.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    keys: dict[str, int] = {}
    for index, row in enumerate(rows):
        for key in (row["name"], row["designation"], f"HR {row['hr']}"):
            if key:
                keys.setdefault(key.lower(), index)
    return BrightStars(
        name=tuple(r["name"] or r["designation"] or f"HR {r['hr']}" for r in rows),
        ra_deg=np.array([float(r["ra_deg"]) for r in rows]),
        dec_deg=np.array([float(r["dec_deg"]) for r in rows]),
        v_mag=np.array([float(r["v_mag"]) for r in rows]),
        keys=keys,
    )


def star_positions(
    site: Site, time: np.datetime64, v_mag_max: float = 4.5, elevation_min_deg: float = 0.0
) -> tuple[tuple[str, ...], Array, Array, Array]:
    """List the stars and planets above a site at a time, brightest first.

    Parameters
    ----------
    time : UTC
    v_mag_max : faintest visual magnitude, at most 4.5
    elevation_min_deg : lowest elevation

    Returns
    -------
    (names, azimuth_deg, elevation_deg, v_mag)
        Apparent place (precession, nutation, aberration), without refraction.
        Geographic azimuth, north 0, east 90.

    Raises
    ------
    ConfigurationError
        If the time lies outside DE421, 1900 to 2050.
    """
    stars = bright_stars()
    n = int(np.searchsorted(stars.v_mag, v_mag_max, side="right"))
    azimuth, elevation = _star_azimuth_elevation(site, time, np.arange(n))
    names, magnitude = list(stars.name[:n]), list(stars.v_mag[:n])
    planets = [_planet(site, time, planet) for planet in PLANETS]
    names += PLANETS
    azimuth = np.append(azimuth, [p[0] for p in planets])
    elevation = np.append(elevation, [p[1] for p in planets])
    magnitude += [p[2] for p in planets]
    v_mag = np.array(magnitude)
    up = np.flatnonzero((elevation >= elevation_min_deg) & (v_mag <= v_mag_max))
    up = up[np.argsort(v_mag[up], kind="stable")]
    return tuple(names[i] for i in up), azimuth[up], elevation[up], v_mag[up]


def position_of(site: Site, time: np.datetime64, name: str) -> tuple[float, float]:
    """Azimuth and elevation of one star or planet by name, degrees, without refraction.

    Parameters
    ----------
    name : common name (Vega), designation (α Lyr), number (HR 7001) or planet; any case

    Raises
    ------
    ConfigurationError
        If no such star is listed; names close ones.
    """
    planet = name.strip().capitalize()
    if planet in PLANETS:
        azimuth, elevation, _ = _planet(site, time, planet)
        return azimuth, elevation
    keys = bright_stars().keys
    index = keys.get(name.strip().lower())
    if index is None:
        close = difflib.get_close_matches(name.strip().lower(), keys, n=2, cutoff=0.6)
        hint = f"; did you mean {' or '.join(c.title() for c in close)}?" if close else ""
        raise ConfigurationError(
            f"star {name!r}: not among the {len(bright_stars().name)} bright stars and the "
            f"planets {', '.join(PLANETS)}; expected a name such as Vega, α Lyr or HR 7001, or "
            f"its azimuth and elevation in the table{hint}"
        )
    found_azimuth, found_elevation = _star_azimuth_elevation(site, time, np.array([index]))
    return float(found_azimuth[0]), float(found_elevation[0])


def geometric_elevation_deg(apparent_deg: ArrayLike) -> Array:
    """Take refraction out of apparent elevations.

    Notes
    -----
    Bennett 1982 (J. Navigation 35, 255; Meeus 16.3), for 1010 hPa and 10 °C;
    the inverse of `ephemeris.apparent_elevation_deg` to 0.1 arc minutes.
    """
    apparent = np.asarray(apparent_deg, dtype=np.float64)
    angle = np.radians(apparent + 7.31 / (np.maximum(apparent, -1.5) + 4.4))
    result: Array = apparent - np.where(apparent < -1.5, 0.0, 1.0 / 60.0 / np.tan(angle))
    return result


def _star_azimuth_elevation(
    site: Site, time: np.datetime64, index: NDArray[np.integer]
) -> tuple[Array, Array]:
    from skyfield.api import Star

    stars = bright_stars()
    target = Star(ra_hours=stars.ra_deg[index] / 15.0, dec_degrees=stars.dec_deg[index])
    observer = observer_at(site, time)
    altitude, azimuth, _ = observer.place.observe(target).apparent().altaz()
    return np.asarray(azimuth.degrees, np.float64), np.asarray(altitude.degrees, np.float64)


def _planet(site: Site, time: np.datetime64, name: str) -> tuple[float, float, float]:
    from skyfield.magnitudelib import planetary_magnitude

    observer = observer_at(site, time)
    seen = observer.place.observe(observer.kernel[_KERNEL_NAMES[name]])
    altitude, azimuth, _ = seen.apparent().altaz()
    return float(azimuth.degrees), float(altitude.degrees), float(planetary_magnitude(seen))
