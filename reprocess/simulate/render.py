"""From a scene to the 8-bit picture a camera would store, and its truth.

Light is added up in a linear scale, vignetted, multiplied by the gain, given
the camera's tone curve, then noise, hot pixels and burnt-in text follow.
Smooth light is computed on a grid of half the picture's resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.simulate.aurora import aurora_light
from reprocess.simulate.background import background, draw_stars, upscale
from reprocess.simulate.foreground import dome_cover
from reprocess.simulate.grid import Floats, SkyGrid, camera_grid, pixel_of
from reprocess.simulate.scene import Camera, Scene

VISIBLE_DN = 6.0
VISIBLE_NOISE = 2.0
VISIBLE_BACKGROUND = 0.12
FAINT_FACTOR = 1.5
TRUTH_BLUR_DEG = 1.5
SCATTER_DEG = 14.0
MONO_WEIGHTS = (0.5, 0.85, 0.35)
JPEG_QUALITY = 90
TEXTS = ("N", "S", "E", "W", "20#-0#-#", "#:#:# UT", "ISO #00 f/1.4", "ALL-SKY CAMERA", "exp # s")
TEXT_COLOURS = ((235, 235, 235), (250, 240, 60), (80, 230, 90), (240, 70, 60), (90, 160, 255))


@dataclass(frozen=True, eq=False)
class Rendered:
    """A simulated frame.

    `image` is (y, x, 3) uint8 RGB; `label` (y, x) uint8 is 0 where no aurora
    is visible, else 1 + the index in `scene.forms` of the brightest form
    there; `faint` (y, x) bool is the band of doubt about its edge, see
    `faint_edge`; `peak_dn` and `area` are, for each form, its greatest visible
    brightness over the background (DN) and its share of the picture's pixels.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8]
    faint: NDArray[np.bool_]
    peak_dn: tuple[float, ...]
    area: tuple[float, ...]


def visible(added_dn: Floats, background_dn: Floats, camera: Camera) -> NDArray[np.bool_]:
    """The truth rule: where aurora counts as present.

    A pixel is aurora where the brightness that aurora adds, in the brighter
    of red and green, before noise and averaged over `TRUTH_BLUR_DEG` (a
    Gaussian of 1.5 deg, about what an outline drawn by hand resolves),
    reaches each of

    - `VISIBLE_DN` = 6 DN,
    - `VISIBLE_NOISE` = 2 standard deviations of the pixel's own noise,
    - `VISIBLE_BACKGROUND` = 12 % of the background,

    the background being the smooth sky with clouds, Moon, twilight and town
    glow but without stars and lamps.

    Parameters
    ----------
    added_dn : (n,) float32 array, DN, averaged
    background_dn : (n, 3) float32 array, DN

    Returns
    -------
    (n,) bool array
    """
    return np.asarray(added_dn >= _limit_dn(background_dn, camera))


def faint_edge(added_dn: Floats, background_dn: Floats, camera: Camera) -> NDArray[np.bool_]:
    """Where it is open whether a person would call it aurora.

    A pixel whose averaged brightness over the background lies within a factor
    `FAINT_FACTOR` = 1.5 of the limit of `visible`, to either side. Two people
    who outline the same aurora by hand disagree about as much.

    Returns
    -------
    (n,) bool array
    """
    limit = _limit_dn(background_dn, camera)
    return np.asarray((added_dn >= limit / FAINT_FACTOR) & (added_dn < limit * FAINT_FACTOR))


def _limit_dn(background_dn: Floats, camera: Camera) -> Floats:
    below = np.maximum(background_dn[..., 0], background_dn[..., 1])
    noise = np.sqrt(camera.read_noise_dn**2 + camera.shot_noise_dn * np.maximum(below, 0.0))
    limit = np.maximum(VISIBLE_DN, np.maximum(VISIBLE_NOISE * noise, VISIBLE_BACKGROUND * below))
    return np.asarray(limit, np.float32)


def render(scene: Scene) -> Rendered:
    """Draw one frame and its truth. A pure function of the scene."""
    camera, size = scene.camera, scene.camera.size_px
    grid = camera_grid(camera, size // 2)
    back = background(scene.sky, grid)
    dim = camera.gain * _dimmed(camera, grid)[:, None]
    colours = _colour_matrix(camera)
    sky_light = back.light @ colours * dim
    arriving = back.transmission
    if camera.snow > 0 or camera.dust:
        cover = dome_cover(camera, grid)[:, None]
        # What lies on the dome hides the sky and shines with the sky's mean light.
        sky_light = sky_light * (1.0 - cover) + cover * np.float32(0.8) * sky_light.mean(axis=0)
        arriving = arriving * (1.0 - cover)
    high = [aurora_light(form, grid, scene.time_s) for form in scene.forms]
    layers = [light * arriving @ colours * dim for light in high]
    if high and scene.sky.scatter > 0:
        sky_light = sky_light + _scattered(np.sum(high, axis=0), back.scatter, grid) @ colours * dim
    aurora = np.zeros_like(sky_light)
    for layer in layers:
        aurora += layer
    label, faint, peak, area = _truth(scene, grid, sky_light, aurora, layers)
    coarse = np.concatenate([sky_light + aurora, arriving[:, 1:2] * dim], axis=1)
    smooth = upscale(_bleed(grid.picture(coarse), grid.inside), size)
    # One channel carries the transmission, so that stars fade behind clouds and skyline.
    linear = np.ascontiguousarray(smooth[:, :, :3])
    draw_stars(linear, camera, scene.sky, np.ascontiguousarray(smooth[:, :, 3]))
    inside = camera_grid(camera, size).inside
    image = _expose(linear, inside, camera, scene.seed)
    return Rendered(
        image,
        np.where(
            inside, upscale_labels(grid.picture(label.astype(np.float32)).astype(np.uint8), size), 0
        ).astype(np.uint8),
        upscale_labels(grid.picture(faint.astype(np.float32)).astype(np.uint8), size) > 0,
        peak,
        area,
    )


def tone_dn(linear: Floats, camera: Camera) -> Floats:
    """The camera's response: DN of linear light, before noise and rounding."""
    span = 255.0 - camera.bias_dn
    light = np.clip(linear, 0.0, 1.0)
    curve = np.sqrt(light)
    curve *= np.float32(span * camera.tone)
    light *= np.float32(span * (1.0 - camera.tone))
    curve += light
    curve += np.float32(camera.bias_dn)
    return np.asarray(curve, np.float32)


def upscale_labels(label: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """A label picture at another size, nearest neighbour."""
    return np.asarray(
        cv2.resize(label, (size_px, size_px), interpolation=cv2.INTER_NEAREST), np.uint8
    )


def encode_jpeg(image: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """JPEG bytes of an RGB picture, 4:2:0."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"cannot encode a picture of shape {image.shape}")
    return bytes(data)


def _dimmed(camera: Camera, grid: SkyGrid) -> Floats:
    """Share (n,) of the light that vignetting leaves."""
    east, north = camera.vignetting_center
    out = grid.zenith_deg / 90.0
    away = (out * np.sin(grid.azimuth_rad) - east) ** 2 + (
        out * np.cos(grid.azimuth_rad) - north
    ) ** 2
    return np.asarray(np.maximum(1.0 - camera.vignetting * away, 0.03), np.float32)


def _colour_matrix(camera: Camera) -> Floats:
    if camera.mono:
        # An unfiltered sensor: one response, three times.
        return np.repeat(np.asarray(MONO_WEIGHTS, np.float32)[:, None], 3, axis=1)
    grey = np.full((3, 3), 1.0 / 3.0)
    mixed = (1.0 - camera.colour_mix) * np.eye(3) + camera.colour_mix * grey
    return np.asarray(mixed * np.asarray(camera.white)[None, :], np.float32)


def _truth(
    scene: Scene, grid: SkyGrid, sky_light: Floats, aurora: Floats, layers: list[Floats]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[float, ...], tuple[float, ...]]:
    n = len(sky_light)
    if not layers:
        return np.zeros(n, np.uint8), np.zeros(n, np.bool_), (), ()
    camera = scene.camera
    below = tone_dn(sky_light, camera)
    added = tone_dn(sky_light + aurora, camera) - below
    mean = _averaged(np.maximum(added[:, 0], added[:, 1]), grid, camera)
    seen = visible(mean, below, camera)
    strengths = np.stack([np.maximum(layer[:, 0], layer[:, 1]) for layer in layers])
    label = np.where(seen, 1 + np.argmax(strengths, axis=0), 0).astype(np.uint8)
    peak, area = [], []
    for index, layer in enumerate(layers):
        own = label == index + 1
        added = tone_dn(sky_light[own] + layer[own], camera) - below[own]
        peak.append(float(added[:, :2].max()) if own.any() else 0.0)
        area.append(float(own.sum() * 4) / camera.size_px**2)
    return label, faint_edge(mean, below, camera), tuple(peak), tuple(area)


def _scattered(aurora: Floats, scatter: Floats, grid: SkyGrid) -> Floats:
    """The aurora's light as clouds and haze spread it: wide, without form."""
    sigma = SCATTER_DEG * grid.size_px / 180.0
    total = cv2.GaussianBlur(grid.picture(aurora), (0, 0), sigma)
    share = cv2.GaussianBlur(grid.inside.astype(np.float32), (0, 0), sigma)
    wide = (total / np.maximum(share, 1e-6)[:, :, None])[grid.inside]
    return np.asarray((0.5 * wide + 0.5 * aurora.mean(axis=0)) * scatter, np.float32)


def _averaged(values: Floats, grid: SkyGrid, camera: Camera) -> Floats:
    """(n,) values averaged over `TRUTH_BLUR_DEG` within the sky."""
    sigma = TRUTH_BLUR_DEG * camera.px_per_deg * grid.size_px / camera.size_px
    total = cv2.GaussianBlur(grid.picture(values), (0, 0), sigma)
    share = cv2.GaussianBlur(grid.inside.astype(np.float32), (0, 0), sigma)
    return np.asarray((total / np.maximum(share, 1e-6))[grid.inside], np.float32)


def _bleed(picture: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Continue the sky one coarse pixel outward, so that upscaling does not darken its rim."""
    grown = np.asarray(cv2.dilate(picture, np.ones((3, 3), np.uint8)), np.float32)
    return np.where(inside[:, :, None], picture, grown).astype(np.float32)


def _expose(
    linear: Floats, inside: NDArray[np.bool_], camera: Camera, seed: int
) -> NDArray[np.uint8]:
    size = camera.size_px
    rng = np.random.default_rng([seed, 29])
    if camera.ghost > 0:
        linear = linear + _ghost(linear, inside, camera)
    if camera.flare > 0:
        # Far wider than a pixel, so a quarter of the resolution is enough.
        small = cv2.resize(
            np.minimum(linear, 1.0), (size // 4, size // 4), interpolation=cv2.INTER_AREA
        )
        glow = upscale(np.asarray(cv2.GaussianBlur(small, (0, 0), 0.005 * size), np.float32), size)
        linear = linear + np.float32(camera.flare) * glow
    signal = tone_dn(linear, camera)
    outside = np.asarray(camera.surround, np.float32)
    if camera.flare > 0:
        outside = outside + np.float32(0.25) * (signal - np.float32(camera.bias_dn))
    np.copyto(signal, outside, where=~inside[:, :, None])
    if any(camera.dark):
        signal += np.asarray(camera.dark, np.float32)
    if camera.banding_dn > 0 or camera.corner_glow_dn > 0:
        signal += _read_out(camera, seed)
        np.maximum(signal, 0.0, out=signal)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32)
    if camera.noise_blur_px > 0.2:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), camera.noise_blur_px), np.float32)
        noise *= np.float32(1.0 / max(float(noise[::4, ::4].std()), 1e-3))
    sigma = signal * np.float32(camera.shot_noise_dn)
    sigma += np.float32(camera.read_noise_dn**2)
    noise *= np.sqrt(sigma, out=sigma)
    signal += noise
    if camera.sharpen > 0:
        soft = np.asarray(cv2.GaussianBlur(signal, (0, 0), 1.2), np.float32)
        signal += np.float32(camera.sharpen) * (signal - soft)
    if camera.hot_pixels:
        hot = np.random.default_rng([camera.hot_seed, 31])
        at = hot.integers(0, size, (2, camera.hot_pixels))
        signal[at[0], at[1], hot.integers(0, 3, camera.hot_pixels)] += hot.uniform(
            15, 120, camera.hot_pixels
        ).astype(np.float32)
    np.clip(np.rint(signal, out=signal), 0, 255, out=signal)
    image = signal.astype(np.uint8)
    if camera.mono:
        image = np.repeat(image[:, :, 1:2], 3, axis=2)
    if camera.writing:
        image = _write_texts(image, camera)
    return _burn_text(image, camera, seed) if camera.text else image


def _ghost(linear: Floats, inside: NDArray[np.bool_], camera: Camera) -> Floats:
    """Light that dome and lens mirror through the zenith, unsharp."""
    size = camera.size_px
    small = cv2.resize(
        np.minimum(linear, 2.0), (size // 2, size // 2), interpolation=cv2.INTER_AREA
    )
    x, y = (camera.center_x_px + 0.5) / 2 - 0.5, (camera.center_y_px + 0.5) / 2 - 0.5
    turned = cv2.warpAffine(
        small, np.array([[-1.0, 0.0, 2 * x], [0.0, -1.0, 2 * y]]), (size // 2, size // 2)
    )
    soft = cv2.GaussianBlur(np.asarray(turned, np.float32), (0, 0), 0.012 * size)
    ghost = upscale(np.asarray(soft, np.float32), size) * np.float32(camera.ghost)
    return np.where(inside[:, :, None], ghost, np.float32(0.0)).astype(np.float32)


def _read_out(camera: Camera, seed: int) -> Floats:
    """Row offsets and the amplifier's glow, (y, x, 1) DN."""
    size = camera.size_px
    rows = np.random.default_rng([seed, 43]).normal(0.0, camera.banding_dn, (size, 1))
    corner = np.random.default_rng([camera.dome_seed, 67]).integers(0, 2, 2) * (size - 1.0)
    at = np.arange(size)
    away = np.hypot(at[None, :] - corner[0], at[:, None] - corner[1])
    glow = camera.corner_glow_dn * np.exp(-away / (0.25 * size))
    return np.asarray((rows + glow)[:, :, None], np.float32)


def _write_texts(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Coloured captions at the rim and in the sky, as stations write them."""
    rng = np.random.default_rng([camera.dome_seed, 71])
    size = camera.size_px
    picture = image.copy()
    for _ in range(camera.writing):
        scale = size / 480.0 * float(rng.uniform(0.35, 0.8))
        colour = tuple(int(v) for v in rng.choice(np.array(TEXT_COLOURS)))
        text = str(rng.choice(TEXTS)).replace("#", str(rng.integers(10, 99)))
        at = (int(rng.uniform(0, 0.8) * size), int(rng.uniform(0.03, 0.99) * size))
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return picture


def _burn_text(image: NDArray[np.uint8], camera: Camera, seed: int) -> NDArray[np.uint8]:
    """White writing in the corners and ticks around the disk, as on archive pictures."""
    size = camera.size_px
    rng = np.random.default_rng([seed, 37])
    scale = size / 480.0 * float(rng.uniform(0.35, 0.55))
    level = int(rng.integers(150, 256))
    picture = image.copy()
    stamp = f"{rng.integers(2010, 2024)}.{rng.integers(1, 13):02d}.{rng.integers(1, 29):02d}"
    clock = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}"
    for text, at in (
        (stamp, (2, int(30 * scale))),
        (clock, (2, size - 5)),
        ("STATION", (int(size - 150 * scale), int(30 * scale))),
    ):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (level,) * 3, 1)
    if rng.random() < 0.5:
        azimuth = np.radians(np.arange(0.0, 360.0, 10.0))
        x0, y0 = pixel_of(camera, azimuth, np.full(36, 92.0))
        x1, y1 = pixel_of(camera, azimuth, np.full(36, 95.0))
        for ends in zip(x0, y0, x1, y1, strict=True):
            a, b, c, d = (round(float(v)) for v in ends)
            cv2.line(picture, (a, b), (c, d), (level,) * 3, 1)
    return picture
