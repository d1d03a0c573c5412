"""Training frames: rendered alike on any number of processes, spoilt without losing the truth."""

import numpy as np
import pytest

from reprocess.train.dataset import (
    Frames,
    augment,
    batch,
    cached_frames,
    colour_statistics,
    render_frames,
)


@pytest.fixture(scope="module")
def frames():
    return render_frames("training", 0, 8, 64)


def test_rendering_does_not_depend_on_the_number_of_processes(frames):
    other = render_frames("training", 0, 8, 64, processes=2)
    np.testing.assert_array_equal(other.image, frames.image)
    np.testing.assert_array_equal(other.aurora, frames.aurora)
    assert frames.aurora.any()


def test_cache_gives_back_what_was_rendered(frames, tmp_path):
    first = cached_frames(tmp_path, "training", 0, 8, 64)
    again = cached_frames(tmp_path, "training", 0, 8, 64)
    for stored in (first, again):
        np.testing.assert_array_equal(stored.image, frames.image)
        np.testing.assert_array_equal(stored.aurora, frames.aurora)


def test_augmented_truth_follows_the_picture():
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:20, 30:50] = 200
    aurora = image[:, :, 0] > 0
    for seed in range(12):
        out, share = augment(image, aurora, 64, np.random.default_rng(seed))
        assert out.shape == (64, 64, 3)
        assert share.shape == (8, 8)
        bright = out[:, :, 1].reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(float)
        assert np.corrcoef(bright.ravel(), share.ravel())[0, 1] > 0.9


def test_share_of_a_cell_is_the_area_that_is_aurora():
    aurora = np.ones((64, 64), bool)
    _, share = augment(np.zeros((64, 64, 3), np.uint8), aurora, 64, np.random.default_rng(0))
    assert share[4, 4] == 1.0
    assert 0 <= share.min() <= share.max() <= 1.0
    _, none = augment(np.zeros((64, 64, 3), np.uint8), ~aurora, 64, np.random.default_rng(0))
    assert not none.any()


def test_batches_follow_the_seed(frames):
    one = batch(frames, 32, 4, np.random.default_rng(5))
    two = batch(frames, 32, 4, np.random.default_rng(5))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[0].shape == (4, 32, 32, 3)
    assert one[1].shape == (4, 4, 4)


def test_colour_statistics_of_a_flat_picture():
    flat = np.zeros((2, 16, 16, 3), np.uint8)
    flat[..., 1] = 51
    mean, std = colour_statistics(Frames(flat, np.zeros((2, 16, 16), bool)))
    assert mean == [0.0, 0.2, 0.0]
    assert std == [0.0, 0.0, 0.0]
