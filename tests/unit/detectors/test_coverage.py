"""Upsampling against torch, and the share of a cell against exact arithmetic."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from reprocess.detectors.coverage import AT_ONCE, aurora_mask, cell_shares, logit


def torch_upsample(coarse, height, width, dtype):
    tensor = torch.from_numpy(coarse.astype(np.float64)).to(dtype)[None, None]
    fine = interpolate(tensor, size=(height, width), mode="bilinear", align_corners=False)
    return fine[0, 0].numpy()


@pytest.mark.parametrize("n", [32, 4, 33, 1, 64])
def test_mask_is_torchs_upsampling_compared_bit_for_bit_at_the_networks_stride(n):
    coarse = np.random.default_rng(n).normal(0, 4, (2, n, n)).astype(np.float16)
    for i in range(2):
        fine = torch_upsample(coarse[i], 8 * n, 8 * n, torch.float64)
        # Values that occur are the hardest thresholds: one bit of difference would show.
        for threshold in (0.0, *np.random.default_rng(i).choice(fine.ravel(), 40)):
            found = aurora_mask(coarse, 8 * n, threshold)[i]
            np.testing.assert_array_equal(found, fine >= threshold)


@pytest.mark.parametrize(("coarse_px", "size_px"), [(5, 17), (7, 50), (10, 3)])
def test_mask_is_torchs_at_any_ratio(coarse_px, size_px):
    coarse = np.random.default_rng(1).normal(0, 4, (1, coarse_px, coarse_px)).astype(np.float16)
    fine = torch_upsample(coarse[0], size_px, size_px, torch.float64)
    np.testing.assert_array_equal(aurora_mask(coarse, size_px, 0.1)[0], fine >= 0.1)


def test_upsampling_by_hand():
    coarse = np.array([[[0.0, 8.0], [0.0, 8.0]]])
    # across: four pixels clamped to 0, then 0.5, 1.5 … 7.5, then four clamped to 8
    for threshold, first in [(0.5, 4), (0.51, 5), (7.5, 11), (8.0, 12)]:
        mask = aurora_mask(coarse, 16, threshold)
        assert mask.shape == (1, 16, 16)
        assert (mask == (np.arange(16) >= first)).all()


def test_mask_at_one_half_is_softmax_at_one_half():
    rng = np.random.default_rng(5)
    background, aurora = rng.normal(0, 3, (2, 16, 16)).astype(np.float32)
    difference = (aurora - background)[None]
    both = torch.from_numpy(np.stack([background, aurora])[None].astype(np.float64))
    fine = interpolate(both, size=(128, 128), mode="bilinear", align_corners=False)
    probability = torch.softmax(fine, dim=1)[0, 1].numpy()
    for p in (0.5, 0.8):
        mask = aurora_mask(difference, 128, logit(p))[0]
        np.testing.assert_array_equal(mask, probability >= p)


def test_a_logit_that_is_not_a_number_is_not_aurora():
    assert not aurora_mask(np.full((1, 2, 2), np.nan), 16, -99.0).any()


def test_logit_of_one_half_is_exactly_zero():
    assert logit(0.5) == 0.0
    assert logit(0.9) == pytest.approx(math.log(9))
    assert aurora_mask(np.zeros((1, 1, 1)), 8, logit(0.5)).all()
    cell, weight = np.zeros((8, 8)), np.full((8, 8), 1e-3)
    assert shares_of(np.zeros((1, 1, 1)), cell, weight).tolist() == [[254]]


def shares_of(coarse, cell, weight, n_cells=1, probability=0.5):
    return cell_shares(
        np.asarray(coarse, np.float16),
        np.asarray(cell, np.int16),
        np.asarray(weight, np.float32),
        n_cells,
        logit(probability),
    )


def flagged_pixels(flags, weights):
    """A row of pixels on a grid of their own, so that each is flagged on purpose."""
    coarse = np.where(flags, 1.0, -1.0)[None, None]
    return shares_of(coarse, np.zeros((1, len(flags))), np.asarray(weights)[None])


@pytest.mark.parametrize(
    ("flags", "weights", "expected"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.7], 254),
        ([0, 0, 0], [0.1, 0.2, 0.7], 0),
        ([1, 0], [0.3, 0.3], 127),
        ([1, 0], [0.3, np.nextafter(np.float32(0.3), np.float32(1))], 126),
        ([0, 1], [0.3, np.nextafter(np.float32(0.3), np.float32(1))], 127),
        ([1, 0, 0, 0], [1, 1, 1, 1], 63),
    ],
)
def test_share_is_by_solid_angle_and_half_is_127(flags, weights, expected):
    assert flagged_pixels(np.array(flags, bool), weights).tolist() == [[expected]]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(1, 40))
def test_127_means_one_half_or_more_exactly(data, n):
    weight = st.floats(2.0**-20, 2.0**-3, width=32)
    weights = data.draw(st.lists(weight, min_size=n, max_size=n))
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if data.draw(st.booleans()):  # exactly one half, added up in another order
        weights, flags = weights + weights[::-1], np.concatenate([flags, ~flags[::-1]])
    exact = [Fraction(float(np.float32(w))) for w in weights]
    share = sum(w for w, f in zip(exact, flags, strict=True) if f) / sum(exact)
    (found,) = flagged_pixels(flags, weights)[0]
    assert (found >= 127) == (share >= Fraction(1, 2))
    assert found == math.floor(254 * share)


def test_shares_are_numpys():
    rng = np.random.default_rng(7)
    cell = rng.integers(-1, 20, (64, 64)).astype(np.int16)
    weight = np.where(cell >= 0, rng.random((64, 64)) / 1000, 0).astype(np.float32)
    coarse = rng.normal(0, 2, (3, 8, 8)).astype(np.float16)
    found = shares_of(coarse, cell, weight, 20, 0.7)
    for i in range(3):
        mask = torch_upsample(coarse[i], 64, 64, torch.float64) >= math.log(0.7 / 0.3)
        for c in range(20):
            inside = cell == c
            exact = [sum(map(Fraction, map(float, weight[inside & m]))) for m in (mask, True)]
            assert found[i, c] == math.floor(254 * exact[0] / exact[1])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), height=st.integers(1, 4), width=st.integers(1, 4))
def test_shares_are_the_masks_also_where_logits_are_at_the_threshold(data, height, width):
    """Few values, so that sources below, at and above the threshold meet in every way."""
    value = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 60000.0, 2.0**-24])
    flat = data.draw(st.lists(value, min_size=height * width, max_size=height * width))
    coarse = np.array(flat, np.float16).reshape(1, height, width)
    side = 8 * max(height, width)
    coarse = np.pad(coarse, ((0, 0), (0, side // 8 - height), (0, side // 8 - width)), "edge")
    threshold = data.draw(st.sampled_from([0.0, 0.5, 1.0, 0.25]))
    mask = aurora_mask(coarse, side, threshold)[0]
    cell = np.arange(side * side, dtype=np.int16).reshape(side, side)
    weight = np.full((side, side), 1e-3, np.float32)
    share = cell_shares(coarse, cell, weight, side * side, threshold)[0]
    np.testing.assert_array_equal(share == 254, mask.ravel())


def test_a_cell_without_solid_angle_and_a_frame_without_a_number_are_not_observed():
    coarse = np.ones((3, 2, 2), np.float16)
    coarse[1, 0, 0] = np.nan
    coarse[2, 1, 1] = np.inf
    found = shares_of(coarse, np.zeros((16, 16)), np.full((16, 16), 1e-3), n_cells=2)
    assert found.tolist() == [[254, 255], [255, 255], [255, 255]]


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_threads_change_no_share(n):
    rng = np.random.default_rng(3)
    coarse = rng.normal(0, 2, (n, 8, 8)).astype(np.float16)
    cell = rng.integers(-1, 20, (64, 64)).astype(np.int16)
    weight = (rng.random((64, 64)) / 1000).astype(np.float32)
    found = [cell_shares(coarse, cell, weight, 20, 0.0, threads) for threads in (1, 2, 3, 8)]
    assert all(np.array_equal(f, found[0]) for f in found)
    assert found[0].shape == (n, 20)


def test_a_higher_threshold_never_adds_aurora():
    rng = np.random.default_rng(9)
    coarse = rng.normal(0, 3, (2, 8, 8)).astype(np.float16)
    cell = rng.integers(0, 10, (64, 64))
    weight = rng.random((64, 64)) / 1000
    shares = [shares_of(coarse, cell, weight, 10, p) for p in (0.1, 0.5, 0.9, 0.999)]
    for lower, higher in pairwise(shares):
        assert (higher <= lower).all()
    assert (shares[-1] < shares[0]).any()


def test_arguments_are_not_changed():
    coarse = np.ones((1, 2, 2), np.float16)
    cell, weight = np.zeros((16, 16), np.int16), np.full((16, 16), 1e-3, np.float32)
    for array in (coarse, cell, weight):
        array.flags.writeable = False
    assert cell_shares(coarse, cell, weight, 1, 0.0).tolist() == [[254]]


@pytest.mark.parametrize("frames", [1, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 5])
def test_frames_side_by_side_are_as_each_alone(frames):
    rng = np.random.default_rng(frames)
    cell = rng.integers(-1, 9, (40, 40)).astype(np.int16)
    weight = rng.uniform(0, 1e-3, (40, 40)).astype(np.float32)
    coarse = rng.normal(rng.normal(0, 3, (frames, 1, 1)), 1, (frames, 5, 5)).astype(np.float16)
    coarse[::7, 0, 0] = np.nan
    coarse[3::11, 2, 3] = -np.inf
    together = shares_of(coarse, cell, weight, 9)
    alone = np.concatenate([shares_of(c[None], cell, weight, 9) for c in coarse])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(
        (together == 255).all(axis=1), ~np.isfinite(coarse).all(axis=(1, 2))
    )
    for threads in (2, 5):
        again = cell_shares(coarse, cell, weight, 9, 0.0, threads)
        np.testing.assert_array_equal(again, together)


def test_no_frames_have_no_shares():
    assert shares_of(np.empty((0, 4, 4)), np.zeros((8, 8)), np.ones((8, 8))).shape == (0, 1)
