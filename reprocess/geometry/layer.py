"""The emission layer: which point of it a direction in the sky goes through.

Two descriptions. `layer_position` is the one that numbers are made of: a line
of sight from the station and the surface of constant height above the WGS84
ellipsoid. `central_angle_deg` is the sphere's, for equal areas of the layer
and for checks by hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import Site

Array = NDArray[np.float64]

EARTH_RADIUS_KM = 6371.0088
"""Mean radius of the Earth, (2a + b) / 3 (IUGG)."""
_A_KM = 6378.137
_FLATTENING = 1.0 / 298.257223563
_E2 = _FLATTENING * (2.0 - _FLATTENING)


def central_angle_deg(elevation_deg: ArrayLike, height_km: float) -> Array:
    """Angle at the Earth's centre between the station and the layer point of an elevation.

    Parameters
    ----------
    elevation_deg : float array, degrees, 0 to 90
    height_km : float, height of the layer above the sphere

    Returns
    -------
    float64 array, degrees; NaN where the input is NaN

    Notes
    -----
    Triangle of station, layer point and centre: the angle at the layer point is
    asin(R cos(el) / (R + h)), the one at the station 90 + el.
    """
    elevation = np.asarray(elevation_deg, dtype=np.float64)
    ratio = EARTH_RADIUS_KM / (EARTH_RADIUS_KM + height_km)
    angle: Array = 90.0 - elevation - np.degrees(np.arcsin(ratio * np.cos(np.radians(elevation))))
    return angle


def zenith_of_central_angle_deg(angle_deg: ArrayLike, height_km: float) -> Array:
    """Zenith angle under which the layer point at a central angle is seen; the inverse."""
    angle = np.radians(np.asarray(angle_deg, dtype=np.float64))
    ratio = EARTH_RADIUS_KM / (EARTH_RADIUS_KM + height_km)
    zenith: Array = np.degrees(np.arctan2(np.sin(angle), np.cos(angle) - ratio))
    return zenith


def layer_position(
    site: Site, azimuth_deg: ArrayLike, elevation_deg: ArrayLike, height_km: float
) -> tuple[Array, Array]:
    """Geodetic position where a line of sight reaches the emission height.

    Parameters
    ----------
    site : station, WGS84
    azimuth_deg, elevation_deg : float arrays of one shape
        Geographic azimuth, unrefracted elevation, degrees.
    height_km : float, height above the ellipsoid

    Returns
    -------
    (latitude_deg, longitude_deg) : float64 arrays of that shape
        Longitude in [-180, 180). NaN where the input is NaN.

    Notes
    -----
    Newton's method on the distance along the straight line of sight, from the
    sphere's solution, to below 1 m.
    """
    azimuth, elevation = np.broadcast_arrays(
        np.radians(np.asarray(azimuth_deg, dtype=np.float64)),
        np.radians(np.asarray(elevation_deg, dtype=np.float64)),
    )
    latitude, longitude = np.radians(site.latitude_deg), np.radians(site.longitude_deg)
    start = _cartesian(latitude, longitude, site.altitude_m / 1000.0)
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    north = np.array(
        [
            -np.sin(latitude) * np.cos(longitude),
            -np.sin(latitude) * np.sin(longitude),
            np.cos(latitude),
        ]
    )
    up = np.cross(east, north)
    sight = (
        (np.cos(elevation) * np.sin(azimuth))[..., None] * east
        + (np.cos(elevation) * np.cos(azimuth))[..., None] * north
        + np.sin(elevation)[..., None] * up
    )
    radius = float(np.linalg.norm(start))
    rise = height_km - site.altitude_m / 1000.0
    along = radius * np.sin(elevation)
    distance = np.sqrt(along**2 + 2.0 * radius * rise + rise**2) - along
    for _ in range(4):
        point = start + distance[..., None] * sight
        found_latitude, found_longitude, height = _geodetic(point)
        upward = np.stack(
            [
                np.cos(found_latitude) * np.cos(found_longitude),
                np.cos(found_latitude) * np.sin(found_longitude),
                np.sin(found_latitude),
            ],
            axis=-1,
        )
        distance = distance - (height - height_km) / np.einsum("...i,...i->...", upward, sight)
    found_latitude, found_longitude, _ = _geodetic(start + distance[..., None] * sight)
    return np.degrees(found_latitude), (np.degrees(found_longitude) + 180.0) % 360.0 - 180.0


def _cartesian(latitude: float, longitude: float, height_km: float) -> Array:
    curvature = _A_KM / np.sqrt(1.0 - _E2 * np.sin(latitude) ** 2)
    return np.array(
        [
            (curvature + height_km) * np.cos(latitude) * np.cos(longitude),
            (curvature + height_km) * np.cos(latitude) * np.sin(longitude),
            (curvature * (1.0 - _E2) + height_km) * np.sin(latitude),
        ]
    )


def _geodetic(point: Array) -> tuple[Array, Array, Array]:
    """Latitude and longitude (radians) and height (km) of (..., 3) points, by iteration."""
    x, y, z = np.moveaxis(point, -1, 0)
    axis = np.hypot(x, y)
    latitude = np.arctan2(z, axis * (1.0 - _E2))
    for _ in range(6):
        curvature = _A_KM / np.sqrt(1.0 - _E2 * np.sin(latitude) ** 2)
        latitude = np.arctan2(z + _E2 * curvature * np.sin(latitude), axis)
    curvature = _A_KM / np.sqrt(1.0 - _E2 * np.sin(latitude) ** 2)
    height = (
        axis * np.cos(latitude)
        + (z + _E2 * curvature * np.sin(latitude)) * np.sin(latitude)
        - curvature
    )
    return latitude, np.arctan2(y, x), height
