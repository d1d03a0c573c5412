"""Frames that a tiny network can learn in seconds: bright squares on a dark, noisy sky."""

import numpy as np
import pytest
import torch

from reprocess.train.dataset import Frames
from reprocess.train.recipe import NO_AUGMENTATION, Recipe


def square_frames(n, size_px, seed=0):
    """n frames, half of them with a green square, whose border is not judged."""
    rng = np.random.default_rng(seed)
    image = rng.integers(5, 35, (n, size_px, size_px, 3)).astype(np.uint8)
    mask = np.zeros((n, size_px, size_px), np.uint8)
    for i in range(0, n, 2):
        side = size_px // 3
        y, x = rng.integers(0, size_px - side, 2)
        mask[i, y : y + side, x : x + side] = 128
        mask[i, y + 2 : y + side - 2, x + 2 : x + side - 2] = 255
        image[i, y : y + side, x : x + side, 1] += 120
    return Frames(image, mask)


@pytest.fixture(scope="session")
def squares():
    return square_frames


@pytest.fixture(scope="session")
def small_recipe():
    """A recipe of few small steps; keywords replace its settings."""

    def make(**changes):
        settings = {
            "size_px": 64, "batch_frames": 4, "steps": 6, "small_share": 0.34,
            "evaluate_every": 2, "patience": None, "seed": 3,
        }  # fmt: skip
        return Recipe(**{**settings, **changes})

    return make


@pytest.fixture(scope="session")
def unchanged():
    return NO_AUGMENTATION


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    """One thread, so that results are the same on any machine; the randomness of others kept."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(before)
