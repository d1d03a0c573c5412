"""The names on a picture of stars."""

import itertools

import numpy as np

from reprocess.calibrate.picture import readable_names


def test_a_star_that_was_marked_in_several_frames_is_named_once():
    names = ["Vega", "Vega", "Deneb", "Vega"]
    at = np.array([[0, 0], [0, 90], [300, 0], [0, 180]])
    assert readable_names(names, at, [3, 0, 1, 2]) == [3, 2]


def test_names_do_not_cover_each_other_and_the_first_come_first():
    names = ["Aldebaran", "Hyadum", "Ain"]
    at = np.array([[0.0, 0.0], [10.0, 3.0], [0.0, 20.0]])
    assert readable_names(names, at, [0, 1, 2]) == [0, 2]
    assert readable_names(names, at, [1, 0, 2]) == [1, 2]


def test_of_many_stars_in_a_corner_those_are_named_that_can_be_read():
    rng = np.random.default_rng(5)
    names = [f"HIP {i // 3:06d}" for i in range(600)]
    at = rng.uniform(0, 250, (600, 2))
    chosen = readable_names(names, at, range(600))
    assert 10 <= len(chosen) <= 60
    assert len({names[i] for i in chosen}) == len(chosen)
    for one, other in itertools.combinations(chosen, 2):
        across, up = np.abs(at[one] - at[other])
        assert across > 0.6 * 7 * len(names[one]) or up > 7
