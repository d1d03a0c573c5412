"""Sky directions of a simulated camera's pixels, and smooth random textures.

The simulator's own projection, written apart from `reprocess.geometry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.simulate.scene import Camera, Lens

Floats = NDArray[np.float32]
EARTH_RADIUS_KM = 6371.0
TEXTURE_PX = 512


@dataclass(frozen=True, eq=False)
class SkyGrid:
    """Directions of the sky pixels of a camera at one resolution.

    All arrays but `inside` are (n,) float32, one value for each sky pixel in
    row order.
    """

    size_px: int
    inside: NDArray[np.bool_]
    zenith_deg: Floats
    azimuth_rad: Floats
    east: Floats
    north: Floats
    up: Floats

    def picture(self, values: NDArray[np.floating]) -> Floats:
        """(n,) or (n, channel) values as a (y, x[, channel]) picture, 0 outside the sky."""
        out = np.zeros(self.inside.shape + values.shape[1:], np.float32)
        out[self.inside] = values
        return out


@lru_cache(maxsize=8)
def sky_grid(
    size_px: int,
    grid_px: int,
    center_x_px: float,
    center_y_px: float,
    px_per_deg: float,
    north_deg: float,
    east_right: bool,
    lens: Lens = Lens.EQUIDISTANT,
) -> SkyGrid:
    """Directions of a camera of `size_px` pixels sampled at `grid_px` pixels."""
    scale = size_px / grid_px
    at = ((np.arange(grid_px) + 0.5) * scale - 0.5).astype(np.float32)
    dx, dy = (at - center_x_px)[None, :], (at - center_y_px)[:, None]
    zenith = zenith_of(np.hypot(dx, dy) / px_per_deg, lens)
    inside = zenith <= 90.0
    theta = np.broadcast_to(np.arctan2(dy, dx), inside.shape)[inside]
    zenith = zenith[inside].astype(np.float32)
    sense = 1.0 if east_right else -1.0
    azimuth = (sense * (theta - np.radians(north_deg - 90.0))).astype(np.float32)
    sine = np.sin(np.radians(zenith))
    return SkyGrid(
        grid_px,
        inside,
        zenith,
        azimuth,
        (sine * np.sin(azimuth)).astype(np.float32),
        (sine * np.cos(azimuth)).astype(np.float32),
        np.cos(np.radians(zenith)).astype(np.float32),
    )


def camera_grid(camera: Camera, grid_px: int) -> SkyGrid:
    """`sky_grid` of a camera; the last few cameras are kept."""
    return sky_grid(
        camera.size_px,
        grid_px,
        camera.center_x_px,
        camera.center_y_px,
        camera.px_per_deg,
        camera.north_deg,
        camera.east_right,
        camera.lens,
    )


def radius_of(zenith_deg: NDArray[np.floating], lens: Lens) -> NDArray[np.floating]:
    """Distance from the zenith in the picture, in units of `Camera.px_per_deg`.

    `Lens` states each formula; the horizon lies at 90 for all of them.
    """
    if lens is Lens.EQUIDISTANT:
        return zenith_deg
    half = np.radians(zenith_deg) / 2.0
    if lens is Lens.EQUISOLID:
        return np.asarray(90.0 * np.sin(half) / np.sqrt(0.5))
    if lens is Lens.STEREOGRAPHIC:
        return np.asarray(90.0 * np.tan(half))
    return np.asarray(zenith_deg * (1.25 - 0.25 * (zenith_deg / 90.0) ** 2))


def zenith_of(radius: NDArray[np.floating], lens: Lens) -> NDArray[np.floating]:
    """Zenith angle, degrees, of a distance in the picture: the inverse of `radius_of`.

    Beyond the horizon the result is only larger than 90.
    """
    if lens is Lens.EQUIDISTANT:
        return radius
    if lens is Lens.STEREOGRAPHIC:
        return np.asarray(2.0 * np.degrees(np.arctan(radius / 90.0)))
    zenith = np.linspace(0.0, 95.0, 951)
    inner = np.interp(radius, np.asarray(radius_of(zenith, lens)), zenith)
    return np.asarray(np.where(radius > 90.0, np.maximum(inner, 90.01), inner))


def pixel_of(
    camera: Camera, azimuth_rad: NDArray[np.floating], zenith_deg: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel (x, y) of directions."""
    sense = 1.0 if camera.east_right else -1.0
    theta = np.radians(camera.north_deg - 90.0) + sense * np.asarray(azimuth_rad, np.float64)
    radius = radius_of(np.asarray(zenith_deg, np.float64), camera.lens) * camera.px_per_deg
    return (
        camera.center_x_px + radius * np.cos(theta),
        camera.center_y_px + radius * np.sin(theta),
    )


def ground_distance_km(zenith_deg: Floats, height_km: float) -> Floats:
    """Distance along the shell at a height from above the station to a line of sight."""
    zenith = np.radians(zenith_deg)
    at_shell = np.arcsin(EARTH_RADIUS_KM / (EARTH_RADIUS_KM + height_km) * np.sin(zenith))
    return ((zenith - at_shell) * (EARTH_RADIUS_KM + height_km)).astype(np.float32)


@lru_cache(maxsize=32)
def texture(seed: int, slope: float = 2.6) -> Floats:
    """A periodic random field, 512 x 512, uniform in 0 to 1, power law in wave number."""
    rng = np.random.default_rng([seed, 7])
    n = TEXTURE_PX
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :]) * n
    k[0, 0] = 1.0
    amplitude = np.where(k < 2, 0.0, k ** (-slope / 2))
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(amplitude.shape))
    field = np.fft.irfft2(spectrum, s=(n, n))
    rank = np.empty(field.size, np.float32)
    rank[np.argsort(field, axis=None)] = np.linspace(0, 1, field.size, dtype=np.float32)
    return rank.reshape(n, n)


def sample_texture(field: Floats, x: Floats, y: Floats) -> Floats:
    """Values of a periodic texture at (n,) pixel coordinates, bilinear."""
    n = x.size
    width = 1024
    rows = -(-n // width)
    maps = np.zeros((2, rows * width), np.float32)
    maps[0, :n] = np.mod(x, TEXTURE_PX)
    maps[1, :n] = np.mod(y, TEXTURE_PX)
    out = cv2.remap(
        field,
        maps[0].reshape(rows, width),
        maps[1].reshape(rows, width),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.asarray(out, np.float32).ravel()[:n]


def smoothstep(values: NDArray[np.floating], low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
