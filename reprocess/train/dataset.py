"""Frames with their masks: what a network learns from, and what it is judged by.

They come from a labelled folder (`reprocess.labels`) or are rendered by the
simulator. Simulated ones can be kept in a folder, so that a second training
need not wait for the renderer.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import reprocess.simulate
from reprocess.labels import AURORA, UNJUDGED
from reprocess.simulate.labelled import draw_scene

VALIDATION_FROM = 900_000_000
"""Scene numbers of a family from here on are kept for validation."""
NOT_RENDERING = ("archive", "schedule", "truth", "score")
"""Modules of the simulator (by the beginning of their names) that no frame's pixels depend on."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames and their truth.

    Attributes
    ----------
    image : (n, y, x, 3) uint8 array, RGB counts; y = x
    mask : (n, y, x) uint8 array
        0 background, 255 aurora, 128 not judged (a faint edge): not learned from and not scored.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.image.shape != (*self.mask.shape, 3) or self.mask.ndim != 3:
            raise ValueError(f"images of {self.image.shape} and masks of {self.mask.shape}")

    def __len__(self) -> int:
        return len(self.image)

    @property
    def aurora(self) -> NDArray[np.bool_]:
        """(n, y, x), where aurora is."""
        return np.asarray(self.mask == AURORA)

    @property
    def aurora_share(self) -> float:
        """Pixels with aurora over those judged; NaN without any."""
        aurora = judged = 0
        for mask in self.mask:
            aurora += int(np.count_nonzero(mask == AURORA))
            judged += int(np.count_nonzero(mask != UNJUDGED))
        return aurora / judged if judged else float("nan")

    def digest(self) -> str:
        """SHA-256 of shape, images and masks, in hexadecimal."""
        found = hashlib.sha256(repr(self.image.shape).encode())
        for image, mask in zip(self.image, self.mask, strict=True):
            found.update(np.ascontiguousarray(image).data)
            found.update(np.ascontiguousarray(mask).data)
        return found.hexdigest()


def join_frames(parts: list[Frames]) -> Frames:
    """One set of several, in order; of one size."""
    return Frames(np.concatenate([p.image for p in parts]), np.concatenate([p.mask for p in parts]))


def render_frames(
    family: str, first: int, count: int, size_px: int, *, processes: int = 1
) -> Frames:
    """Scenes `first` … `first + count - 1` of a family, rendered.

    The result does not depend on `processes`.
    """
    jobs = [(family, first + i, size_px) for i in range(count)]
    image = np.empty((count, size_px, size_px, 3), np.uint8)
    mask = np.empty((count, size_px, size_px), np.uint8)
    if processes <= 1:
        for index, job in enumerate(jobs):
            image[index], mask[index] = _render(job)
    else:
        # One OpenCV thread a process: the processes already fill the cores.
        with multiprocessing.get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
            for index, pair in enumerate(pool.imap(_render, jobs, chunksize=16)):
                image[index], mask[index] = pair
    return Frames(image, mask)


def cached_frames(
    cache: Path | None, family: str, first: int, count: int, size_px: int, *, processes: int = 1
) -> Frames:
    """`render_frames`, kept in a folder when one is given.

    Kept by the arguments and the simulator's own source: after a change to the simulator the
    frames are rendered anew.
    """
    if cache is None:
        return render_frames(family, first, count, size_px, processes=processes)
    path = cache / f"{family}-{first}-{count}-{size_px}-{_simulator_digest()[:12]}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return Frames(stored["image"], stored["mask"])
    frames = render_frames(family, first, count, size_px, processes=processes)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez(part, image=frames.image, mask=frames.mask)
    part.replace(path)
    return frames


def colour_statistics(frames: Frames) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of R, G, B of `image / 255`."""
    sample = frames.image[:: max(1, len(frames) // 256), ::2, ::2].reshape(-1, 3) / 255.0
    return (
        tuple(round(float(v), 5) for v in sample.mean(axis=0)),
        tuple(round(float(v), 5) for v in sample.std(axis=0)),
    )


def _simulator_digest() -> str:
    found = hashlib.sha256()
    for source in sorted(Path(reprocess.simulate.__file__).parent.glob("*.py")):
        if not source.name.startswith(NOT_RENDERING):
            found.update(source.read_bytes())
    return found.hexdigest()


def _render(job: tuple[str, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    family, number, size_px = job
    drawn = draw_scene(family, number, size_px)
    return drawn.image, drawn.mask
