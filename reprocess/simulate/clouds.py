"""The layers that float: clouds of several kinds, and the wave bands of the airglow."""

from __future__ import annotations

import numpy as np

from reprocess.simulate.grid import Floats, SkyGrid, ground_distance_km, sample_texture, smoothstep
from reprocess.simulate.grid import texture as random_texture
from reprocess.simulate.scene import CloudKind, CloudLamp, Sky

AIRGLOW_KM = 96.0


def cloud_opacity(sky: Sky, grid: SkyGrid) -> Floats:
    """Opacity (n, 1) of the cloud layer, 0 to 1; `CloudKind` says what `cloud_cover` means."""
    if sky.cloud_cover <= 0:
        return np.zeros((grid.zenith_deg.size, 1), np.float32)
    cover = np.float32(min(sky.cloud_cover, 1.0))
    if sky.cloud_kind is CloudKind.PATCHES:
        value = _cloud_texture(sky, grid, sky.cloud_seed, 3.0, 1.0)
        edge = 1.0 - sky.cloud_cover
        opacity = 0.97 * smoothstep(value, edge - 0.18, edge + 0.22)
    elif sky.cloud_kind is CloudKind.STREAKS:
        opacity = cover * _streaks(sky, grid)
    elif sky.cloud_kind is CloudKind.CELLS:
        opacity = cover * _cells(sky, grid)
    else:
        thick = _cloud_texture(sky, grid, sky.cloud_seed, 3.8, 0.5)
        opacity = cover * (1.0 - 0.25 * (1.0 - thick) * np.float32(sky.cloud_uneven))
        if sky.cloud_kind is CloudKind.HOLE:
            opacity = opacity * (1.0 - _hole(sky, grid))
    return np.asarray(opacity[:, None], np.float32)


def cloud_shine(sky: Sky, grid: SkyGrid) -> Floats:
    """The clouds' own light, (n, 3) or (3,)-broadcast, lit from below or aside."""
    shine = sky.cloud_light * np.asarray(sky.cloud_colour, np.float32)
    limb = sky.cloud_limb
    shine = shine * (1.0 - limb / 2 + limb * (grid.zenith_deg[:, None] / 90.0) ** 2)
    if sky.cloud_uneven > 0:
        # Thick and thin parts, far smoother than the cloud's edges.
        uneven = _cloud_texture(sky, grid, sky.cloud_seed + 5, 3.8, 0.5) - 0.5
        shine = shine * (1.0 + 2.0 * sky.cloud_uneven * uneven[:, None])
    if sky.cloud_lit > 0:
        away = grid.azimuth_rad - np.float32(np.radians(sky.cloud_lit_azimuth_deg))
        toward = 0.5 + 0.5 * np.cos(away) * grid.zenith_deg / 90.0
        lit = np.float32(sky.cloud_light * sky.cloud_lit) * toward**3
        shine = shine + np.multiply.outer(lit, np.asarray(sky.cloud_lit_colour, np.float32))
    for number, lamp in enumerate(sky.cloud_lamps):
        lit = np.float32(sky.cloud_light) * _lamp_light(sky, grid, lamp, number)
        shine = shine + np.multiply.outer(lit, np.asarray(lamp.colour, np.float32))
    return np.asarray(shine, np.float32)


def _lamp_light(sky: Sky, grid: SkyGrid, lamp: CloudLamp, number: int) -> Floats:
    """Light (n,) of one lamp on the base of the cloud: 1 / (1 + d^2)^2 of a flat layer over it."""
    range_ = _range(grid)
    azimuth = np.radians(lamp.azimuth_deg)
    east = range_ * np.sin(grid.azimuth_rad) - np.float32(lamp.distance * np.sin(azimuth))
    north = range_ * np.cos(grid.azimuth_rad) - np.float32(lamp.distance * np.cos(azimuth))
    light = lamp.brightness / (1.0 + (east**2 + north**2) / lamp.reach**2) ** 2
    uneven = _cloud_texture(sky, grid, sky.cloud_seed + 7 + number, 3.2, 0.7) - 0.5
    return np.asarray(light * (1.0 + 2.0 * lamp.uneven * uneven), np.float32)


def airglow_bands(sky: Sky, grid: SkyGrid) -> Floats:
    """Relative brightness (n,) of gravity-wave bands at 96 km, -1 to 1, 25 to 60 km apart."""
    rng = np.random.default_rng([sky.skyline_seed, 47])
    distance = ground_distance_km(grid.zenith_deg, AIRGLOW_KM)
    angle, wave_km = rng.uniform(0, 2 * np.pi), rng.uniform(25, 60)
    x, y = distance * np.sin(grid.azimuth_rad), distance * np.cos(grid.azimuth_rad)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    uneven = sample_texture(random_texture(int(rng.integers(16)) + 48, 3.0), x * 0.5, y * 0.5)
    phase = 2 * np.pi * along / wave_km + 6.0 * uneven
    return np.asarray(np.sin(phase) * uneven, np.float32)


def _streaks(sky: Sky, grid: SkyGrid) -> Floats:
    x, y = _plane(sky, grid)
    angle = np.radians(sky.cloud_lit_azimuth_deg) + 0.7
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    aside = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
    field = random_texture(sky.cloud_seed % 16 + 32, 2.4)
    scale = np.float32(60.0 / sky.cloud_scale)
    value = sample_texture(field, along * scale * np.float32(0.12), aside * scale)
    patchy = _cloud_texture(sky, grid, sky.cloud_seed + 3, 3.4, 0.6)
    return smoothstep(0.55 * value + 0.45 * patchy, 0.45, 0.8)


def _cells(sky: Sky, grid: SkyGrid) -> Floats:
    x, y = _plane(sky, grid)
    warp = _cloud_texture(sky, grid, sky.cloud_seed, 3.2, 1.0)
    number = np.float32(14.0 / min(sky.cloud_scale, 1.4))
    value = np.sin(x * number + 9.0 * warp) * np.sin(1.3 * y * number - 7.0 * warp)
    patchy = _cloud_texture(sky, grid, sky.cloud_seed + 3, 3.4, 0.5)
    return smoothstep(value, -0.35, 0.55) * smoothstep(patchy, 0.15, 0.45)


def _hole(sky: Sky, grid: SkyGrid) -> Floats:
    """Where the overcast is open, 0 to 1: around a point up to 50 degrees from the zenith."""
    rng = np.random.default_rng([sky.skyline_seed, 53])
    azimuth, zenith = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(0, 50))
    cosine = np.cos(zenith) * grid.up + np.sin(zenith) * (
        grid.east * np.sin(azimuth) + grid.north * np.cos(azimuth)
    )
    away = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    ragged = _cloud_texture(sky, grid, sky.cloud_seed + 2, 2.8, 1.0) - 0.5
    reach = rng.uniform(10, 35)
    return np.asarray(1.0 - smoothstep(away + 40.0 * ragged, 0.75 * reach, 1.25 * reach))


def _cloud_texture(sky: Sky, grid: SkyGrid, seed: int, slope: float, fine: float) -> Floats:
    """A random field (n,) on the cloud layer, drifting with it."""
    x, y = _plane(sky, grid)
    scale = 60.0 * fine / sky.cloud_scale
    field = random_texture(seed % 16 + 32, slope)
    return sample_texture(field, (x * scale).astype(np.float32), (y * scale).astype(np.float32))


def _plane(sky: Sky, grid: SkyGrid) -> tuple[Floats, Floats]:
    """Place (n,) on the cloud layer, in units of its height, drift included."""
    # On a plane above the station, flattened towards the horizon where the Earth's curve ends it.
    range_ = _range(grid)
    flat = range_ / (1.0 + 0.08 * range_)
    x = flat * np.sin(grid.azimuth_rad) + sky.cloud_drift[0]
    y = flat * np.cos(grid.azimuth_rad) + sky.cloud_drift[1]
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _range(grid: SkyGrid) -> Floats:
    """Distance (n,) from overhead on a flat layer, in units of its height."""
    return np.asarray(np.tan(np.radians(np.minimum(grid.zenith_deg, 88.0))), np.float32)
