import numpy as np
import pytest
from picture_comparison import said
from plot_cubes import make_cube

from reprocess.errors import ConfigurationError
from reprocess.plot.groups import count_groups, draw_groups, groups_figure, read_table


def grouped(keys=("quiet", "active"), n_mlt=2):
    cube = make_cube(n_mlt=n_mlt).rename(time="group").assign_coords(group=list(keys))
    return cube.assign_attrs(years=[2018, 2019], grouped_by="activity")


def test_a_row_for_each_group_and_a_band_for_each_detector(check_picture):
    figure = groups_figure(grouped(n_mlt=3))
    text = said(figure)
    assert "Aurora occurrence by activity · TST · 2018–2019" in text
    for word in ("quiet", "active", "difference", "fcn"):
        assert word in text
    assert text.count("1\N{NARROW NO-BREAK SPACE}000 · ") == 2 * 2
    check_picture(figure, "groups")


def test_months_of_a_cube_leave_out_what_lies_before_and_after():
    cube = make_cube(n_mlt=2)
    empty = cube.assign(counts=cube["counts"] * 0)
    import xarray as xr

    months = xr.concat(
        [empty.isel(time=[0]).assign_coords(time=[np.datetime64("2017-01-01", "s")]), cube],
        "time", data_vars="minimal", coords="minimal", compat="override", join="outer",
    )  # fmt: skip
    text = said(groups_figure(months))
    assert "2018-06" in text
    assert "2020-06" in text
    assert "2017-01" not in text


def test_groups_that_are_too_many_or_none_are_refused(tmp_path):
    cube = make_cube(n_mlt=2)
    with pytest.raises(ConfigurationError, match="expected group or time"):
        groups_figure(cube.isel(time=0))
    many = cube.isel(time=[0] * 41).rename(time="group").assign_coords(group=np.arange(41))
    with pytest.raises(ConfigurationError, match="found 41 groups, expected 1 to 40"):
        draw_groups(many, tmp_path / "map.png")


def test_counting_by_calendar_from_the_store_alone(drawn_store):
    by_month = count_groups(str(drawn_store.store), "month")
    assert list(by_month["group"].values) == ["Jan", "Dec"]
    assert by_month.sizes["mlt"] == 4
    by_year = count_groups(str(drawn_store.store), "year", mlt_bins=1, mlt_centred=False)
    assert list(by_year["group"].values) == [2021, 2022]
    one = count_groups(str(drawn_store.store), "season", years=[2022])
    assert list(one["group"].values) == ["Nov–Feb"]
    # Five frames a day can be decoded on 30 December, six on the other days.
    observed = by_year["n_observed"].sel(detector="fcn").max(("mlt", "cell"))
    assert observed.values.tolist() == [11, 6]
    figure = groups_figure(by_month)
    assert "Aurora occurrence by month" in said(figure)


def test_counting_by_a_table_and_with_the_cubes_limits(drawn_store, tmp_path):
    table = tmp_path / "kp.csv"
    table.write_text("time,kp\n2021-12-30T00:00Z,2\n2021-12-31 00:00,5.5\n2022-01-01T00:00,\n")
    counts = count_groups(str(drawn_store.store), str(table), mlt_bins=1)
    assert counts["group"].values.tolist() == [2.0, 5.5]
    assert int(counts["n_observed"].sel(detector="fcn").max()) == 6
    assert counts.attrs["grouped_by"] == "kp"
    like = make_cube().assign_attrs(sun_elevation_max_deg=-89.0)
    like = like.assign_coords(detector=["diff", "fcn"])
    dark = count_groups(str(drawn_store.store), "month", like=like)
    assert int(dark["n_observed"].sum()) == 0
    assert said(groups_figure(dark)).count("not observed") == 2 * 2 * 4 + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "found 0 rows"), ("time,key\n", "found 0 rows"), ("2021-01-01T00:00\n", "two columns")],
)
def test_a_table_that_is_none_says_why(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_table(str(path))


def test_an_unknown_grouping_lists_the_known():
    with pytest.raises(ConfigurationError, match=r"weekday: found no such grouping.*month, season"):
        read_table("weekday")
