"""Which frames a step sees, prepared ahead of it by threads.

Nothing here has a state: the frame at position p of the training, and what is done to it, follow
from the seed and p alone. A training is therefore resumed at a position, any number of threads
prepares the same frames, and processes that share a batch see together what one alone would.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprocess.train.augment import augment
from reprocess.train.dataset import Frames
from reprocess.train.recipe import Recipe

ORDER, CHANGES = 11, 13
"""Streams of the seed: the order of the frames, and what is done to each."""
AHEAD = 2
"""Batches prepared ahead of the one in use."""

Example = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Batch:
    """One process's part of a step's frames; see `augment` for the arrays, n first."""

    step: int
    first: int
    """Position in the training of the whole step's first frame."""
    count: int
    """Frames of the whole step."""
    image: NDArray[np.uint8]
    share: NDArray[np.float32]
    judged: NDArray[np.float32]


def frame_at(position: int, n_frames: int, seed: int) -> int:
    """Index of the frame at a position: all frames once, in a new order each time round."""
    epoch, index = divmod(position, n_frames)
    return int(_order(n_frames, seed, epoch)[index])


def example(frames: Frames, position: int, size_px: int, recipe: Recipe) -> Example:
    """The frame at a position, as the network sees it there."""
    index = frame_at(position, len(frames), recipe.seed)
    rng = np.random.default_rng([recipe.seed, CHANGES, position])
    return augment(frames.image[index], frames.mask[index], size_px, recipe.augmentation, rng)


def batches(
    frames: Frames,
    recipe: Recipe,
    step: int = 0,
    first: int = 0,
    *,
    rank: int = 0,
    ranks: int = 1,
    threads: int = 1,
) -> Generator[Batch, None, None]:
    """Batches from a step to the end of the recipe.

    Parameters
    ----------
    step, first : where to begin: the step, and the position of its first frame
    rank, ranks : this process prepares positions `first + rank`, then every `ranks`-th
    threads : prepare frames ahead; 0 prepares them when they are asked for. Never changes what
        comes out.
    """
    if threads == 0:
        while step < recipe.steps:
            count, size = recipe.shape(step)
            places = range(first + rank, first + count, ranks)
            yield _stack(step, first, count, [example(frames, p, size, recipe) for p in places])
            step, first = step + 1, first + count
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="frames") as pool:
        waiting: deque[tuple[int, int, int, list[Future[Example]]]] = deque()
        try:
            while step < recipe.steps or waiting:
                while step < recipe.steps and len(waiting) <= AHEAD:
                    count, size = recipe.shape(step)
                    places = range(first + rank, first + count, ranks)
                    parts = [pool.submit(example, frames, p, size, recipe) for p in places]
                    waiting.append((step, first, count, parts))
                    step, first = step + 1, first + count
                at, begin, count, parts = waiting.popleft()
                yield _stack(at, begin, count, [part.result() for part in parts])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@functools.lru_cache(maxsize=2)
def _order(n_frames: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, ORDER, epoch]).permutation(n_frames)


def _stack(step: int, first: int, count: int, examples: list[Example]) -> Batch:
    image, share, judged = (np.stack(arrays) for arrays in zip(*examples, strict=True))
    return Batch(step, first, count, image, share, judged)
