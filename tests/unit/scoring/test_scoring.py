"""Scores by hand: averages over cells, levels and thresholds, confusion, intervals over days."""

import math

import numpy as np
import pytest
import yaml

from reprocess.campaign import campaign_from_mapping
from reprocess.detectors.coverage import cell_shares
from reprocess.detectors.difference import flag_cells
from reprocess.geometry.calibration import epoch_geometry
from reprocess.scoring.bootstrap import day_interval, relative_error
from reprocess.scoring.cells import cell_colours
from reprocess.scoring.confusion import Confusion, confusion
from reprocess.scoring.levels import (
    difference_levels,
    network_levels,
    threshold_at,
    tune_colour,
)
from reprocess.simulate.archive import sample_text

SIZE = 96


@pytest.fixture(scope="module")
def campaign():
    return campaign_from_mapping(yaml.safe_load(sample_text(tiny=True)), source="sample.yaml")


@pytest.fixture(scope="module")
def cellmap(campaign):
    return epoch_geometry(campaign, campaign.camera[0]).cellmap


def test_cell_colours_average_pixels(cellmap):
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[..., 0], image[..., 1] = 10, 20
    image[:, ::2, :, 2] = 100
    colours = cell_colours(image, [cellmap])
    seen = cellmap.n_pixels > 0
    assert (colours[0, seen, 0] == 10).all()
    assert (colours[0, seen, 1] == 20).all()
    inside = cellmap.cell >= 0
    blue = np.bincount(cellmap.cell[inside], image[0, ..., 2][inside], len(seen))[seen]
    np.testing.assert_allclose(colours[0, seen, 2], blue / cellmap.n_pixels[seen], rtol=1e-6)
    assert np.isnan(colours[0, ~seen]).all()


@pytest.mark.parametrize("fraction_min", [60, 127, 254])
def test_a_networks_level_is_the_highest_threshold_that_still_flags(cellmap, fraction_min):
    logits = np.random.default_rng(1).normal(0, 2, (3, 8, 8)).astype(np.float16)
    levels = network_levels(logits, cellmap, 64, fraction_min)
    seen = cellmap.n_pixels > 0
    for threshold in (-1.5, 0.0, 0.7):
        share = cell_shares(logits, cellmap.cell, cellmap.weight, len(seen), threshold)
        flagged = share[:, seen] >= fraction_min
        # Levels are upsampled in float32, shares in float64.
        clear_cut = np.abs(levels[:, seen] - threshold) > 1e-5
        np.testing.assert_array_equal((levels[:, seen] >= threshold)[clear_cut], flagged[clear_cut])
        assert clear_cut.mean() > 0.99
        assert 0 < flagged.mean() < 1


@pytest.mark.parametrize("statistic", ["signed", "absolute"])
@pytest.mark.parametrize("combine", ["and", "or"])
def test_a_differences_level_is_the_k_of_its_rule(statistic, combine):
    rng = np.random.default_rng(2)
    delta = rng.normal(0, 5, (4, 2, 2, 30)).astype(np.float16)
    delta[:, 1] = np.abs(delta[:, 0])
    unit = rng.uniform(0.3, 2, (2, 30))
    levels = difference_levels(delta, unit, statistic, combine)
    for k in (0.5, 2.0, 5.0):
        np.testing.assert_array_equal(levels > k, flag_cells(delta, k * unit, statistic, combine))


def test_threshold_is_the_lowest_within_the_false_cell_rate():
    levels = np.arange(200.0)
    negative = levels < 100
    found = threshold_at(levels, negative, 0.05)
    assert (found.limit, found.false_rate) == (94.0, 0.05)
    assert (levels[negative] > found.limit).mean() == 0.05
    assert threshold_at(levels, negative, 0.0).false_rate == 0.0
    assert threshold_at(levels, negative, 1.0).false_rate == 1.0


def test_equal_levels_are_flagged_together_or_not_at_all():
    levels = np.array([0.0] * 90 + [7.0] * 10)
    assert threshold_at(levels, np.ones(100, bool), 0.05).false_rate == 0.0
    assert threshold_at(levels, np.ones(100, bool), 0.10).false_rate == 0.10
    assert math.isnan(threshold_at(levels, np.zeros(100, bool), 0.05).limit)


def test_the_baseline_is_tuned_to_the_best_there_is():
    rng = np.random.default_rng(3)
    colours = rng.uniform(0, 100, (40, 50, 3)).astype(np.float32)
    colours[..., 2] = colours[..., 0]
    excess = colours[..., 1] - colours[..., 0]
    truth = (excess >= 20) & (colours.mean(axis=2) >= 55)
    everything = np.ones(truth.shape, bool)
    rule = tune_colour(colours, truth, everything)
    assert rule.excess_dn == pytest.approx(20, abs=2)
    assert rule.brightness_dn == pytest.approx(55, abs=2)
    assert confusion(rule.flags(colours), truth, everything).f1 > 0.98
    noisy = truth ^ (rng.random(truth.shape) < 0.2)
    capped = tune_colour(colours, noisy, everything, 0.01)
    assert confusion(capped.flags(colours), noisy, everything).false_rate <= 0.01
    nothing = tune_colour(colours, truth, np.zeros(truth.shape, bool))
    assert not nothing.flags(colours).any()


def test_confusion_by_hand():
    flagged = np.array([1, 1, 1, 0, 0, 1], bool)
    truth = np.array([1, 1, 0, 1, 0, 0], bool)
    scored = np.array([1, 1, 1, 1, 1, 0], bool)
    found = confusion(flagged, truth, scored)
    assert found == Confusion(hits=2, false=1, missed=1, clear=1)
    assert (found.precision, found.recall, found.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert found.false_rate == 0.5
    assert math.isnan(Confusion(0, 0, 0, 5).precision)


def test_relative_error_and_its_interval_over_days():
    observed = np.full(4, 100.0)
    error, low, high = relative_error(np.array([5.0, 10, 0, 0]), np.array([10.0, 20, 0, 0]),
                                      observed)  # fmt: skip
    assert (error, low, high) == (-0.5, -0.5, -0.5)
    error, low, high = relative_error(np.array([0.0, 40, 0, 0]), np.array([20.0, 20, 0, 0]),
                                      observed)  # fmt: skip
    assert (error, low, high) == (0.0, -1.0, 1.0)
    error, low, _ = relative_error(np.array([5.0, 3, 0, 0]), np.array([10.0, 0, 0, 0]), observed)
    assert error == pytest.approx(-0.2)
    assert math.isnan(low)
    assert math.isnan(relative_error(np.ones(4), np.zeros(4), observed)[0])


def test_the_interval_is_that_of_a_mean_over_many_days():
    found = np.tile([0.0, 20.0], 50)
    error, low, high = relative_error(found, np.full(100, 10.0), np.full(100, 50.0))
    # A mean of 100 days of 0 or 2, standard error 0.1.
    assert error == 0.0
    assert low == pytest.approx(-0.196, abs=0.03)
    assert high == pytest.approx(0.196, abs=0.03)


def test_the_interval_of_any_ratio_is_that_of_the_occurrence_error():
    found, true = np.tile([3.0, 20.0, 9.0], 30), np.tile([10.0, 12.0, 0.0], 30)
    low, high = day_interval(np.stack([found, true], axis=1), lambda s: s[:, 0] / s[:, 1] - 1)
    _, *expected = relative_error(found, true, np.full(90, 50.0))
    assert (low, high) == pytest.approx(expected, rel=1e-12)
    assert math.isnan(day_interval(np.array([[3.0, 4.0], [0.0, 0.0]]), lambda s: s[:, 0])[0])


def test_iou_by_hand():
    assert Confusion(hits=2, false=1, missed=1, clear=9).iou == 0.5
