"""The noise of the difference statistic, on numbers whose noise is known."""

import numpy as np
import pytest

from reprocess.campaign import Noise
from reprocess.detectors.detector import EvidenceStatus
from reprocess.detectors.noise import (
    FRAMES_MIN,
    MAD_TO_SIGMA,
    NoiseEstimate,
    estimate_noise,
    sweep_thresholds,
)
from reprocess.errors import ConfigurationError

CELLS = 5


def delta_of(n, sigma=(0.5, 2.0), seed=0):
    rng = np.random.default_rng(seed)
    delta = np.empty((n, 2, 2, CELLS))
    delta[:, 0] = rng.normal(0, 1, (n, 2, CELLS)) * np.array(sigma)[:, None]
    delta[:, 1] = 3.4
    return delta.astype(np.float16)


def noise_of(delta, **keys):
    status = np.full(len(delta), EvidenceStatus.OBSERVED, np.uint8)
    return estimate_noise(delta, status, **keys)


def sweep(delta, thresholds, noise=None):
    status = np.full(len(delta), EvidenceStatus.OBSERVED, np.uint8)
    return sweep_thresholds(delta, status, np.ones(delta.shape[-1], bool), thresholds, noise)


def test_sigma_of_normal_noise_is_found_by_channel():
    found = noise_of(delta_of(4000))
    np.testing.assert_allclose(found.sigma_dn[0], 0.5, rtol=0.06)
    np.testing.assert_allclose(found.sigma_dn[1], 2.0, rtol=0.06)
    np.testing.assert_array_equal(found.level_dn, float(np.float16(3.4)))
    np.testing.assert_array_equal(found.n_frames, 4000)
    np.testing.assert_array_equal(found.sky_sigma_dn, np.median(found.sigma_dn, axis=1))


def test_median_absolute_deviation_by_hand():
    delta = np.zeros((11, 2, 2, 1), np.float16)
    delta[:, 0, :, 0] = (np.arange(11) - 2)[:, None]  # median 3; deviations 0 1 1 … 5 5, median 3
    delta[:, 1, :, 0] = np.arange(11)[:, None]
    found = noise_of(delta, frames_min=11)
    np.testing.assert_allclose(found.sigma_dn, 3 * MAD_TO_SIGMA)
    np.testing.assert_array_equal(found.level_dn, 5)


def test_some_aurora_hardly_matters():
    clean, disturbed = delta_of(1000), delta_of(1000)
    disturbed[:100, 0] = 80
    ratio = noise_of(disturbed).sigma_dn / noise_of(clean).sigma_dn
    assert ratio.max() < 1.25
    assert np.std(disturbed[:, 0].astype(float)) > 10  # what a plain standard deviation would say


def test_cells_with_too_few_frames_or_no_variation_get_the_whole_skys():
    delta = delta_of(500)
    delta[FRAMES_MIN - 1 :, ..., 1] = np.nan
    delta[:, 0, :, 2] = 0
    delta[..., 3] = np.nan
    found = noise_of(delta)
    assert found.n_frames.tolist() == [500, FRAMES_MIN - 1, 500, 0, 500]
    for c in (1, 2, 3):
        np.testing.assert_array_equal(found.sigma_dn[:, c], found.sky_sigma_dn)
    np.testing.assert_array_equal(found.level_dn[:, 3], found.sky_level_dn)
    own = found.sigma_dn[:, [0, 4]]
    np.testing.assert_array_equal(found.sky_sigma_dn, np.median(own, axis=1))


@pytest.mark.parametrize("n", [0, FRAMES_MIN - 1])
def test_without_enough_frames_there_is_no_estimate(n):
    with pytest.raises(ConfigurationError, match=f"at least {FRAMES_MIN} without aurora"):
        noise_of(delta_of(n))


def test_frames_that_never_vary_give_no_estimate():
    with pytest.raises(ConfigurationError, match="never varies"):
        noise_of(delta_of(50) * np.float16(0))


def test_only_observed_frames_count():
    delta = delta_of(2 * FRAMES_MIN)
    status = np.full(len(delta), EvidenceStatus.OBSERVED, np.uint8)
    delta[::2] = 99
    status[::2] = EvidenceStatus.SKY_SHIFTED
    found = estimate_noise(delta, status)
    assert found.n_frames.tolist() == [FRAMES_MIN] * CELLS
    np.testing.assert_array_equal(found.sigma_dn, noise_of(delta[1::2]).sigma_dn)
    everywhere = np.ones(CELLS, bool)
    for shares in sweep_thresholds(delta, status, everywhere, [50.0]).values():
        assert shares.tolist() == [0.0]


def test_settings_fit_the_campaign_file():
    found = noise_of(delta_of(200))
    by_cell, whole = found.settings("signed"), found.settings("signed", per_cell=False)
    assert len(Noise(**by_cell).red_dn) == CELLS
    assert Noise(**whole).green_dn == pytest.approx(found.sky_sigma_dn[1], rel=1e-3)
    assert min(by_cell["red_dn"]) > 0
    assert found.settings("absolute", per_cell=False) == {"red_dn": 3.4, "green_dn": 3.4}


def test_sweep_by_hand():
    delta = np.zeros((2, 2, 2, 2), np.float16)
    delta[0, 0, 0] = [3, -3]  # signed red
    delta[0, 0, 1] = [3, 0]  # signed green
    delta[0, 1] = 4  # magnitudes
    delta[1, ..., 0] = np.nan  # one of four cells is not observed
    found = sweep(delta, [2, 3.5])
    expected = {
        ("signed", "and"): [1 / 3, 0],
        ("signed", "or"): [2 / 3, 0],
        ("absolute", "and"): [2 / 3, 2 / 3],
        ("absolute", "or"): [2 / 3, 2 / 3],
    }
    assert set(found) == set(expected)
    for rule, shares in expected.items():
        np.testing.assert_allclose(found[rule], shares)


def test_cells_that_are_hardly_visible_are_left_out_of_the_sweep():
    delta = np.zeros((1, 2, 2, 4), np.float16)
    delta[..., 0] = 9
    status = np.array([EvidenceStatus.OBSERVED], np.uint8)
    visible = np.array([True, True, False, False])
    for shares in sweep_thresholds(delta, status, visible, [1.0]).values():
        assert shares.tolist() == [0.5]


def test_sweep_in_multiples_of_the_noise_is_the_sweep_in_counts_scaled():
    delta = delta_of(300, sigma=(1.0, 1.0))
    two = np.full((2, CELLS), 2.0)
    noise = NoiseEstimate(two, 2 * two, two[:, 0], two[:, 0], np.full(CELLS, 300))
    in_counts = sweep(delta, [1.0, 2.0, 4.0])
    in_noise = sweep(delta, [0.5, 1.0], noise)
    for combine in ("and", "or"):
        signed = in_noise["signed", combine]
        np.testing.assert_array_equal(signed, in_counts["signed", combine][:2])
        absolute = in_noise["absolute", combine]
        np.testing.assert_array_equal(absolute, in_counts["absolute", combine][1:])


def test_sweep_of_nothing_is_nan_not_zero():
    delta = np.full((1, 2, 2, 3), np.nan, np.float16)
    for shares in sweep(delta, [1.0]).values():
        assert np.isnan(shares).all()
