"""Simulated training frames and their augmentation.

Frames are rendered once and kept as one `.npz` beside nothing else, so that
training never waits for the renderer; augmentation happens when a batch is
drawn.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.simulate.families import FAMILIES, sample_scene
from reprocess.simulate.render import render

VALIDATION_FROM = 900_000_000
"""Scene numbers of the training family from here on are kept for validation."""
STRIDE = 8


@dataclass(frozen=True, eq=False)
class Frames:
    """Rendered frames: `image` (n, y, x, 3) uint8 RGB, `aurora` (n, y, x) bool truth."""

    image: NDArray[np.uint8]
    aurora: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.image)


def render_frames(
    family: str, first: int, count: int, size_px: int, *, processes: int = 1
) -> Frames:
    """Scenes `first` … `first + count - 1` of a family, rendered.

    The result does not depend on `processes`.
    """
    jobs = [(family, first + i, size_px) for i in range(count)]
    image = np.empty((count, size_px, size_px, 3), np.uint8)
    aurora = np.empty((count, size_px, size_px), np.bool_)
    if processes <= 1:
        for index, job in enumerate(jobs):
            image[index], aurora[index] = _render(job)
    else:
        # One OpenCV thread a process: the processes already fill the cores.
        with multiprocessing.get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
            for index, pair in enumerate(pool.imap(_render, jobs, chunksize=16)):
                image[index], aurora[index] = pair
    return Frames(image, aurora)


def cached_frames(
    cache: Path | None, family: str, first: int, count: int, size_px: int, *, processes: int = 1
) -> Frames:
    """`render_frames`, kept in a folder when one is given.

    The cache is keyed by the arguments alone: empty it after a change to the
    simulator.
    """
    if cache is None:
        return render_frames(family, first, count, size_px, processes=processes)
    path = cache / f"{family}-{first}-{count}-{size_px}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return Frames(stored["image"], stored["aurora"])
    frames = render_frames(family, first, count, size_px, processes=processes)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, image=frames.image, aurora=frames.aurora)
    part.replace(path)
    return frames


def _render(job: tuple[str, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    family, number, size_px = job
    frame = render(sample_scene(FAMILIES[family], number, size_px))
    return frame.image, frame.label > 0


def augment(
    image: NDArray[np.uint8],
    aurora: NDArray[np.bool_],
    size_px: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One frame turned, mirrored, scaled, recoloured and spoilt as cameras do.

    Returns
    -------
    image : (size, size, 3) uint8
    share : (size / 8, size / 8) float32
        Area of each network cell with aurora, 0 to 1: what the coarse logits
        are trained on. Half a cell of aurora is probability one half there,
        so the edge of the upsampled mask falls where the truth's edge is.
    """
    scale = size_px / image.shape[0] * float(rng.uniform(0.82, 1.15))
    half = (image.shape[0] - 1) / 2
    turn = cv2.getRotationMatrix2D((half, half), float(rng.uniform(0, 360)), scale)
    turn[:, 2] += (size_px - 1) / 2 - half
    if rng.random() < 0.5:
        turn[0] = [-1, -1, -1] * turn[0] + np.array([0, 0, size_px - 1])
    border = tuple(float(v) for v in image[:4, :4].reshape(-1, 3).mean(axis=0))
    out = cv2.warpAffine(image, turn, (size_px, size_px), flags=cv2.INTER_AREA, borderValue=border)
    truth = cv2.warpAffine(
        aurora.astype(np.float32), turn, (size_px, size_px), flags=cv2.INTER_LINEAR
    )
    tint = np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)
    light = np.asarray(out * tint, np.float32)
    light = light * np.float32(np.exp(rng.normal(0, 0.25))) + np.float32(rng.uniform(-4, 8))
    if rng.random() < 0.3:
        light = np.asarray(
            cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.4, 1.2))), np.float32
        )
    if rng.random() < 0.4:
        grain = rng.standard_normal(light.shape, dtype=np.float32)
        if rng.random() < 0.5:
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.8) * 2.0, np.float32)
        light = light + grain * np.float32(rng.uniform(0.5, 5.0))
    spoilt = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))]
        data = cv2.imencode(".jpg", spoilt, quality)[1]
        spoilt = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    n = size_px // STRIDE
    share = truth.reshape(n, STRIDE, n, STRIDE).mean(axis=(1, 3))
    return np.asarray(spoilt, np.uint8), np.asarray(share, np.float32)


def batch(
    frames: Frames, size_px: int, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A random batch, augmented: (count, y, x, 3) uint8 and (count, y/8, x/8) float32."""
    chosen = rng.integers(0, len(frames), count)
    pairs = [augment(frames.image[i], frames.aurora[i], size_px, rng) for i in chosen]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def colour_statistics(frames: Frames) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of R, G, B of `image / 255`."""
    sample = frames.image[:: max(1, len(frames) // 256), ::2, ::2].reshape(-1, 3) / 255.0
    return (
        [round(float(v), 5) for v in sample.mean(axis=0)],
        [round(float(v), 5) for v in sample.std(axis=0)],
    )
