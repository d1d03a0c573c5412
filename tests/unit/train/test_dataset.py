"""Training frames: rendered alike on any number of processes, kept until the simulator changes."""

import numpy as np
import pytest

from reprocess.train import dataset
from reprocess.train.dataset import (
    Frames,
    cached_frames,
    colour_statistics,
    join_frames,
    render_frames,
)


@pytest.fixture(scope="module")
def frames():
    return render_frames("training", 0, 8, 64)


def test_rendering_does_not_depend_on_the_number_of_processes(frames):
    other = render_frames("training", 0, 8, 64, processes=2)
    np.testing.assert_array_equal(other.image, frames.image)
    np.testing.assert_array_equal(other.mask, frames.mask)
    assert frames.aurora.any()


def test_cache_gives_back_what_was_rendered_until_the_simulator_changes(
    frames, tmp_path, monkeypatch
):
    cached_frames(tmp_path, "training", 0, 8, 64)
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "render_frames", lambda *_a, **_k: pytest.fail("rendered again"))
        again = cached_frames(tmp_path, "training", 0, 8, 64)
    np.testing.assert_array_equal(again.image, frames.image)
    np.testing.assert_array_equal(again.mask, frames.mask)
    monkeypatch.setattr(dataset, "_simulator_digest", lambda: "0" * 64)
    fewer = render_frames("training", 0, 2, 64)
    monkeypatch.setattr(dataset, "render_frames", lambda *_a, **_k: fewer)
    assert len(cached_frames(tmp_path, "training", 0, 8, 64)) == 2


def test_share_of_aurora_is_of_what_is_judged():
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, :4] = 255  # 64 pixels
    mask[0, 4:12] = 128  # 128 pixels
    frames = Frames(np.zeros((1, 16, 16, 3), np.uint8), mask)
    assert frames.aurora_share == 0.5


def test_digest_tells_images_and_masks_apart(squares):
    frames, same, other = squares(4, 32), squares(4, 32), squares(4, 32)
    assert frames.digest() == same.digest()
    other.mask[3, 0, 0] = 128
    assert other.digest() != frames.digest()


def test_sets_of_two_kinds_are_joined_in_order(squares):
    one, two = squares(2, 32, 1), squares(3, 32, 2)
    whole = join_frames([one, two])
    assert len(whole) == 5
    np.testing.assert_array_equal(whole.image[2:], two.image)


def test_images_and_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="images of"):
        Frames(np.zeros((1, 16, 16, 3), np.uint8), np.zeros((1, 8, 8), np.uint8))


def test_colour_statistics_of_a_flat_picture():
    flat = np.zeros((2, 16, 16, 3), np.uint8)
    flat[..., 1] = 51
    mean, std = colour_statistics(Frames(flat, np.zeros((2, 16, 16), np.uint8)))
    assert mean == (0.0, 0.2, 0.0)
    assert std == (0.0, 0.0, 0.0)
