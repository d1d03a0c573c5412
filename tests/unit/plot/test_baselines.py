"""The comparison of pictures itself: it must see what a referee would see."""

import numpy as np
from picture_comparison import RMS_MAX, WRONG_MAX, difference, render
from plot_cubes import make_cube

from reprocess.cube.open import with_rates
from reprocess.plot.occurrence import occurrence_figure


def _picture(change=lambda _counts: None):
    cube = make_cube(n_mlt=4)
    counts = cube["counts"].copy()
    change(counts.values)
    return render(occurrence_figure(with_rates(cube.assign(counts=counts)), vmax=1.0))


def test_the_same_picture_twice_is_the_same():
    assert difference(_picture(), _picture()) == (0.0, 0.0)


def test_one_cell_of_another_rate_is_seen():
    def one_cell(counts):
        counts[3, :, 0, 0, 3] = 0

    assert difference(_picture(), _picture(one_cell))[1] > WRONG_MAX


def test_a_cell_that_is_hatched_instead_of_zero_is_seen():
    def unobserved(counts):
        counts[:, :, 1, 1, 1] = 0

    assert difference(_picture(), _picture(unobserved))[1] > WRONG_MAX


def test_a_mirrored_map_is_seen():
    picture = _picture()
    rms, wrong = difference(picture, picture[:, ::-1])
    assert rms > RMS_MAX
    assert wrong > WRONG_MAX


def test_a_picture_of_another_size_is_seen():
    picture = _picture()
    assert difference(picture, picture[:-3]) == (np.inf, 1.0)
