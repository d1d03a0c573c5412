"""The truth rule, and what is stored of it."""

from datetime import date

import numpy as np
import pytest

from reprocess.errors import ArchiveError
from reprocess.simulate.families import TEST, sample_camera
from reprocess.simulate.render import VISIBLE_BACKGROUND, VISIBLE_DN, VISIBLE_NOISE, visible
from reprocess.simulate.truth import DayTruth, load_truth, save_day


def _camera(**changes):
    from dataclasses import replace

    return replace(sample_camera(TEST, np.random.default_rng(0), 96), **changes)


def test_each_limit_of_the_truth_rule_decides_where_it_is_the_largest():
    background = np.array([[10.0, 10.0, 10.0], [10.0, 150.0, 10.0]], np.float32)
    quiet = _camera(read_noise_dn=1.0, shot_noise_dn=0.0)
    limit = np.array([VISIBLE_DN, 150.0 * VISIBLE_BACKGROUND], np.float32)
    assert visible(limit + 0.01, background, quiet).tolist() == [True, True]
    assert visible(limit - 0.01, background, quiet).tolist() == [False, False]
    noisy = _camera(read_noise_dn=30.0, shot_noise_dn=0.0)
    assert visible(np.full(2, 30.0 * VISIBLE_NOISE + 0.1, np.float32), background, noisy).all()
    assert not visible(np.full(2, 30.0 * VISIBLE_NOISE - 0.1, np.float32), background, noisy).any()


def test_shot_noise_raises_the_limit_with_the_background():
    camera = _camera(read_noise_dn=0.0, shot_noise_dn=1.0)
    background = np.full((1, 3), 49.0, np.float32)
    assert visible(np.array([14.01], np.float32), background, camera).all()
    assert not visible(np.array([13.9], np.float32), background, camera).any()


def _day(n=3):
    rng = np.random.default_rng(1)
    table = rng.random((n, 4)).astype(np.float32)
    column = rng.random(n).astype(np.float32)
    return DayTruth(
        time=np.datetime64("2021-06-10T08:00:30", "us") + np.arange(n) * np.timedelta64(60, "s"),
        name=np.array([f"{i}.jpg" for i in range(n)]),
        session=np.array(["quiet"] * n),
        damaged=np.zeros(n, bool),
        label=rng.integers(0, 3, (n, 8, 8)).astype(np.uint8),
        form_kind=np.ones((n, 4), np.uint8),
        form_drift_deg_per_min=table,
        form_change_per_min=table,
        form_peak_dn=table,
        form_area=table,
        sun_elevation_deg=column,
        moon_elevation_deg=column,
        moon_phase=column,
        cloud_cover=column,
        gain=column,
    )


def test_saved_truth_loads_from_the_sample_or_its_truth_folder(tmp_path):
    saved = _day()
    save_day(tmp_path / "truth", date(2021, 6, 10), saved)
    for folder in (tmp_path, tmp_path / "truth"):
        loaded = load_truth(folder)
        assert list(loaded) == [date(2021, 6, 10)]
        day = loaded[date(2021, 6, 10)]
        assert len(day) == 3
        np.testing.assert_array_equal(day.time, saved.time)
        np.testing.assert_array_equal(day.label, saved.label)
        np.testing.assert_array_equal(day.mask, saved.label > 0)


def test_truth_files_have_the_same_bytes_each_time(tmp_path):
    one = save_day(tmp_path / "a", date(2021, 6, 10), _day())
    two = save_day(tmp_path / "b", date(2021, 6, 10), _day())
    assert one.read_bytes() == two.read_bytes()


def test_missing_or_foreign_truth_says_what_was_expected(tmp_path):
    with pytest.raises(ArchiveError, match="YYYYMMDD"):
        load_truth(tmp_path)
    np.savez(tmp_path / "20210610.npz", label=np.zeros(3))
    with pytest.raises(ArchiveError, match=r"20210610\.npz"):
        load_truth(tmp_path)
