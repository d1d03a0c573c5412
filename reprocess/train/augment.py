"""One frame turned, mirrored, scaled, recoloured and spoilt as cameras do.

Every change leaves an all-sky picture an all-sky picture: the sky disk stays whole and its
horizon stays the border between sky and not sky.

========== ============================================================ =====================
change     what it is                                                   what it stands for
========== ============================================================ =====================
turn       any angle about the image's centre                           cameras are put up at
                                                                        any azimuth
mirror     left and right exchanged                                     east left or right
zoom       about the image's centre; what comes in from outside has     other focal lengths
           the colour of the picture's corner
gain       all counts times one factor                                  exposure, gain
tint       each channel times its own factor                            colour response
offset     one number added to all counts                               bias, dark current
blur       Gaussian                                                     focus, dew
noise      normal, white or correlated over a pixel                     read noise, demosaicing
JPEG       coded and decoded once                                       archives
========== ============================================================ =====================

Left out on purpose: shifts, crops, shear, perspective, elastic warps, mosaics and cut-outs, each
of which puts a horizon where sky is or sky where a horizon is; reflected or repeated borders,
which make a second sky outside the first; changes of hue, because green and red are what tells
aurora from a cloud.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.labels import AURORA, UNJUDGED
from reprocess.train.recipe import STRIDE, Augmentation

CORNER_PX = 4


def augment(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    size_px: int,
    ranges: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Change one frame, and its mask with it.

    Parameters
    ----------
    image : (y, x, 3) uint8 array, RGB counts, y = x. Not modified.
    mask : (y, x) uint8 array: 0 background, 255 aurora, 128 not judged. Not modified.
    size_px : side of the result, a multiple of 8

    Returns
    -------
    image : (size_px, size_px, 3) uint8 array
    share : (size_px / 8, size_px / 8) float32 array
        Area of each network cell with aurora over its area judged: what the coarse logits are
        trained on. Half a cell of aurora is probability one half there, so the edge of the
        upsampled mask falls where the truth's edge is. 0 where nothing is judged.
    judged : (size_px / 8, size_px / 8) float32 array
        Area of each network cell that is judged, 0 to 1: its weight in the loss.

    Notes
    -----
    Pure: one state of `rng` gives one result.
    """
    out, aurora, unjudged = _move(image, mask, size_px, ranges, rng)
    out = _spoil(out, ranges, rng)
    n = size_px // STRIDE
    area = aurora.reshape(n, STRIDE, n, STRIDE).mean(axis=(1, 3))
    judged = 1.0 - unjudged.reshape(n, STRIDE, n, STRIDE).mean(axis=(1, 3))
    # Both masks are interpolated alike, so area <= judged but for rounding.
    share = np.divide(area, judged, out=np.zeros_like(area), where=judged > 1e-6)
    return out, np.clip(share, 0.0, 1.0).astype(np.float32), judged.astype(np.float32)


def _move(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    size_px: int,
    ranges: Augmentation,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """Turn, mirror and zoom: image, share of aurora and of what is not judged, by pixel."""
    zoom = float(rng.uniform(*ranges.zoom))
    degrees = float(rng.uniform(0, 360)) if ranges.turn else 0.0
    mirrored = ranges.mirror and rng.random() < 0.5
    layers: list[NDArray[Any]] = [image]
    layers += [(mask == code).astype(np.float32) for code in (AURORA, UNJUDGED)]
    while layers[0].shape[0] >= 2 * size_px:  # a warp that shrinks by more would skip pixels
        half = layers[0].shape[0] // 2
        layers = [
            np.asarray(cv2.resize(a, (half, half), interpolation=cv2.INTER_AREA)) for a in layers
        ]
    side = layers[0].shape[0]
    if not (zoom == 1.0 and degrees == 0.0 and not mirrored and side == size_px):
        centre = (side - 1) / 2
        turn = cv2.getRotationMatrix2D((centre, centre), degrees, size_px / side * zoom)
        turn[:, 2] += (size_px - 1) / 2 - centre
        if mirrored:
            turn[0] = [-1, -1, -1] * turn[0] + np.array([0, 0, size_px - 1])
        corner = layers[0][:CORNER_PX, :CORNER_PX].reshape(-1, 3).mean(axis=0)
        colours = (tuple(float(v) for v in corner), (0.0,), (0.0,))
        layers = [
            _warp(a, turn, size_px, colour)
            for a, colour in zip(layers, colours, strict=True)
        ]  # fmt: skip
    return (
        np.asarray(layers[0], np.uint8),
        np.asarray(layers[1], np.float32),
        np.asarray(layers[2], np.float32),
    )


def _warp(
    layer: NDArray[Any], turn: NDArray[Any], size_px: int, outside: tuple[float, ...]
) -> NDArray[Any]:
    whole = (size_px, size_px)
    return np.asarray(
        cv2.warpAffine(layer, turn, whole, flags=cv2.INTER_LINEAR, borderValue=outside)
    )


def _spoil(
    image: NDArray[np.uint8], ranges: Augmentation, rng: np.random.Generator
) -> NDArray[np.uint8]:
    tint = np.exp(rng.normal(0, ranges.tint_log_sigma, 3)).astype(np.float32)
    gain = np.float32(np.exp(rng.normal(0, ranges.gain_log_sigma)))
    light = image * (tint * gain) + np.float32(rng.uniform(*ranges.offset_dn))
    if rng.random() < ranges.blur_share:
        sigma = float(rng.uniform(*ranges.blur_px))
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), np.float32)
    if rng.random() < ranges.noise_share:
        grain = rng.standard_normal(light.shape, dtype=np.float32)
        if rng.random() < 0.5:
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.8) * 2.0, np.float32)
        light = light + grain * np.float32(rng.uniform(*ranges.noise_dn))
    spoilt = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    if rng.random() < ranges.jpeg_share:
        quality = int(rng.integers(*ranges.jpeg_quality))
        blue_first = np.ascontiguousarray(spoilt[:, :, ::-1])
        code = cv2.imencode(".jpg", blue_first, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
        spoilt = np.ascontiguousarray(decoded[:, :, ::-1])
    return spoilt
