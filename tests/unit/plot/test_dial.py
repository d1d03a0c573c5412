from datetime import datetime

import numpy as np
import pytest
from picture_comparison import said
from plot_cubes import make_cube

from reprocess.errors import ConfigurationError
from reprocess.plot.dial import dial_figure, draw_dial, spread
from reprocess.plot.occurrence import count_maps


def test_every_count_is_moved_and_none_lost():
    cube = make_cube(n_mlt=6)
    counted = count_maps(cube, None, True)
    mlat = np.tile([[70.2, 79.9, 80.1]], (4, 1))
    ahead = np.tile([[-1.0, 0.0, 30.0]], (4, 1))
    observed, aurora, edges = spread(counted, cube["mlt_bounds"].to_numpy(), mlat, ahead)
    assert observed.sum(axis=(1, 2)) == pytest.approx(counted.observed.sum(axis=(1, 2)))
    assert aurora.sum(axis=(1, 2)) == pytest.approx(counted.aurora.sum(axis=(1, 2)))
    assert edges[0] == 90.0
    assert edges[-1] == 70.0
    # A third of the points lie at each latitude: in the row whose edges hold it.
    rows = observed[0].sum(axis=1) / observed[0].sum()
    for latitude in (70.2, 79.9, 80.1):
        (row,) = np.flatnonzero((edges[:-1] >= latitude) & (edges[1:] < latitude))
        assert rows[row] == pytest.approx(1 / 3)


def test_a_place_ahead_in_longitude_is_ahead_in_mlt():
    cube = make_cube(n_mlt=24)
    counted = count_maps(cube, None, True)
    here = np.full((4, 1), 80.0)
    bounds = cube["mlt_bounds"].to_numpy()
    at_station, _, _ = spread(counted, bounds, here, np.zeros((4, 1)))
    ahead, _, _ = spread(counted, bounds, here, np.full((4, 1), 3.0))
    assert np.allclose(ahead, np.roll(at_station, 3, axis=2))
    # The bins 12 and 13 of the station were not observed.
    assert np.flatnonzero(at_station[0].sum(axis=0) == 0).tolist() == [12, 13]


def test_points_without_coordinates_are_left_out():
    cube = make_cube(n_mlt=2)
    counted = count_maps(cube, None, True)
    mlat = np.array([[80.0, np.nan]] * 4)
    bounds = cube["mlt_bounds"].to_numpy()
    observed, _, _ = spread(counted, bounds, mlat, np.zeros((4, 2)))
    assert observed.sum() == pytest.approx(counted.observed.sum() / 2)


def test_the_dial_says_what_its_axes_are(check_picture):
    figure = dial_figure(make_cube())
    text = said(figure)
    assert "AACGM latitude at 110 km" in text
    assert "−79.9°" in text
    assert "noon up, dawn right" in text
    assert "Sun ≤ −15°" in text
    check_picture(figure, "dial")


def test_the_campaign_may_say_what_an_older_cube_does_not(tmp_path):
    cube = make_cube()
    del cube.attrs["emission_height_km"]
    with pytest.raises(ConfigurationError, match="found no emission_height_km"):
        draw_dial(cube, tmp_path / "dial.png")
    path = draw_dial(
        cube, tmp_path / "dial.png", emission_height_km=250.0, magnetic_epoch=datetime(2018, 1, 1),
        width_mm=85, dpi=50,
    )  # fmt: skip
    assert path.exists()
