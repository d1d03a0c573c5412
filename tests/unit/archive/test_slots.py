"""The grid of slots: hand-made cases, then what always holds."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprocess.archive.slots import SURPLUS, place

DAY = date(2020, 6, 21)
MIDNIGHT = np.datetime64("2020-06-21", "us")
DAY_US = 86_400_000_000


def _times(*seconds):
    return MIDNIGHT + np.array([round(s * 1e6) for s in seconds], "timedelta64[us]")


def _place(*seconds, cadence_s=60, phase_s=0.0):
    return place(_times(*seconds), DAY, cadence_s, phase_s).tolist()


def test_floor_of_time_by_cadence():
    assert _place(0, 60, 180, 86_399.999999) == [0, 1, 3, 1439]


def test_frames_at_30_s_with_phase_30():
    assert _place(30, 90, 150, cadence_s=60, phase_s=30.0) == [0, 1, 2]


def test_frames_at_30_s_with_phase_0_are_mid_slot():
    assert _place(30, 90, 150, 86_370) == [0, 1, 2, 1439]


def test_a_frame_before_the_phase_stays_in_the_day():
    assert _place(5, 95, phase_s=30.0) == [0, 1]


def test_a_frame_just_before_midnight_stays_in_the_day():
    assert _place(86_399.999999) == [1439]
    assert _place(86_399.999999, phase_s=30.0) == [1439]


def test_two_frames_before_the_phase_share_slot_0_and_one_is_surplus():
    assert _place(5, 25, phase_s=30.0) == [SURPLUS, 0]


def test_taken_slot_gives_way_to_the_free_neighbour_behind():
    assert _place(65, 95) == [0, 1]


def test_taken_slot_gives_way_to_the_free_neighbour_ahead():
    assert _place(90, 115) == [1, 2]


def test_no_free_neighbour_is_surplus():
    assert _place(30, 65, 95, 150) == [0, SURPLUS, 1, 2]


def test_a_neighbour_on_the_far_side_is_not_tried():
    """At 65 s slot 0 is near and taken; slot 2 is free but 55 s away."""
    assert _place(30, 65, 95) == [0, SURPLUS, 1]


def test_equally_near_mid_slot_the_earlier_stays():
    assert _place(80, 100) == [1, 2]


def test_jitter_over_the_edge_keeps_both_frames():
    """A camera at :00 +- 1 s: the slot left empty takes the frame that came early."""
    assert _place(0.5, 59.5, 120.5) == [0, 1, 2]


def test_the_nearest_of_two_wins_a_free_neighbour():
    assert _place(90, 112, 117) == [1, SURPLUS, 2]


def test_first_and_last_slot_have_one_neighbour():
    assert _place(1, 30) == [SURPLUS, 0]
    assert _place(86_370, 86_399) == [1439, SURPLUS]


def test_dense_archive_keeps_the_frame_nearest_mid_slot():
    slot = place(MIDNIGHT + np.arange(86_400) * np.timedelta64(1, "s"), DAY, 60, 0.0)
    kept = np.flatnonzero(slot >= 0)
    assert kept.tolist() == list(range(30, 86_400, 60))
    assert slot[kept].tolist() == list(range(1440))


def test_a_dense_hour_spills_one_frame_on_each_side():
    seconds = np.arange(3600, 7200)
    slot = place(MIDNIGHT + seconds * np.timedelta64(1, "s"), DAY, 60, 0.0)
    assert sorted(slot[slot >= 0].tolist()) == list(range(59, 121))
    assert seconds[slot == 59].tolist() == [3600]
    assert seconds[slot == 120].tolist() == [7199]


def test_one_slot_a_day():
    assert _place(100, 43_200, 80_000, cadence_s=86_400) == [SURPLUS, 0, SURPLUS]


def test_no_frames():
    slot = _place()
    assert slot == []


@pytest.mark.parametrize("second", [-1e-6, 86_400])
def test_a_frame_of_another_day_is_an_error(second):
    with pytest.raises(ValueError, match="not all of 2020-06-21"):
        _place(second)


def test_frames_out_of_order_are_an_error():
    with pytest.raises(ValueError, match="in order"):
        _place(10, 5)


def test_input_is_not_changed():
    times = _times(65, 95, 100)
    before = times.copy()
    place(times, DAY, 60, 30.0)
    assert np.array_equal(times, before)


@st.composite
def archives(draw):
    """Times of a day, often near slot edges and often equal; cadence; phase."""
    cadence = draw(st.sampled_from([1, 30, 60, 300, 3600, 43_200, 86_400]))
    phase_us = draw(st.sampled_from([0, cadence * 500_000]) | st.integers(0, cadence * 10**6 - 1))
    slots = st.integers(0, min(86_400 // cadence - 1, 8)) | st.integers(0, 86_400 // cadence - 1)
    offsets = st.sampled_from([-1, 0, 1, cadence * 500_000 - 1, cadence * 500_000]) | st.integers(
        -cadence * 10**6, cadence * 10**6
    )
    pairs = draw(st.lists(st.tuples(slots, offsets), max_size=40))
    us = sorted((phase_us + k * cadence * 10**6 + o) % DAY_US for k, o in pairs)
    return np.array(us, np.int64), cadence, phase_us


def _placed(us, cadence, phase_us):
    return place(MIDNIGHT + us.astype("timedelta64[us]"), DAY, cadence, phase_us / 1e6)


def _natural(us, cadence, phase_us):
    return np.maximum((us - phase_us) // (cadence * 10**6), 0)


@settings(max_examples=300, deadline=None)
@given(archives())
def test_each_slot_at_most_once_each_frame_at_most_one_slot(archive):
    us, cadence, phase_us = archive
    slot = _placed(us, cadence, phase_us)
    kept = slot[slot >= 0]
    assert slot.shape == us.shape
    assert len(set(kept.tolist())) == len(kept)
    assert np.all((slot >= SURPLUS) & (slot < 86_400 // cadence))


@settings(max_examples=300, deadline=None)
@given(archives())
def test_a_moved_frame_is_within_half_a_cadence_of_its_slot(archive):
    us, cadence, phase_us = archive
    slot = _placed(us, cadence, phase_us)
    natural = _natural(us, cadence, phase_us)
    step = cadence * 10**6
    for time, chosen, own in zip(us.tolist(), slot.tolist(), natural.tolist(), strict=True):
        if chosen in (SURPLUS, own):
            continue
        assert abs(chosen - own) == 1
        start = phase_us + chosen * step
        distance = max(start - time, time - (start + step), 0)
        assert 2 * distance <= step


@settings(max_examples=300, deadline=None)
@given(archives())
def test_every_natural_slot_keeps_its_frame_nearest_mid_slot(archive):
    us, cadence, phase_us = archive
    slot = _placed(us, cadence, phase_us)
    natural = _natural(us, cadence, phase_us)
    doubled = 2 * (us - phase_us - natural * cadence * 10**6) - cadence * 10**6
    for own in set(natural.tolist()):
        candidates = np.flatnonzero(natural == own)
        best = candidates[np.argmin(np.abs(doubled[candidates]))]  # argmin: the first, the earlier
        assert slot[best] == own


@settings(max_examples=300, deadline=None)
@given(archives())
def test_nothing_is_surplus_beside_a_free_slot_within_reach(archive):
    us, cadence, phase_us = archive
    slot = _placed(us, cadence, phase_us)
    natural = _natural(us, cadence, phase_us)
    step, taken = cadence * 10**6, set(slot.tolist())
    for time, own in zip(us[slot < 0].tolist(), natural[slot < 0].tolist(), strict=True):
        into = time - phase_us - own * step
        if 0 <= 2 * into <= step and own > 0:
            assert own - 1 in taken
        if 2 * into >= step and own + 1 < 86_400 // cadence:
            assert own + 1 in taken


@settings(max_examples=200, deadline=None)
@given(archives())
def test_a_later_day_gives_the_same_slots(archive):
    us, cadence, phase_us = archive
    later = np.datetime64("2024-02-29", "us") + us.astype("timedelta64[us]")
    moved = place(later, date(2024, 2, 29), cadence, phase_us / 1e6)
    assert np.array_equal(moved, _placed(us, cadence, phase_us))


@settings(max_examples=300, deadline=None)
@given(archives())
def test_frames_of_different_times_have_slots_in_their_order(archive):
    us, cadence, phase_us = archive
    slot = _placed(np.unique(us), cadence, phase_us)
    assert np.all(np.diff(slot[slot >= 0]) > 0)
