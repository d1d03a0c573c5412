"""Auroral emission seen from the ground: thin layers at several heights.

A form is a footprint on the ground and a height profile. Each of eleven layers
is projected on its own, so that rays converge at the zenith, arcs have a
sharp lower and a soft upper border, and red light stands above green. Between
layers the footprint is widened by the distance a line of sight covers there,
which keeps low arcs from breaking up into stripes.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reprocess.simulate.grid import (
    EARTH_RADIUS_KM,
    Floats,
    SkyGrid,
    ground_distance_km,
    sample_texture,
    smoothstep,
    texture,
)
from reprocess.simulate.scene import Form, FormKind

# Chapman layers (peak, scale height in km): tall green 117, 20; green 110, 10 with 28 % of the
# tall one; red 205, 32.
HEIGHT_KM = (97.0, 106.0, 115.0, 125.0, 137.0, 150.0, 165.0, 182.0, 202.0, 226.0, 255.0)
STEP_KM = (9, 9, 9.5, 11, 12.5, 14, 16, 18.5, 22, 26.5, 29)
GREEN_SHARE = (0.083, 0.255, 0.274, 0.195, 0.102, 0.05, 0.023, 0.011, 0.004, 0, 0)
RED_SHARE = (0, 0, 0, 0, 0, 0.011, 0.061, 0.174, 0.287, 0.292, 0.176)
PURPLE_SHARE = (0.8, 0.2, 0, 0, 0, 0, 0, 0, 0, 0, 0)
TALL_GREEN_SHARE = (0.083, 0.141, 0.178, 0.194, 0.163, 0.114, 0.068, 0.035, 0.016, 0.006, 0.001)
GREEN = np.array([0.22, 1.0, 0.22], np.float32)
RED = np.array([1.0, 0.14, 0.18], np.float32)
PURPLE = np.array([0.75, 0.25, 0.95], np.float32)
SHEET_LAYER = 1
ALONG_KM = 3000
DEG_PER_MIN_OVERHEAD = 60.0 * np.degrees(1.0 / HEIGHT_KM[SHEET_LAYER])
"""Apparent speed overhead of 1 km/s at 106 km."""


@lru_cache(maxsize=64)
def _layer(grid: SkyGrid, index: int) -> tuple[Floats, Floats]:
    """Ground distance (km) and lengthening of the path through a layer, (n,) each."""
    height = HEIGHT_KM[index]
    sine = EARTH_RADIUS_KM / (EARTH_RADIUS_KM + height) * np.sin(np.radians(grid.zenith_deg))
    path = np.minimum(1.0 / np.sqrt(1.0 - sine**2), 5.0).astype(np.float32)
    return ground_distance_km(grid.zenith_deg, height), path


def brightness_at(form: Form, time_s: float) -> float:
    """Brightness of a form at a time, linear."""
    angle = 2 * np.pi * time_s / form.period_s + form.phase
    return float(form.brightness * (1.0 + form.swing * np.sin(angle)))


def brightness_change_per_min(form: Form, time_s: float) -> float:
    """Relative brightness change of a form as a whole, 1/min, signed.

    A pulsating form's patches change one by one; for it this is the root mean
    square over a period of one patch.
    """
    omega = 2 * np.pi / form.period_s
    if form.kind == FormKind.PULSATING:
        return float(60.0 * omega * form.swing / np.sqrt(2.0))
    angle = omega * time_s + form.phase
    return float(60.0 * form.swing * omega * np.cos(angle) / (1.0 + form.swing * np.sin(angle)))


def offset_at(form: Form, time_s: float) -> float:
    """Distance of a form's line from the zenith, km; it turns back at `turn_km`."""
    span = 2.0 * form.turn_km
    where = (form.offset_km + form.turn_km + form.drift_km_s * time_s) % (2 * span)
    return float((where if where <= span else 2 * span - where) - form.turn_km)


def aurora_light(form: Form, grid: SkyGrid, time_s: float) -> Floats:
    """Light of one form in each sky pixel, above the atmosphere.

    Returns
    -------
    (n, 3) float32 array
        Linear R, G, B.
    """
    along_of = np.cos(grid.azimuth_rad - np.radians(form.normal_azimuth_deg))
    across_unit = along_of.astype(np.float32)
    along_unit = np.sin(grid.azimuth_rad - np.radians(form.normal_azimuth_deg)).astype(np.float32)
    if form.kind in (FormKind.DIFFUSE, FormKind.PULSATING):
        green = _sheet(form, grid, time_s, across_unit, along_unit)
        lines = np.stack([green, form.red * green, form.purple * green])
    else:
        lines = _curtain(form, grid, time_s, across_unit, along_unit)
    if form.green != 1.0:
        lines[0] *= np.float32(form.green)
    mixing = np.stack([GREEN, RED, PURPLE])
    light = (lines.T @ mixing) * np.float32(brightness_at(form, time_s))
    return np.asarray(light, np.float32)


def _curtain(
    form: Form, grid: SkyGrid, time_s: float, across_unit: Floats, along_unit: Floats
) -> Floats:
    """Green, red and purple columns (3, n) of an arc or a rayed band of unit brightness."""
    centre, bright = _tables(form, time_s)
    rayed = form.kind == FormKind.RAYED_BAND
    spiral = form.kind == FormKind.SPIRAL
    green_share = TALL_GREEN_SHARE if rayed else GREEN_SHARE
    lines = np.zeros((3, across_unit.size), np.float32)
    for index, height in enumerate(HEIGHT_KM):
        shares = (green_share[index], form.red * RED_SHARE[index] * 2.0,
                  form.purple * PURPLE_SHARE[index])  # fmt: skip
        if max(shares) < 0.004:
            continue
        distance, path = _layer(grid, index)
        across = distance * across_unit
        along = distance * along_unit
        at = np.clip(along + ALONG_KM, 0, 2 * ALONG_KM).astype(np.int32)
        spread = (0.5 * STEP_KM[index] / height) * across
        width2 = np.float32(form.width_km**2) * (1.0 + 0.0035 * max(height - 100.0, 0.0))
        wide2 = spread * spread + width2
        if spiral:
            offset, here = _winding(form, time_s, across, along)
        else:
            offset, here = across - centre[at], bright[at]
        value = np.exp(-offset * offset / wide2) * here * np.sqrt(width2 / wide2) * path
        for line, share in enumerate(shares):
            if share >= 0.004:
                lines[line] += np.float32(share) * value
    return lines


def _tables(form: Form, time_s: float) -> tuple[Floats, Floats]:
    """Position across (km) and brightness along the form, at every km along it."""
    along = np.arange(-ALONG_KM, ALONG_KM + 1, dtype=np.float64)
    rng = np.random.default_rng([form.seed, 11])
    phases = rng.random(3) * 2 * np.pi
    centre = offset_at(form, time_s) - 0.5 * form.curvature_1_km * along**2
    moved = along - form.fold_speed_km_s * time_s
    for order, (ratio, share) in enumerate(((1.0, 0.6), (0.37, 0.3), (0.16, 0.13))):
        wave = 2 * np.pi * moved / (form.fold_length_km * ratio)
        centre = centre + form.fold_km * share * np.sin(wave + phases[order])
    slow = _noise_1d(form.seed + 1, (along - form.fold_speed_km_s * time_s) / 260.0)
    bright = 0.75 + 0.5 * slow
    if form.ray_depth > 0:
        shifted = along - form.ray_speed_km_s * time_s
        rays = _noise_1d(form.seed + 2, shifted / form.ray_km)
        rays = 0.6 * rays + 0.4 * _noise_1d(form.seed + 3, shifted / (2.7 * form.ray_km))
        bright = bright * (1.0 - form.ray_depth + 2.2 * form.ray_depth * rays**2)
    end = np.abs(along - form.along_km)
    bright = bright * (1.0 - smoothstep(end, 0.7 * form.half_length_km, form.half_length_km))
    return centre.astype(np.float32), bright.astype(np.float32)


def _winding(form: Form, time_s: float, across: Floats, along: Floats) -> tuple[Floats, Floats]:
    """Distance (km) to the nearest winding of a spiral, and the brightness there.

    Archimedean, `turns` windings out to `half_length_km` about the point
    (`offset_at`, `along_km`); it turns with `fold_speed_km_s` at its rim.
    """
    x, y = across - np.float32(offset_at(form, time_s)), along - np.float32(form.along_km)
    radius = np.hypot(x, y)
    turned = np.arctan2(y, x) - form.fold_speed_km_s * time_s / form.half_length_km + form.phase
    pitch = form.half_length_km / max(form.turns, 0.5)
    offset = np.mod(radius - pitch * turned / (2 * np.pi) + pitch / 2, pitch) - pitch / 2
    bright = 1.0 - smoothstep(radius, 0.75 * form.half_length_km, form.half_length_km)
    bright = bright * (0.6 + 0.4 * np.cos(turned * 2.0 + form.seed % 7))
    return np.asarray(offset, np.float32), np.asarray(bright, np.float32)


def _noise_1d(seed: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth random values in 0 to 1, one knot a unit, period 512."""
    knots = np.random.default_rng([seed, 13]).random(512)
    base = np.floor(at).astype(np.int64)
    t = at - base
    t = t * t * (3 - 2 * t)
    return np.asarray(knots[base % 512] * (1 - t) + knots[(base + 1) % 512] * t)


def _sheet(
    form: Form, grid: SkyGrid, time_s: float, across_unit: Floats, along_unit: Floats
) -> Floats:
    """Green column (n,) of a diffuse band or of pulsating patches of unit brightness."""
    distance, path = _layer(grid, SHEET_LAYER)
    across, along = distance * across_unit, distance * along_unit
    offset = across - np.float32(offset_at(form, time_s))
    offset = offset + np.float32(0.5 * form.curvature_1_km) * along * along
    envelope = np.exp(-((offset / np.float32(form.width_km)) ** 2))
    envelope *= 1.0 - smoothstep(
        np.abs(along - form.along_km), 0.5 * form.half_length_km, form.half_length_km
    )
    scale = np.float32(24.0 / form.patch_km)
    x = (along - form.fold_speed_km_s * time_s) * scale
    y = offset * scale
    if form.kind == FormKind.DIFFUSE:
        uneven = sample_texture(texture(form.seed % 16, 3.2), x, y)
        return np.asarray(envelope * (0.65 + 0.7 * (uneven - 0.5)) * path, np.float32)
    patches = smoothstep(sample_texture(texture(form.seed % 16, 3.0), x, y), 0.55, 0.72)
    when = sample_texture(texture(form.seed % 16 + 16, 3.4), x * 0.5, y * 0.5)
    pulse = 1.0 + form.swing * np.sin((2 * np.pi * time_s / form.period_s) + (3.0 * np.pi) * when)
    return np.asarray(envelope * patches * pulse * path, np.float32)
