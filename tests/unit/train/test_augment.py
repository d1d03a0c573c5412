"""What augmentation does to a picture is done to its mask, and the sky stays a sky."""

from dataclasses import replace

import numpy as np
import pytest

from reprocess.train.augment import augment
from reprocess.train.recipe import Augmentation

MOVES = replace(
    Augmentation(), gain_log_sigma=0.0, tint_log_sigma=0.0, offset_dn=(0.0, 0.0), blur_share=0.0,
    noise_share=0.0, jpeg_share=0.0,
)  # fmt: skip


def rng(seed):
    return np.random.default_rng(seed)


def test_without_changes_a_frame_comes_out_as_it_went_in(squares, unchanged):
    frames = squares(2, 64)
    image, share, judged = augment(frames.image[0], frames.mask[0], 64, unchanged, rng(0))
    np.testing.assert_array_equal(image, frames.image[0])
    cells = frames.mask[0].reshape(8, 8, 8, 8)
    np.testing.assert_allclose(judged, (cells != 128).mean(axis=(1, 3)), atol=1e-6)
    seen = judged > 0
    expected = (cells == 255).mean(axis=(1, 3))[seen] / (cells != 128).mean(axis=(1, 3))[seen]
    np.testing.assert_allclose(share[seen], expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_augmented_truth_follows_the_picture(seed):
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:20, 30:50] = 200
    mask = np.where(image[:, :, 0] > 0, 255, 0).astype(np.uint8)
    out, share, judged = augment(image, mask, 64, Augmentation(), rng(seed))
    assert out.shape == (64, 64, 3)
    bright = out[:, :, 1].reshape(8, 8, 8, 8).mean(axis=(1, 3)).astype(float)
    assert np.corrcoef(bright.ravel(), share.ravel())[0, 1] > 0.9
    assert (judged == 1).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_horizon_stays_a_horizon(seed):
    """Whatever is drawn, a sky disk stays one whole disk about the same centre."""
    y, x = np.mgrid[:128, :128] - 63.5
    image = np.where(np.hypot(y, x)[..., None] < 50, 180, 3).astype(np.uint8).repeat(3, 2)
    out, _, _ = augment(image, np.zeros((128, 128), np.uint8), 128, MOVES, rng(seed))
    sky = out[:, :, 0] > 90
    yy, xx = np.nonzero(sky)
    assert (yy.mean(), xx.mean()) == pytest.approx((63.5, 63.5), abs=0.3)
    radius = np.hypot(yy - 63.5, xx - 63.5).max()
    assert 50 * 0.85 - 1 < radius < 50 * 1.15 + 1
    assert sky.sum() == pytest.approx(np.pi * radius**2, rel=0.06)  # no hole, nothing beside it


def test_mirroring_happens_to_half_of_the_frames():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 48:] = 100
    only = replace(MOVES, zoom=(1.0, 1.0), turn=False)
    left = [
        augment(image, image[:, :, 0], 64, only, rng(seed))[0][32, 4, 0] == 100
        for seed in range(60)
    ]
    assert 18 < sum(left) < 42


def test_what_is_not_judged_weighs_nothing():
    mask = np.full((64, 64), 128, np.uint8)
    mask[:, 32:] = 255
    image = np.zeros((64, 64, 3), np.uint8)
    still = replace(MOVES, zoom=(1.0, 1.0), turn=False, mirror=False)
    _, share, judged = augment(image, mask, 64, still, rng(0))
    assert (judged[:, :4] == 0).all()
    assert (judged[:, 4:] == 1).all()
    assert (share[:, :4] == 0).all()
    assert (share[:, 4:] == 1).all()


def test_frames_of_another_size_are_scaled(squares, unchanged):
    frames = squares(1, 128)
    image, share, _ = augment(frames.image[0], frames.mask[0], 32, unchanged, rng(0))
    assert image.shape == (32, 32, 3)
    assert share.shape == (4, 4)
    blocks = frames.image[0].reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(image - blocks).max() < 3


def test_channels_keep_their_places_through_jpeg():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 40, 160, 90
    only = replace(MOVES, jpeg_share=1.0, jpeg_quality=(95, 96))
    out, _, _ = augment(image, image[:, :, 0] * 0, 64, only, rng(1))
    assert np.abs(out.reshape(-1, 3).mean(axis=0) - [40, 160, 90]).max() < 3


def test_inputs_are_not_changed(squares):
    frames = squares(1, 64)
    image, mask = frames.image[0].copy(), frames.mask[0].copy()
    augment(frames.image[0], frames.mask[0], 64, Augmentation(), rng(2))
    np.testing.assert_array_equal(frames.image[0], image)
    np.testing.assert_array_equal(frames.mask[0], mask)
