"""What stands between camera and sky: horizon, buildings, masts, trees, dirt on the dome."""

from __future__ import annotations

import numpy as np

from reprocess.simulate.grid import Floats, SkyGrid, sample_texture, smoothstep, texture
from reprocess.simulate.scene import Camera, Obstacle, Sky


def skyline(sky: Sky, grid: SkyGrid) -> Floats:
    """Height of the dark horizon in each pixel's direction, degrees, obstacles included."""
    rng = np.random.default_rng([sky.skyline_seed, 19])
    azimuth = np.radians(np.arange(361.0))
    ridge = np.zeros(361)
    for order in range(1, 25):
        ridge += rng.normal(0, order**-1.1) * np.sin(order * azimuth + rng.uniform(0, 2 * np.pi))
    ridge -= ridge.min()
    at = np.mod(np.degrees(grid.azimuth_rad), 360.0)
    height = np.interp(at, np.arange(361.0), (ridge / ridge.max()) ** 1.5)
    lowest = np.asarray(sky.skyline_deg * height, np.float32)
    for number, obstacle in enumerate(sky.obstacles):
        lowest = np.maximum(lowest, _silhouette(obstacle, at, sky.skyline_seed + number))
    return lowest


def dome_cover(camera: Camera, grid: SkyGrid) -> Floats:
    """Opacity (n,) of snow and dust on the dome, unsharp because it is out of focus."""
    rng = np.random.default_rng([camera.dome_seed, 59])
    rows, columns = np.nonzero(grid.inside)
    x = np.asarray(columns / grid.size_px, np.float32)
    y = np.asarray(rows / grid.size_px, np.float32)
    cover = np.zeros(x.size, np.float32)
    if camera.snow > 0:
        # Snow slides: it lies on one side of the dome, in flakes and sheets.
        side = rng.uniform(0, 2 * np.pi)
        lean = np.cos(grid.azimuth_rad - np.float32(side)) * grid.zenith_deg / 90.0
        field = texture(int(rng.integers(16)) + 64, float(rng.choice((2.6, 3.4))))
        uneven = sample_texture(
            field, np.asarray(x * 260.0, np.float32), np.asarray(y * 260.0, np.float32)
        )
        edge = 1.0 - camera.snow
        cover = np.float32(rng.uniform(0.5, 0.97)) * smoothstep(
            0.65 * uneven + 0.35 * (0.5 + 0.5 * lean), edge - 0.12, edge + 0.12
        )
    for _ in range(camera.dust):
        at, size = rng.uniform(0.05, 0.95, 2), float(np.exp(rng.uniform(-4.9, -3.0)))
        spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / size**2)
        cover = np.maximum(cover, np.float32(rng.uniform(0.1, 0.7)) * spot)
    return np.asarray(cover, np.float32)


def _silhouette(obstacle: Obstacle, azimuth_deg: Floats, seed: int) -> Floats:
    """Height (n,) that an obstacle hides, degrees."""
    away = np.abs((azimuth_deg - obstacle.azimuth_deg + 180.0) % 360.0 - 180.0)
    height = np.where(away <= obstacle.half_width_deg, obstacle.height_deg, 0.0)
    if obstacle.trees:
        rng = np.random.default_rng([seed, 61])
        tops = rng.uniform(0.35, 1.0, 240)
        at = azimuth_deg / 1.5
        # A conifer is a narrow triangle about its trunk.
        crown = 1.0 - 1.4 * np.abs(at - np.floor(at) - 0.5)
        height = height * tops[np.floor(at).astype(np.int64) % 240] * crown
    return np.asarray(height, np.float32)
