"""Which frames and cells are counted, and that the cube says so."""

import numpy as np
import pytest

from reprocess.campaign import Cube
from reprocess.cube.selection import attributes, cells_left_out, limits, mlt_place, select
from reprocess.errors import ConfigurationError
from reprocess.geometry.ephemeris import moon_phase_fraction

# A day after full moon and a day before new moon.
FULL, NEW = np.datetime64("2021-06-25T18:00", "us"), np.datetime64("2021-06-09T10:00", "us")


def _select(times=None, sun=(-40.0,), moon=(-40.0,), **settings):
    times = np.full(len(sun), FULL) if times is None else np.array(times)
    cube = Cube(**settings)
    return select(cube, times, np.array(sun, np.float32), np.array(moon, np.float32)).tolist()


def test_a_moon_above_its_limit_is_excused_if_it_is_thin():
    assert moon_phase_fraction(np.array([FULL, NEW])) == pytest.approx([0.99, 0.01], abs=0.005)
    times, sun = [FULL, NEW, FULL, NEW, NEW], [-40, -40, -40, -40, -10]
    moon = [20, 20, -1, -1, 20]
    limits = {"moon_elevation_max_deg": 0.0}
    assert _select(times, sun, moon, **limits) == [False, False, True, True, False]
    excused = _select(times, sun, moon, moon_illuminated_max=0.3, **limits)
    assert excused == [False, True, True, True, False]


def test_refraction_lifts_the_moon_over_its_limit_and_leaves_twilight_alone():
    moon = [-0.2, -0.8]
    limits = {"moon_elevation_max_deg": 0.0}
    assert _select(sun=(-40, -40), moon=moon, **limits) == [True, True]
    assert _select(sun=(-40, -40), moon=moon, refraction=True, **limits) == [False, True]
    assert _select(sun=(-15.0, -14.9), moon=(-9, -9), refraction=True) == [True, False]


def test_a_frame_without_a_time_is_not_counted():
    assert _select([np.datetime64("NaT")], [np.nan], [np.nan]) == [False]


def test_every_flag_table_must_keep_a_frame(tmp_path):
    paths = []
    for name, hour in (("clouds", 10), ("lamps", 11)):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"start,end,flag\n2021-06-01T{hour},2021-06-01T{hour + 1},bad\n")
        paths.append(str(path))
    flags = [
        {"table": paths[0], "reject": ["bad"], "unknown": "keep"},
        {"table": paths[1], "name": "lamps", "reject": ["bad"], "unknown": "keep"},
    ]
    times = np.array(["2021-06-01T09:30", "2021-06-01T10:30", "2021-06-01T11:30"], "datetime64[us]")
    assert _select(times, [-40] * 3, [-40] * 3, flags=flags) == [True, False, False]
    said = attributes(Cube(flags=flags))
    assert said["cloud_screening"].startswith("cloud: table clouds.csv (sha256 ")
    assert said["cloud_screening"].endswith("rejected bad, times without a flag kept")
    assert "lamps" not in said["cloud_screening"]
    assert [text.split(":")[0] for text in said["flags"]] == ["cloud", "lamps"]
    assert str(tmp_path) not in str(said)


def test_exposure_and_gain_are_looked_at_where_they_are_limited():
    times, dark = np.full(4, FULL), np.full(4, -40, np.float32)
    exposure = np.array([0.9, 1.0, 1.1, np.nan], np.float32)
    gain = np.array([5, 5, 10, 5], np.float32)

    def chosen(**limits):
        return select(Cube(**limits), times, dark, dark, exposure, gain).tolist()

    assert chosen() == [True] * 4
    assert chosen(exposure_range_s=(1.0, 2.0)) == [False, True, True, False]
    assert chosen(gain_range=(0, 5)) == [True, True, False, True]
    unknown = select(Cube(gain_range=(0, 5)), times, dark, dark)
    assert not unknown.any()


def test_without_a_table_nothing_is_screened():
    said = attributes(Cube())
    assert said["cloud_screening"] == "none"
    assert said["sun_and_moon"] == "unrefracted centres"
    assert said["moon_illuminated_max"] == "none"


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(0, [False] * 3), (10, [False] * 3), (10.1, [False, False, True]), (50, [False, True, True])],
)
def test_cells_that_reach_below_the_elevation_limit_are_left_out(limit, expected):
    outer = np.array([30.0, 60.0, 80.0], np.float32)
    assert cells_left_out(Cube(cell_elevation_min_deg=limit), outer).tolist() == expected


EVERY_LIMIT = {
    "mlt": "cell", "mlt_elevation_min_deg": 12.5, "sun_elevation_max_deg": -12.0,
    "moon_elevation_max_deg": 5.0, "moon_illuminated_max": 0.25, "refraction": True,
    "cell_elevation_min_deg": 20.0, "exposure_range_s": (0.5, 3.0), "gain_range": (0.0, 5.0),
    "flags": (), "cell_fraction_min": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("settings", [{}, EVERY_LIMIT, {"gain_range": (2.0, 2.0)}])
def test_what_a_cube_says_of_its_selection_is_read_back(settings):
    """Else a recount counts something else, and calls a cube damaged that is not."""
    cube = Cube(**settings)
    told = limits(attributes(cube))
    assert Cube(**told) == cube
    how_many = {"mlt_bins", "mlt_centred", "compare"}  # told by the cube's dimensions and `compare`
    at_rest = {"mlt_elevation_min_deg"} if cube.mlt == "station" else set()
    assert set(told) == set(Cube.model_fields) - how_many - at_rest


def test_a_cube_is_not_counted_again_with_other_flag_tables(tmp_path):
    table = tmp_path / "clouds.csv"
    table.write_text("start,end,flag\n2021-06-01T10,2021-06-01T11,bad\n")
    flags = Cube(flags=[{"table": str(table), "reject": ["bad"], "unknown": "keep"}]).flags
    told = attributes(Cube(flags=flags))
    assert limits(told, flags)["flags"] == flags
    for given, found in (((), told), (flags, attributes(Cube()))):
        with pytest.raises(ConfigurationError, match="flag tables"):
            limits(found, given)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("magnetic local time of the station at the frame's time", "station"),
        ("magnetic local time of the cell's centre at the emission height", "cell"),
        ("magnetic local time of the cell", "cell"),
    ],
)
def test_whose_magnetic_local_time(text, place):
    assert mlt_place({"mlt": text}) == place
    assert mlt_place({}) == "station"
