"""Which frames a step sees: by seed and position alone."""

from collections import Counter
from contextlib import closing

import numpy as np
import pytest

from reprocess.train.batches import batches, frame_at


def everything(*arguments, **keywords):
    with closing(batches(*arguments, **keywords)) as source:
        return list(source)


def same(one, two):
    assert (one.step, one.first, one.count) == (two.step, two.first, two.count)
    for name in ("image", "share", "judged"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_each_time_round_every_frame_comes_once_in_a_new_order():
    rounds = [[frame_at(p, 7, 5) for p in range(7 * e, 7 * e + 7)] for e in range(3)]
    assert all(sorted(r) == list(range(7)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 3
    assert rounds[0] != [frame_at(p, 7, 6) for p in range(7)]


def test_first_steps_have_more_and_smaller_frames(squares, small_recipe):
    found = everything(squares(6, 64), small_recipe())
    assert [b.step for b in found] == list(range(6))
    shapes = [b.image.shape[:2] for b in found]
    assert shapes == [(12, 32)] * 3 + [(4, 64)] * 3
    assert [b.first for b in found] == [0, 12, 24, 36, 40, 44]
    drawn = Counter(frame_at(p, 6, 3) for p in range(48))
    assert set(drawn.values()) == {8}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_threads_do_not_change_what_comes(squares, small_recipe, threads):
    frames, recipe = squares(6, 64), small_recipe()
    for one, two in zip(
        everything(frames, recipe, threads=threads), everything(frames, recipe), strict=True
    ):
        same(one, two)


def test_batches_go_on_where_they_were_left(squares, small_recipe):
    frames, recipe = squares(6, 64), small_recipe()
    whole = everything(frames, recipe)
    rest = everything(frames, recipe, 4, whole[4].first)
    for one, two in zip(whole[4:], rest, strict=True):
        same(one, two)


def test_two_processes_see_together_what_one_sees(squares, small_recipe):
    frames, recipe = squares(6, 64), small_recipe()
    parts = [everything(frames, recipe, rank=r, ranks=2) for r in range(2)]
    for whole, even, odd in zip(everything(frames, recipe), *parts, strict=True):
        np.testing.assert_array_equal(whole.image[0::2], even.image)
        np.testing.assert_array_equal(whole.image[1::2], odd.image)
        assert (even.count, odd.first) == (whole.count, whole.first)


def test_an_error_while_preparing_is_raised(squares, small_recipe, monkeypatch):
    def broken(*_arguments):
        raise ValueError("this frame")

    monkeypatch.setattr("reprocess.train.batches.augment", broken)
    with pytest.raises(ValueError, match="this frame"):
        everything(squares(6, 64), small_recipe(), threads=2)
