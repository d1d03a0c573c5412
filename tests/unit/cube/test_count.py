from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_year import count_year

from reprocess.cube.count import (
    OUTCOMES,
    Counter,
    fraction_min,
    mlt_bin_index,
    mlt_bin_of_cells,
    mlt_bounds,
    own_mlt_offset_h,
    select_frames,
)

OBSERVED, AURORA, OBSERVED_COMMON, AURORA_COMMON = range(4)


def naive(day, month, mlt_bin, selected, fraction, n_mlt, threshold, compare):
    """Frame by frame and cell by cell, with sets of days."""
    labels = list(fraction)
    n_cells = next(iter(fraction.values())).shape[1]
    counts = np.zeros((4, 12, len(labels), n_mlt, n_cells), dtype=np.int64)
    days: dict[tuple[int, ...], set[int]] = {}
    for i in range(len(day)):
        if not selected[i] or mlt_bin[i] < 0 or month[i] < 0:
            continue
        for cell in range(n_cells):
            common = compare and all(fraction[label][i, cell] != 255 for label in compare)
            for d, label in enumerate(labels):
                value = int(fraction[label][i, cell])
                if value == 255:
                    continue
                outcomes = [OBSERVED] + [AURORA] * (value >= threshold)
                if common and label in compare:
                    outcomes += [OBSERVED_COMMON] + [AURORA_COMMON] * (value >= threshold)
                for outcome in outcomes:
                    index = (outcome, int(month[i]), d, int(mlt_bin[i]), cell)
                    counts[index] += 1
                    days.setdefault(index, set()).add(int(day[i]))
    n_days = np.zeros_like(counts)
    for index, found in days.items():
        n_days[index] = len(found)
    return counts, n_days


@st.composite
def years(draw):
    n = draw(st.integers(0, 24))
    n_cells = draw(st.integers(1, 3))
    labels = draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]))
    values = st.sampled_from([0, 126, 127, 128, 254, 255])

    def column(elements):
        return np.array(draw(st.lists(elements, min_size=n, max_size=n)), dtype=np.int16)

    fraction = {
        label: np.array(
            draw(st.lists(values, min_size=n * n_cells, max_size=n * n_cells)), dtype=np.uint8
        ).reshape(n, n_cells)
        for label in labels
    }
    return {
        "day_index": column(st.integers(0, 4)),
        "month": column(st.integers(0, 11)).astype(np.int8),
        "mlt_bin": column(st.integers(-1, 2)),
        "selected": column(st.integers(0, 1)).astype(bool),
        "fraction": fraction,
        "compare": tuple(draw(st.sets(st.sampled_from(labels)))),
    }


def count(case, threshold=127, frames=slice(None)):
    return count_year(
        case["day_index"][frames],
        case["month"][frames],
        case["mlt_bin"][frames],
        case["selected"][frames],
        {label: a[frames] for label, a in case["fraction"].items()},
        n_mlt=3,
        fraction_min=threshold,
        compare=case["compare"],
    )


def test_one_frame_counts_where_it_is_and_nowhere_else():
    counter = Counter(("a",), n_mlt=24, n_cells=4, fraction_min=127)
    fraction = np.array([[0, 126, 127, 255]], dtype=np.uint8)
    counter.add_day(5, np.array([3], np.int16), np.array([True]), {"a": fraction})
    assert counter.counts[OBSERVED, 5, 0, 3].tolist() == [1, 1, 1, 0]
    assert counter.counts[AURORA, 5, 0, 3].tolist() == [0, 0, 1, 0]
    assert counter.counts.sum() == 4
    assert np.array_equal(counter.n_days, counter.counts)
    assert counter.counts.shape == (len(OUTCOMES), 12, 1, 24, 4)
    assert counter.counts.dtype == np.int32


@pytest.mark.parametrize("threshold", [1, 127, 254])
def test_not_observed_is_never_aurora_nor_no_aurora(threshold):
    counter = Counter(("a", "b"), 1, 2, threshold, compare=("a", "b"))
    nothing = np.full((5, 2), 255, dtype=np.uint8)
    bins, selected = np.zeros(5, np.int16), np.ones(5, bool)
    counter.add_day(0, bins, selected, {"a": nothing, "b": nothing})
    assert counter.counts.sum() == 0
    assert counter.n_days.sum() == 0


def test_frames_without_selection_bin_or_group_are_not_counted():
    counter = Counter(("a",), 2, 1, 1)
    counter.add_day(
        np.array([0, 0, 0, -1]),
        np.array([0, -1, 0, 0], np.int16),
        np.array([True, True, False, True]),
        {"a": np.full((4, 1), 254, np.uint8)},
    )
    assert counter.counts[OBSERVED].sum() == 1


def test_common_takes_frames_and_cells_that_all_compared_labels_observed():
    counter = Counter(("a", "b", "c"), 1, 3, 127, compare=("b", "a"))
    a = np.array([[254, 254, 255], [254, 0, 0]], np.uint8)
    b = np.array([[0, 255, 0], [254, 254, 255]], np.uint8)
    c = np.full((2, 3), 254, np.uint8)
    counter.add_day(0, np.zeros(2, np.int16), np.ones(2, bool), {"a": a, "b": b, "c": c})
    counts = counter.counts[:, 0, :, 0]
    assert counts[OBSERVED].tolist() == [[2, 2, 1], [2, 1, 1], [2, 2, 2]]
    assert counts[OBSERVED_COMMON].tolist() == [[2, 1, 0], [2, 1, 0], [0, 0, 0]]
    assert counts[AURORA_COMMON].tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert counter.n_days[OBSERVED_COMMON, 0, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("absent", [{"b": None}, {}])
def test_a_day_on_which_a_compared_label_has_nothing_has_no_common_frames(absent):
    counter = Counter(("a", "b"), 1, 1, 127, compare=("a", "b"))
    fractions = {"a": np.full((2, 1), 254, np.uint8), **absent}
    counter.add_day(0, np.zeros(2, np.int16), np.ones(2, bool), fractions)
    assert counter.counts[:2].sum(axis=(1, 3, 4)).tolist() == [[2, 0], [2, 0]]
    assert counter.counts[2:].sum() == 0


def test_n_days_counts_a_day_once_when_its_bin_is_left_and_entered_again():
    counter = Counter(("a",), 2, 1, 127)
    bins = np.array([0, 1, 0], np.int16)  # one MLT bin may lie at both ends of a UTC day
    for _ in range(2):
        counter.add_day(0, bins, np.ones(3, bool), {"a": np.full((3, 1), 200, np.uint8)})
    assert counter.counts[AURORA, 0, 0, :, 0].tolist() == [4, 2]
    assert counter.n_days[AURORA, 0, 0, :, 0].tolist() == [2, 2]


@pytest.mark.parametrize("n", [254, 255, 256, 511, 86_400])
def test_more_frames_in_a_bin_than_the_inner_sums_hold(n):
    counter = Counter(("a",), 1, 2, 1, compare=("a",))
    fraction = np.tile(np.array([0, 254], np.uint8), (n, 1))
    counter.add_day(0, np.zeros(n, np.int16), np.ones(n, bool), {"a": fraction})
    assert counter.counts[:, 0, 0, 0].tolist() == [[n, n], [0, n], [n, n], [0, n]]


def test_counts_hold_a_second_cadence_over_many_years():
    counter = Counter(("a",), 1, 1, 1)
    counter.counts[OBSERVED] = 60 * 366 * 86_400
    counter.add_day(0, np.zeros(1, np.int16), np.ones(1, bool), {"a": np.zeros((1, 1), np.uint8)})
    assert counter.counts[OBSERVED, 0, 0, 0, 0] == 60 * 366 * 86_400 + 1


@given(years())
@settings(max_examples=150, deadline=None)
def test_counts_equal_a_frame_by_frame_count(case):
    counts, n_days = count(case)
    wanted, wanted_days = naive(
        case["day_index"],
        case["month"],
        case["mlt_bin"],
        case["selected"],
        case["fraction"],
        3,
        127,
        case["compare"],
    )
    assert np.array_equal(counts, wanted)
    assert np.array_equal(n_days, wanted_days)


@given(years(), st.permutations(range(5)))
@settings(max_examples=60, deadline=None)
def test_days_in_any_order_and_in_pieces_of_days_give_the_same_counts(case, order):
    counts, n_days = count(case)
    pieces = [count(case, frames=np.flatnonzero(case["day_index"] == day)) for day in order]
    assert np.array_equal(sum(piece[0] for piece in pieces), counts)
    assert np.array_equal(sum(piece[1] for piece in pieces), n_days)
    shuffled = np.concatenate([np.flatnonzero(case["day_index"] == day)[::-1] for day in order])
    again = count(case, frames=shuffled)
    assert np.array_equal(again[0], counts)
    assert np.array_equal(again[1], n_days)


@given(years())
@settings(max_examples=30, deadline=None)
def test_relations_that_always_hold(case):
    counts, n_days = count(case)
    assert (counts[AURORA] <= counts[OBSERVED]).all()
    assert (counts[OBSERVED_COMMON] <= counts[OBSERVED]).all()
    assert (counts[AURORA_COMMON] <= counts[AURORA]).all()
    assert (counts[AURORA_COMMON] <= counts[OBSERVED_COMMON]).all()
    assert ((n_days > 0) == (counts > 0)).all()
    assert (n_days <= counts).all()


def test_counts_equal_xarray_groupby_on_a_random_month():
    rng = np.random.default_rng(20180401)
    n, n_cells = 3000, 7
    fraction = rng.integers(0, 256, (n, n_cells), dtype=np.uint8)
    fraction[rng.random((n, n_cells)) < 0.3] = 255
    mlt = mlt_bin_index(rng.uniform(0, 24, n).astype(np.float32), 24)
    day = np.arange(n) // 300
    counts, _ = count_year(
        day,
        np.full(n, 3, np.int8),
        mlt,
        np.ones(n, bool),
        {"a": fraction},
        n_mlt=24,
        fraction_min=127,
    )
    frames = xr.DataArray(fraction, dims=("time", "cell"), coords={"mlt": ("time", mlt)})
    with xr.set_options(use_flox=False):
        observed = (frames != 255).groupby("mlt").sum()
        aurora = ((frames != 255) & (frames >= 127)).groupby("mlt").sum()
    assert np.array_equal(counts[OBSERVED, 3, 0], observed.transpose("mlt", "cell"))
    assert np.array_equal(counts[AURORA, 3, 0], aurora.transpose("mlt", "cell"))


def test_inputs_are_not_modified():
    counter = Counter(("a", "b"), 1, 2, 127, compare=("a", "b"))
    a, b = np.array([[1, 255]], np.uint8), np.array([[255, 200]], np.uint8)
    a.flags.writeable = b.flags.writeable = False
    counter.add_day(0, np.zeros(1, np.int16), np.ones(1, bool), {"a": a, "b": b})
    assert a.tolist() == [[1, 255]]
    assert counter.counts[OBSERVED_COMMON].sum() == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": 12}, "group outside"),
        ({"group": -2}, "group outside"),
        ({"mlt_bin": np.array([2, 0], np.int16)}, "MLT bin outside"),
        ({"selected": np.ones(3, bool)}, "selected"),
        ({"selected": np.ones(2, np.int8)}, "selected"),
        ({"fractions": {"a": np.zeros((2, 2), np.uint8)}}, r"expected uint8 \(2, 1\)"),
        ({"fractions": {"a": np.zeros((2, 1), np.float32)}}, "float32"),
        ({"fractions": {"z": np.zeros((2, 1), np.uint8)}}, "expected some of"),
        ({"group": np.zeros(3, np.int64)}, r"group: found \(3,\), expected one or 2"),
        ({"group": np.zeros(1), "mlt_bin": np.zeros((2, 1), np.int16)}, "expected one or 2"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    counter = Counter(("a",), 2, 1, 127)
    day = {
        "group": 0,
        "mlt_bin": np.zeros(2, np.int16),
        "selected": np.ones(2, bool),
        "fractions": {"a": np.zeros((2, 1), np.uint8)},
    }
    with pytest.raises(ValueError, match=message):
        counter.add_day(**{**day, **change})
    assert counter.counts.sum() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((("a", "a"), 1, 1, 127), "each label once"),
        ((("a",), 1, 1, 0), "fraction_min"),
        ((("a",), 1, 1, 255), "fraction_min"),
        ((("a",), 1, 1, 127, ("b",)), "compare"),
    ],
)
def test_counters_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Counter(*arguments)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.5, 127), (1.0, 254), (0.25, 64), (1e-6, 1), (100 / 254, 100)]
)
def test_fraction_min(share, wanted):
    assert fraction_min(share) == wanted


@given(st.integers(1, 254))
def test_fraction_min_of_a_stored_step_is_that_step(step):
    assert fraction_min(step / 254) == step


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan")])
def test_fraction_min_refuses_other_shares(share):
    with pytest.raises(ValueError, match="cell_fraction_min"):
        fraction_min(share)


def test_mlt_bins_begin_at_the_hour_or_are_centred_on_it():
    hours = np.array([0.0, 0.49, 0.5, 0.99, 1.0, 23.49, 23.5, 23.999, np.nan], np.float32)
    assert mlt_bin_index(hours, 24).tolist() == [0, 0, 0, 0, 1, 23, 23, 23, -1]
    assert mlt_bin_index(hours, 24, centred=True).tolist() == [0, 0, 1, 1, 1, 23, 0, 0, -1]


def test_mlt_turns_are_the_same_hour():
    hours = np.array([24.0, 24.5, -0.5, -1e-300, np.inf])
    assert mlt_bin_index(hours, 24).tolist() == [0, 0, 23, 0, -1]


def test_mlt_bounds():
    centres, bounds = mlt_bounds(24)
    assert centres[:2].tolist() == [0.5, 1.5]
    assert bounds[-1].tolist() == [23.0, 24.0]
    centres, bounds = mlt_bounds(12, centred=True)
    assert centres[:2].tolist() == [0.0, 2.0]
    assert bounds[0].tolist() == [-1.0, 1.0]
    with pytest.raises(ValueError, match="n_bins"):
        mlt_bounds(0)


@given(st.floats(0, 24, exclude_max=True, width=32), st.integers(1, 1440), st.booleans())
def test_mlt_bin_index_is_the_bin_whose_bounds_hold_the_hour(hour, n_bins, centred):
    index = int(mlt_bin_index(np.array([hour], np.float32), n_bins, centred)[0])
    lower, upper = mlt_bounds(n_bins, centred)[1][index]
    assert any(lower <= turned < upper for turned in (hour, hour - 24.0))


def test_select_frames_takes_the_limit_itself_and_no_missing_elevation():
    sun = np.array([-15.0, -14.99, -20.0, np.nan], np.float32)
    moon = np.array([5.0, -5.0, 0.0, -5.0], np.float32)
    assert select_frames(sun, moon, -15.0, None).tolist() == [True, False, True, False]
    assert select_frames(sun, moon, -15.0, 0.0).tolist() == [False, False, True, False]
    assert select_frames(sun, np.full(4, np.nan, np.float32), -15.0, 0.0).sum() == 0


def test_bins_of_the_cells_are_counted_as_xarray_counts_them() -> None:
    """Oracle: one-hot bins, summed by xarray over the frames of each month."""
    rng = np.random.default_rng(8)
    n_days, n, n_cells, n_mlt = 4, 200, 9, 6
    labels = ("a", "b")
    mlt = rng.uniform(0, 24, (n_days, n)).astype(np.float32)
    mlt[rng.random((n_days, n)) < 0.1] = np.nan
    offset = rng.uniform(-4, 4, n_cells)
    offset[2] = np.nan
    fraction = {k: rng.integers(0, 256, (n_days, n, n_cells), dtype=np.uint8) for k in labels}
    for values in fraction.values():
        values[rng.random(values.shape) < 0.2] = 255
    selected = rng.random((n_days, n)) < 0.8
    month = [0, 0, 3, 11]
    counter = Counter(labels, n_mlt, n_cells, fraction_min=127, compare=labels)
    for day in range(n_days):
        bins = mlt_bin_of_cells(mlt[day], offset, n_mlt)
        counter.add_day(month[day], bins, selected[day], {k: fraction[k][day] for k in labels})

    dims = ("day", "frame", "cell")
    hour = xr.DataArray(mlt, dims=dims[:2]).astype(float) + xr.DataArray(offset, dims="cell")
    bin_of = np.floor((hour % 24) / (24 / n_mlt))
    hot = (bin_of == xr.DataArray(np.arange(n_mlt), dims="mlt")) & xr.DataArray(
        selected, dims=dims[:2]
    )
    arrays = {k: xr.DataArray(v, dims=dims) for k, v in fraction.items()}
    both = (arrays["a"] != 255) & (arrays["b"] != 255)
    for i, label in enumerate(labels):
        seen = arrays[label] != 255
        lit = seen & (arrays[label] >= 127)
        for outcome, kept in enumerate((seen, lit, seen & both, lit & both)):
            found = (hot & kept).sum("frame")
            for m in set(month):
                days = [d for d in range(n_days) if month[d] == m]
                one = found.isel(day=days).transpose("day", "mlt", "cell")
                assert np.array_equal(counter.counts[outcome, m, i], one.sum("day"))
                assert np.array_equal(counter.n_days[outcome, m, i], (one > 0).sum("day"))
    assert counter.counts[..., 2].sum() == 0  # a cell without an MLT of its own is nowhere
    assert counter.counts.sum() > 0


def test_bins_of_cells_that_all_share_the_station_s_mlt_are_the_station_s() -> None:
    rng = np.random.default_rng(2)
    fraction = {"a": rng.integers(0, 256, (500, 5), dtype=np.uint8)}
    mlt = rng.uniform(0, 24, 500).astype(np.float32)
    selected = np.ones(500, bool)
    one, other = (Counter(("a",), 24, 5, 127, ("a",)) for _ in range(2))
    one.add_day(1, mlt_bin_index(mlt, 24), selected, fraction)
    other.add_day(1, mlt_bin_of_cells(mlt, np.zeros(5), 24), selected, fraction)
    assert np.array_equal(one.counts, other.counts)
    assert np.array_equal(one.n_days, other.n_days)


def test_bins_of_cells_of_a_wrong_shape_are_refused() -> None:
    counter = Counter(("a",), 24, 5, 127)
    with pytest.raises(ValueError, match=r"mlt_bin: found \(3, 4\), expected \(3, 5\)"):
        counter.add_day(
            0, np.zeros((3, 4), np.int16), np.ones(3, bool), {"a": np.zeros((3, 5), np.uint8)}
        )


def test_cells_below_the_limit_have_no_mlt_of_their_own() -> None:
    found = own_mlt_offset_h([1.0, 2.0, 3.0], [10.0, 80.0, 80.1], 10.0)
    assert np.isfinite(found).tolist() == [True, True, False]
