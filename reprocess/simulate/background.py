"""The sky without aurora: airglow, Milky Way, twilight, Moon, station lights, clouds, stars."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.simulate.clouds import airglow_bands, cloud_opacity, cloud_shine
from reprocess.simulate.foreground import skyline
from reprocess.simulate.grid import (
    Floats,
    SkyGrid,
    pixel_of,
    sample_texture,
    smoothstep,
    texture,
)
from reprocess.simulate.scene import Camera, Sky

TWILIGHT_BLUE = np.array([0.34, 0.58, 1.0], np.float32)
TWILIGHT_WARM = np.array([1.0, 0.58, 0.28], np.float32)
MOONLIGHT = np.array([0.80, 0.92, 1.0], np.float32)
STARLIGHT = np.array([0.95, 0.93, 1.0], np.float32)
EXTINCTION = np.array([0.10, 0.15, 0.25], np.float32)
GALACTIC_POLE = (192.86, 27.13)
GALACTIC_CENTRE = (266.4, -28.94)


class Background(NamedTuple):
    """What the sky pixels of a grid hold besides aurora, linear.

    `light` is (n, 3), clouds included; `transmission` (n, 3) is the share of
    light from above the clouds that arrives; both 0 behind the skyline.
    `scatter` (n, 1) is the share of the sky's whole auroral light that clouds
    and haze send down from each direction.
    """

    light: Floats
    transmission: Floats
    scatter: Floats


def background(sky: Sky, grid: SkyGrid) -> Background:
    """Light of the aurora-free sky, and what dims the light from above it."""
    n = grid.zenith_deg.size
    elevation = 90.0 - grid.zenith_deg
    airmass = 1.0 / (grid.up + 0.50572 * (elevation + 6.07995) ** -1.6364)
    glow = sky.airglow / np.sqrt(1.0 - 0.94 * (1.0 - grid.up**2))
    if sky.airglow_wave > 0:
        glow = glow * (1.0 + sky.airglow_wave * airglow_bands(sky, grid))
    above = np.multiply.outer(glow, np.asarray(sky.airglow_colour, np.float32))
    if sky.milky_way > 0:
        above += np.multiply.outer(sky.milky_way * _milky_way(sky, grid), STARLIGHT)
    moonlit = _moon_up(sky)
    near = np.zeros((n, 3), np.float32)
    if sky.sun_elevation_deg > -18.0:
        dusk = _twilight(sky, grid, elevation)
        if sky.twilight_tint != (1.0, 1.0, 1.0):
            dusk = dusk * np.asarray(sky.twilight_tint, np.float32)
        near += dusk
    if moonlit > 0:
        near += _moon_glow(sky, grid, moonlit)
        if sky.aureole > 0:
            near += _aureole(sky, grid, moonlit)
    if sky.haze > 0:
        low = sky.haze * np.exp(-elevation / sky.haze_deg)
        near += np.multiply.outer(low, np.asarray(sky.haze_colour, np.float32))
    town = np.zeros((n, 3), np.float32)
    for light in sky.lights:
        away = np.abs(_wrap_deg(np.degrees(grid.azimuth_rad) - light.azimuth_deg))
        glow = np.exp(-((away / light.width_deg) ** 2) - elevation / light.height_deg)
        town += np.multiply.outer(light.brightness * glow, np.asarray(light.colour, np.float32))
    extinction = np.exp(-EXTINCTION[None, :] * np.minimum(airmass, 20.0)[:, None])
    opacity = cloud_opacity(sky, grid)
    if sky.cloud_cover > 0:
        shine = cloud_shine(sky, grid)
        shine = shine + 2.0 * town + (1.7 if moonlit > 0 else 1.1) * near
        light = (above * extinction + near + town) * (1.0 - opacity) + shine * opacity
    else:
        light = above * extinction + near + town
    clear = smoothstep(elevation - skyline(sky, grid), -0.4, 0.4)[:, None]
    transmission = extinction * (1.0 - opacity) * clear
    light = light * (0.04 + 0.96 * clear)
    if any(sky.ground):
        light = light + np.asarray(sky.ground, np.float32) * (1.0 - clear)
    return Background(
        np.asarray(light, np.float32),
        np.asarray(transmission, np.float32),
        np.asarray(sky.scatter * (0.15 + opacity) * clear, np.float32),
    )


def draw_stars(
    picture: NDArray[np.float32], camera: Camera, sky: Sky, transmission: Floats
) -> None:
    """Add the stars, the Moon's disk and the lamps to a full-size picture, in place.

    `picture` is linear (y, x, 3), already vignetted; `transmission` (y, x).
    """
    ra, dec, flux, tint = _catalogue(sky.star_seed)
    latitude = np.radians(sky.latitude_deg)
    hour = np.radians(sky.sidereal_deg) - ra
    up = np.sin(latitude) * np.sin(dec) + np.cos(latitude) * np.cos(dec) * np.cos(hour)
    seen = up > 0.02
    north = np.cos(latitude) * np.sin(dec) - np.sin(latitude) * np.cos(dec) * np.cos(hour)
    east = -np.cos(dec) * np.sin(hour)
    azimuth = np.arctan2(east[seen], north[seen])
    x, y = pixel_of(camera, azimuth, np.degrees(np.arccos(up[seen])))
    size = picture.shape[0]
    light = (sky.star_brightness * flux[seen] * (size / 480.0))[:, None] * tint[seen]
    _splat(picture, x, y, light.astype(np.float32), transmission)
    if _moon_up(sky) > 0:
        _draw_moon(picture, camera, sky, transmission)
    for number, lamp in enumerate(sky.lights):
        rng = np.random.default_rng([sky.skyline_seed, 17, number])
        spread = rng.normal(0.0, 0.5 * lamp.width_deg, lamp.lamps)
        x, y = pixel_of(
            camera, np.radians(lamp.azimuth_deg + spread), 90.0 - rng.uniform(0.2, 2.5, lamp.lamps)
        )
        for lx, ly, power in zip(x, y, rng.uniform(0.3, 2.0, lamp.lamps), strict=True):
            colour = np.minimum(np.asarray(lamp.colour) + 0.3, 1.0) * power
            _blob(picture, lx, ly, 0.0022 * size, colour)


def _moon_up(sky: Sky) -> float:
    """Moonlight reaching the sky, relative to a high full Moon."""
    rise = float(smoothstep(np.array([sky.moon_elevation_deg]), -1.0, 12.0)[0])
    return rise * float(sky.moon_phase**2.2)


def _moon_glow(sky: Sky, grid: SkyGrid, power: float) -> Floats:
    cosine = np.clip(_cosine_to(grid, sky.moon_azimuth_deg, sky.moon_elevation_deg), -1, 1)
    away = np.degrees(np.arccos(cosine))
    halo = 0.010 * (0.8 + 0.5 * cosine**2) + 0.10 * np.exp(-away / 9.0) + 0.4 * np.exp(-away / 2.2)
    ring = 0.008 * np.exp(-(((away - 22.0) / 1.2) ** 2))
    return np.asarray(np.multiply.outer(1.6 * power * (halo + ring), MOONLIGHT), np.float32)


def _aureole(sky: Sky, grid: SkyGrid, power: float) -> Floats:
    cosine = np.clip(_cosine_to(grid, sky.moon_azimuth_deg, sky.moon_elevation_deg), -1, 1)
    wide = 0.3 + np.exp(-np.degrees(np.arccos(cosine)) / 30.0)
    return np.asarray(np.multiply.outer(sky.aureole * power * wide, MOONLIGHT), np.float32)


def _draw_moon(picture: Floats, camera: Camera, sky: Sky, transmission: Floats) -> None:
    if sky.moon_elevation_deg < 0.5:
        return
    x, y = pixel_of(
        camera, np.radians(np.array([sky.moon_azimuth_deg])),
        np.array([90.0 - sky.moon_elevation_deg]),
    )  # fmt: skip
    row = int(np.clip(round(float(y[0])), 0, picture.shape[0] - 1))
    column = int(np.clip(round(float(x[0])), 0, picture.shape[1] - 1))
    through = float(transmission[row, column])
    colour = MOONLIGHT * (8.0 * through * sky.moon_phase)
    _blob(picture, float(x[0]), float(y[0]), 0.006 * picture.shape[0], colour)


def _twilight(sky: Sky, grid: SkyGrid, elevation: Floats) -> Floats:
    strength = 10.0 ** (0.26 * min(sky.sun_elevation_deg, -3.0) + 0.9)
    toward = grid.east * np.sin(np.radians(sky.sun_azimuth_deg)) + grid.north * np.cos(
        np.radians(sky.sun_azimuth_deg)
    )
    toward = 0.5 + 0.5 * toward
    blue = strength * (0.35 + 1.2 * toward**2)
    warm = strength * 3.5 * toward**3 * np.exp(-elevation / 7.0)
    return np.asarray(
        np.multiply.outer(blue, TWILIGHT_BLUE) + np.multiply.outer(warm, TWILIGHT_WARM), np.float32
    )


def _cosine_to(grid: SkyGrid, azimuth_deg: float, elevation_deg: float) -> Floats:
    a, e = np.radians(azimuth_deg), np.radians(elevation_deg)
    dot = np.cos(e) * (grid.east * np.sin(a) + grid.north * np.cos(a)) + np.sin(e) * grid.up
    return np.asarray(dot, np.float32)


def _direction(sky: Sky, ra_deg: float, dec_deg: float) -> NDArray[np.float64]:
    """East, north, up of an equatorial direction."""
    hour = np.radians(sky.sidereal_deg - ra_deg)
    dec, lat = np.radians(dec_deg), np.radians(sky.latitude_deg)
    return np.array([
        -np.cos(dec) * np.sin(hour),
        np.cos(lat) * np.sin(dec) - np.sin(lat) * np.cos(dec) * np.cos(hour),
        np.sin(lat) * np.sin(dec) + np.cos(lat) * np.cos(dec) * np.cos(hour),
    ])  # fmt: skip


def _milky_way(sky: Sky, grid: SkyGrid) -> Floats:
    pole = _direction(sky, *GALACTIC_POLE)
    centre = _direction(sky, *GALACTIC_CENTRE)
    third = np.cross(pole, centre)
    latitude = np.degrees(
        np.arcsin(np.clip(grid.east * pole[0] + grid.north * pole[1] + grid.up * pole[2], -1, 1))
    )
    to_centre = grid.east * centre[0] + grid.north * centre[1] + grid.up * centre[2]
    aside = grid.east * third[0] + grid.north * third[1] + grid.up * third[2]
    longitude = np.degrees(np.arctan2(aside, to_centre))
    uneven = sample_texture(
        texture(5, 2.4),
        (longitude * (512.0 / 360.0) * 2).astype(np.float32),
        (latitude * 3.0 + 256.0).astype(np.float32),
    )
    wide = 7.0 + 5.0 * np.maximum(to_centre, 0.0)
    band = np.exp(-((latitude / wide) ** 2)) * (0.55 + 0.9 * np.maximum(to_centre, 0.0))
    rift = 1.0 - 0.6 * np.exp(-((latitude / 2.5) ** 2)) * smoothstep(uneven, 0.35, 0.7)
    return np.asarray(band * (0.5 + uneven) * rift, np.float32)


@lru_cache(maxsize=8)
def _catalogue(
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Right ascension, declination (radians), flux (magnitude 0 = 1) and tint of a random sky.

    3500 stars to magnitude 5.8, numbers growing 10^(0.5 m) as in the real sky;
    two in five crowd the Milky Way.
    """
    rng = np.random.default_rng([seed, 23])
    n = 3500
    magnitude = 5.8 + 2.0 * np.log10(1.0 - rng.random(n) * (1 - 10 ** (-0.5 * 6.8)))
    z = rng.uniform(-1, 1, n)
    z[: 2 * n // 5] = np.clip(rng.normal(0, 0.13, 2 * n // 5), -1, 1)
    turn = rng.uniform(0, 2 * np.pi, n)
    ring = np.sqrt(1 - z * z)
    pole, centre = (np.radians(p) for p in (GALACTIC_POLE, GALACTIC_CENTRE))
    axis_z = np.array(
        [np.cos(pole[1]) * np.cos(pole[0]), np.cos(pole[1]) * np.sin(pole[0]), np.sin(pole[1])]
    )
    axis_x = np.array([
        np.cos(centre[1]) * np.cos(centre[0]), np.cos(centre[1]) * np.sin(centre[0]),
        np.sin(centre[1]),
    ])  # fmt: skip
    axis_y = np.cross(axis_z, axis_x)
    vector = (
        np.outer(ring * np.cos(turn), axis_x) + np.outer(ring * np.sin(turn), axis_y)
        + np.outer(z, axis_z)
    )  # fmt: skip
    ra = np.arctan2(vector[:, 1], vector[:, 0])
    dec = np.arcsin(np.clip(vector[:, 2], -1, 1))
    hot = rng.normal(0, 0.12, n)
    tint = np.stack([1 - hot, np.ones(n), 1 + hot], axis=1)
    return ra, dec, 10 ** (-0.4 * magnitude), np.clip(tint, 0.5, 1.5)


def _splat(
    picture: Floats,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    light: Floats,
    transmission: Floats,
) -> None:
    """Add points, bilinearly, dimmed by the transmission where they fall."""
    size = picture.shape[0]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fits = (left >= 0) & (top >= 0) & (left < size - 1) & (top < size - 1)
    left, top, light = left[fits], top[fits], light[fits]
    fx = (x[fits] - left).astype(np.float32)[:, None]
    fy = (y[fits] - top).astype(np.float32)[:, None]
    light = light * transmission[top, left][:, None]
    for row, column, share in (
        (0, 0, (1 - fx) * (1 - fy)), (0, 1, fx * (1 - fy)), (1, 0, (1 - fx) * fy), (1, 1, fx * fy),
    ):  # fmt: skip
        np.add.at(picture, (top + row, left + column), light * share)


def _blob(
    picture: Floats, x: float, y: float, sigma_px: float, colour: NDArray[np.floating]
) -> None:
    """Add a round light with a narrow core and wide wings."""
    reach = int(np.ceil(8 * sigma_px)) + 2
    left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
    patch = picture[top : int(y) + reach + 1, left : int(x) + reach + 1]
    if patch.size == 0:
        return
    dx = np.arange(left, left + patch.shape[1]) - x
    dy = np.arange(top, top + patch.shape[0]) - y
    r2 = (dx[None, :] ** 2 + dy[:, None] ** 2) / sigma_px**2
    shape = np.exp(-r2 / 2) + 0.03 / (1 + r2) ** 1.5
    patch += (shape[:, :, None] * colour).astype(np.float32)


def _wrap_deg(angle: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray((angle + 180.0) % 360.0 - 180.0)


def upscale(picture: Floats, size_px: int) -> Floats:
    """A picture at another size, bilinear."""
    return np.asarray(
        cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_LINEAR), np.float32
    )
