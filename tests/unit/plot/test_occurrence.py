from __future__ import annotations

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from plot_cubes import make_cube

from reprocess.cube.open import with_rates
from reprocess.errors import ConfigurationError
from reprocess.plot import captions, occurrence, page
from reprocess.plot.occurrence import draw_occurrence


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, to look at what is on them."""
    drawn: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            drawn.append(self)

    monkeypatch.setattr(page, "Figure", Kept)
    return drawn


def words(figure):
    axes_texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    return [t.get_text() for t in figure.texts] + axes_texts


def said(figure):
    """The page's own texts in one string: paragraphs are broken into lines."""
    return " ".join(t.get_text() for t in figure.texts)


def maps_of(figure):
    """Rates drawn on each observed sky map, in order."""
    found = [c for axes in figure.axes for c in axes.collections if isinstance(c, PolyCollection)]
    return [c for c in found if len(c.get_paths()) and c.get_zorder() == 1]


def test_the_page_is_an_image_of_its_size(tmp_path):
    path = draw_occurrence(make_cube(), tmp_path / "map.png", dpi=50)
    image = matplotlib.image.imread(path)
    height, width = image.shape[:2]
    assert width == pytest.approx(175 / 25.4 * 50, abs=1)
    assert 1.0 < height / width < 1.4
    assert image[..., :3].std() > 0.05


def test_every_bin_has_a_map_and_unobserved_ones_say_so(tmp_path, figures):
    draw_occurrence(make_cube(), tmp_path / "map.png", dpi=40)
    text = words(figures[0])
    assert text.count("not observed") == 2 * 2
    assert len(maps_of(figures[0])) == 2 * 22
    assert "08–09" in text
    assert "23–24" in text
    assert "difference" in text
    for letter in "NESW":
        assert text.count(letter) == 2 * 24 + 1


def test_unobserved_cells_are_left_out_and_zero_is_drawn(tmp_path, figures):
    draw_occurrence(make_cube(), tmp_path / "map.png", dpi=40)
    for drawn in maps_of(figures[0]):
        assert drawn.get_array().tolist() == [1.0, 0.0, 0.25]


def test_one_scale_for_all_maps(tmp_path, figures):
    draw_occurrence(make_cube(), tmp_path / "map.png", dpi=40)
    assert len({id(drawn.norm) for drawn in maps_of(figures[0])}) == 1
    assert maps_of(figures[0])[0].norm.vmax == 1.0


@pytest.mark.parametrize(("east", "side"), [("left", -1), ("right", 1)])
def test_north_is_up_and_east_on_the_side_asked_for(tmp_path, figures, east, side):
    draw_occurrence(make_cube(), tmp_path / "map.png", east=east, dpi=40)
    north_east = maps_of(figures[0])[0].get_paths()[0].vertices
    assert (north_east[:, 1] >= -1e-9).all()
    assert (side * north_east[:, 0] >= -1e-9).all()
    assert np.abs(north_east).max() == pytest.approx(80.0)
    letters = {t.get_text(): t.get_position() for t in figures[0].axes[0].texts}
    assert side * letters["E"][0] > 0 > side * letters["W"][0]
    assert letters["N"][1] > 0 > letters["S"][1]
    assert any(f"east {east}" in text for text in words(figures[0]))


def test_pixels_show_handedness_and_unobserved_sky(tmp_path):
    cube = make_cube(n_mlt=1)
    observed = cube["counts"].copy()
    observed.values[0, ..., [0, 1, 3]] = observed.values[2, ..., [0, 1, 3]] = 100
    observed.values[1, ..., 0] = observed.values[3, ..., 0] = 100
    cube = with_rates(cube.assign(counts=observed))
    path = draw_occurrence(cube.sel(detector=["fcn"]), tmp_path / "map.png", dpi=100)
    image = matplotlib.image.imread(path)[..., :3]
    # Yellow (rate 1) lies only in the upper left quadrant of the one map: north-east.
    yellow = (image[..., 0] > 0.9) & (image[..., 1] > 0.8) & (image[..., 2] < 0.3)
    rows, columns = np.nonzero(yellow[: round(image.shape[0] * 0.6)])
    purple = np.abs(image - np.array([0.267, 0.005, 0.329])).max(axis=2) < 0.02
    purple_rows, purple_columns = np.nonzero(purple[: round(image.shape[0] * 0.6)])
    assert columns.max() <= purple_columns.max()
    assert np.median(columns) < np.median(purple_columns)
    assert np.median(rows) < np.median(purple_rows)


def test_the_title_says_site_years_selection_and_what_the_rates_are(tmp_path, figures):
    draw_occurrence(make_cube(), tmp_path / "map.png", dpi=40)
    text = said(figures[0])
    assert "Aurora occurrence · TST · 2018, 2020" in text
    assert "Sun ≤ −15° · any Moon · aurora on ≥ 50 % of a cell" in text
    assert "cloud_screening: none" in text
    assert "rates are lower bounds, false detections apart" in text
    assert "SIMULATED" not in text
    assert "magnetic north up" in text


def test_simulated_data_and_screened_clouds_are_said(tmp_path, figures):
    cube = make_cube().assign_attrs(simulated=True, cloud_screening="table of intervals")
    draw_occurrence(cube, tmp_path / "map.png", dpi=40)
    text = said(figures[0])
    assert "SIMULATED DATA" in text
    assert "lower bounds" not in text


def test_counts_under_the_maps_are_of_what_is_drawn(tmp_path, figures):
    draw_occurrence(make_cube(), tmp_path / "common.png", dpi=40)
    assert "2\N{NARROW NO-BREAK SPACE}000 · 41.7 %" in words(figures[0])
    assert "all compared detectors" in said(figures[0])
    draw_occurrence(make_cube(), tmp_path / "own.png", common=False, dpi=40)
    assert "4\N{NARROW NO-BREAK SPACE}000 · 41.7 %" in words(figures[1])
    draw_occurrence(make_cube(common=False), tmp_path / "none.png", dpi=40)
    assert "4\N{NARROW NO-BREAK SPACE}000 · 41.7 %" in words(figures[2])
    assert "each detector" in said(figures[2])


def test_a_selection_of_one_month_and_one_detector(tmp_path, figures):
    draw_occurrence(make_cube().isel(time=[0]), tmp_path / "map.png", detectors=["fcn"], dpi=40)
    assert "Aurora occurrence · TST · 2018-06" in words(figures[0])
    assert len(maps_of(figures[0])) == 22
    draw_occurrence(make_cube().isel(time=0), tmp_path / "again.png", detectors=["fcn"], dpi=40)
    assert "Aurora occurrence · TST · 2018-06" in words(figures[1])


def test_groups_are_named(tmp_path, figures):
    cube = make_cube().rename(time="group").assign_coords(group=["quiet", "active"])
    draw_occurrence(cube.assign_attrs(years=[2018, 2019, 2021]), tmp_path / "map.png", dpi=40)
    assert "Aurora occurrence · TST · 2018–2019, 2021 · group quiet, active" in said(figures[0])


def test_a_cube_without_any_observation_is_all_hatched(tmp_path, figures):
    cube = make_cube()
    empty = with_rates(cube.assign(counts=cube["counts"] * 0))
    draw_occurrence(empty, tmp_path / "map.png", dpi=40)
    assert words(figures[0]).count("not observed") == 2 * 24
    assert maps_of(figures[0]) == []


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_other_formats(tmp_path, ending):
    path = draw_occurrence(make_cube(n_mlt=2), tmp_path / f"map.{ending}")
    assert path.stat().st_size > 1000


def test_global_state_is_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    draw_occurrence(make_cube(n_mlt=2), tmp_path / "map.png", dpi=40)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("change", "kwargs", "message"),
    [
        (lambda c: c.drop_vars("mlt_bounds"), {}, "found no mlt_bounds.*open_cube"),
        (lambda c: c.drop_vars("counts"), {}, "found no counts"),
        (lambda c: c, {"detectors": ["fnc"]}, "expected some of difference, fcn"),
        (lambda c: c, {"detectors": []}, "expected some of"),
        (lambda c: c.isel(detector=0), {}, r"detector=\['fcn'\]"),
        (lambda c: c, {"vmax": 0.0}, "vmax 0.0"),
        (lambda c: c, {"vmax": 20.0}, "vmax 20.0"),
        (lambda c: c, {"width_mm": 8.5}, "found 8.5 mm, expected 40 to 1000"),
    ],
)
def test_what_cannot_be_drawn_says_why(tmp_path, change, kwargs, message):
    with pytest.raises(ConfigurationError, match=message):
        draw_occurrence(change(make_cube()), tmp_path / "map.png", **kwargs)
    assert not (tmp_path / "map.png").exists()


def test_too_many_bins_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="found 96 MLT bins, expected at most 48"):
        draw_occurrence(make_cube(n_mlt=96), tmp_path / "map.png")


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((8, 9), "08–09"),
        ((23, 24), "23–24"),
        ((-0.5, 0.5), "23:30–00:30"),
        ((0, 24), "all MLT"),
        ((1.25, 1.5), "01:15–01:30"),
    ],
)
def test_mlt_range(bounds, text):
    assert captions.mlt_range(*bounds) == text


@pytest.mark.parametrize(
    ("rates", "top"), [([0.004], 0.01), ([0.11], 0.15), ([1.0], 1.0), ([np.nan], 1.0)]
)
def test_the_scale_ends_at_a_round_number(rates, top):
    assert occurrence.round_maximum(np.array(rates, np.float32)) == top


@pytest.mark.parametrize("said", [True, "true", "yes", 1])
def test_simulated_however_it_is_written(said):
    assert captions.is_simulated({"simulated": said})


@pytest.mark.parametrize("attributes", [{}, {"simulated": False}, {"simulated": "false"}])
def test_not_simulated(attributes):
    assert not captions.is_simulated(attributes)


def test_below_each_map_stand_the_most_days_of_one_cell(tmp_path, figures):
    # A day has 400 frames: of 1000 common ones a month, 3 days, and 6 in both months.
    draw_occurrence(make_cube(), tmp_path / "map.png", dpi=40)
    assert words(figures[0]).count("6 days") == 2 * 22
    assert "most UTC days behind one cell" in said(figures[0])
    draw_occurrence(make_cube().isel(time=[0]), tmp_path / "map.png", dpi=40, strip=True)
    assert words(figures[1]).count("3 d") == 2 * 22


def test_one_day_is_one_day(tmp_path, figures):
    cube = make_cube()
    cube["n_days"] = cube["n_days"].clip(max=1).where(cube["time"] == cube["time"][0], 0)
    draw_occurrence(cube, tmp_path / "map.png", dpi=40)
    assert words(figures[0]).count("1 day") == 2 * 22


def test_days_are_not_said_where_they_do_not_add_up(tmp_path, figures):
    groups = make_cube().rename(time="group").assign_coords(group=["quiet", "storm"])
    draw_occurrence(groups, tmp_path / "map.png", dpi=40)
    draw_occurrence(make_cube().drop_vars("n_days"), tmp_path / "map.png", dpi=40)
    for figure in figures:
        assert "day" not in said(figure)
        assert not [text for text in words(figure) if "day" in text]
    draw_occurrence(groups.isel(group=[1]), tmp_path / "map.png", dpi=40)
    assert words(figures[-1]).count("3 days") == 2 * 22
