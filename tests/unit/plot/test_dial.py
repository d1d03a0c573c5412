from datetime import datetime

import numpy as np
import pytest
from picture_comparison import said
from plot_cubes import make_cube

from reprocess.cube.count import mlt_bounds
from reprocess.cube.open import with_rates
from reprocess.errors import ConfigurationError
from reprocess.plot.captions import thousands
from reprocess.plot.dial import _positions, dial_figure, draw_dial, spread
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


def _by_cell(cube):
    """The cube as if counted by the MLT of its cells, which lie up to three hours apart."""
    cube.attrs["mlt"] = "magnetic local time of the cell's centre at the emission height"
    return cube.assign_coords(cell_mlt_offset_h=("cell", [-1.5, 0.0, 0.0, 1.5]))


def test_a_frame_counts_once_however_many_bins_its_cells_are_in():
    # Each cell saw the same frames, 2000 common ones, each cell in a bin of its own.
    cube = make_cube(n_mlt=4)
    one = cube["counts"].isel(mlt=[0], cell=[0]).to_numpy()
    counts = cube["counts"].copy(data=one * np.eye(4, dtype=int))
    found = said(dial_figure(with_rates(_by_cell(cube.assign(counts=counts)))))
    assert found.count(f"{thousands(2000)} frames · ≥ ") == 2


def test_counts_by_the_cells_mlt_stay_in_the_bins_in_which_they_were_made():
    cube = _by_cell(make_cube(n_mlt=24))
    counts = cube["counts"].copy()
    counts[..., [b for b in range(24) if b != 6], :] = 0
    cube = with_rates(cube.assign(counts=counts))
    figure = dial_figure(cube)
    mlat, ahead, _ = _positions(cube, None, None)
    observed, _, _ = spread(count_maps(cube, None, None), cube["mlt_bounds"].values, mlat, ahead)
    assert np.flatnonzero(observed.sum(axis=(0, 1))).tolist() == [6]
    assert "left in those bins" in said(figure)


def test_a_dial_by_the_stations_mlt_says_what_its_smear_is():
    text = said(dial_figure(make_cube()))
    assert "counted by the station's MLT" in text
    assert "known to 1 h only, so a bin next to an observed one may be coloured" in text


@pytest.mark.parametrize("centred", [False, True])
def test_the_bins_of_a_dial_are_those_of_the_cube(centred):
    cube = make_cube(n_mlt=8)
    bounds = mlt_bounds(8, centred)[1]
    counted = count_maps(cube, None, True)
    here = np.full((4, 1), 80.0)
    observed, _, _ = spread(counted, bounds, here, np.zeros((4, 1)))
    assert observed.shape[2] == 8
    assert np.allclose(observed.sum(axis=1), counted.observed.sum(axis=2))
