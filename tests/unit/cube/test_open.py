from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
import zarr

from reprocess.cube.count import OUTCOMES, mlt_bounds
from reprocess.cube.open import open_cube, rates, with_rates
from reprocess.errors import ConfigurationError, StoreError

DIMS = ("outcome", "time", "detector", "mlt", "cell")


def write_cube(path, n_months=3, n_cells=4):
    """A cube as the writer leaves it: plain Zarr v3, no consolidated metadata."""
    rng = np.random.default_rng(7)
    shape = (n_months, 2, 24, n_cells)
    observed = rng.integers(0, 100, shape)
    observed[:, :, 12:20] = 0
    common = rng.integers(0, observed + 1)
    aurora = rng.integers(0, observed + 1)
    aurora_common = np.minimum(rng.integers(0, common + 1), aurora)
    counts = np.stack([observed, aurora, common, aurora_common]).astype(np.int32)
    centres, bounds = mlt_bounds(24)
    months = np.arange("2018-01", f"2018-{n_months + 1:02d}", dtype="datetime64[M]")
    days = (months.astype("datetime64[D]") - np.datetime64("2018-01-01", "D")).astype(np.int32)
    edges = np.linspace(0, 80, n_cells + 1, dtype=np.float32)
    variables = {
        "counts": (DIMS, counts),
        "n_days": (DIMS, np.minimum(counts, 28)),
        "n_days_committed": (("time",), np.full(n_months, 28, np.int32)),
        "outcome": (("outcome",), np.array(OUTCOMES)),
        "time": (("time",), days),
        "detector": (("detector",), np.array(["difference", "fcn"])),
        "mlt": (("mlt",), centres),
        "mlt_bounds": (("mlt", "bound"), bounds),
        "cell_zenith_deg": (("cell",), (edges[1:] + edges[:-1]) / 2),
        "cell_azimuth_deg": (("cell",), np.full(n_cells, 180, np.float32)),
        "cell_zenith_bounds": (("cell", "bound"), np.stack([edges[:-1], edges[1:]], 1)),
        "cell_azimuth_bounds": (("cell", "bound"), np.tile(np.float32([0, 360]), (n_cells, 1))),
        "cell_solid_angle_sr": (("cell",), np.full(n_cells, 0.01, np.float32)),
    }
    group = zarr.create_group(
        str(path), zarr_format=3, attributes={"site": "TST", "cloud_screening": "none"}
    )
    for name, (dims, values) in variables.items():
        dtype = values.dtype if values.dtype.kind != "U" else str
        array = group.create_array(name, shape=values.shape, dtype=dtype, dimension_names=dims)
        array[...] = values
        if name == "time":
            array.attrs["units"] = "days since 2018-01-01"
    return counts


# Zarr says so of every variable-length string; the real writer uses fixed lengths.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")


@pytest.mark.parametrize("ending", ["", "/", "/occurrence.zarr", "/occurrence.zarr/"])
def test_the_store_or_the_cube_in_it_can_be_named(tmp_path, ending):
    counts = write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(f"{tmp_path}{ending}")
    assert np.array_equal(cube["counts"], counts)
    assert cube["counts"].dtype == np.int32
    assert cube.attrs["cloud_screening"] == "none"


def test_a_cube_opens_from_another_file_system():
    counts = write_cube("memory://test_open/occurrence.zarr")
    assert np.array_equal(open_cube("memory://test_open")["counts"], counts)


def test_numerator_denominator_and_rate(tmp_path):
    counts = write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(str(tmp_path))
    for i, suffix in ((0, ""), (2, "_common")):
        observed, aurora = counts[i], counts[i + 1]
        assert np.array_equal(cube[f"n_observed{suffix}"], observed)
        assert np.array_equal(cube[f"n_aurora{suffix}"], aurora)
        rate = cube[f"occurrence{suffix}"]
        assert rate.dtype == np.float32
        assert np.array_equal(np.isnan(rate), observed == 0)
        seen = observed > 0
        assert np.array_equal(rate.to_numpy()[seen], (aurora[seen] / observed[seen]).astype("f4"))
    assert np.isnan(cube["occurrence"].sel(mlt=15.5)).all()


def test_coordinates_select_and_describe(tmp_path):
    write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(str(tmp_path))
    assert cube["time"].dt.month.values.tolist() == [1, 2, 3]
    assert cube.sel(detector="fcn", outcome="aurora", mlt=0.5)["counts"].dims == ("time", "cell")
    for name in ("mlt_bounds", "cell_zenith_deg", "cell_azimuth_bounds", "cell_solid_angle_sr"):
        assert name in cube.coords


def test_the_counts_are_in_memory_and_the_store_is_not_needed_again(tmp_path):
    write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(str(tmp_path))
    (tmp_path / "occurrence.zarr").rename(tmp_path / "gone")
    assert cube["n_days"].sum() > 0
    assert cube["counts"].sum() > 0


def test_no_cube_is_a_configuration_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match=r"occurrence\.zarr: found no cube.*expected.*run"):
        open_cube(str(tmp_path))
    with pytest.raises(ConfigurationError, match="found no cube"):
        open_cube("memory://nothing-here")


def test_another_store_is_a_store_error_that_lists_what_is_there(tmp_path):
    group = zarr.create_group(str(tmp_path / "occurrence.zarr"), zarr_format=3)
    group.create_array("image", shape=(2,), dtype="uint8", dimension_names=("time",))
    with pytest.raises(StoreError, match=r"found variables \['image'\].*expected counts"):
        open_cube(str(tmp_path))


def test_rates_sum_before_they_divide():
    # 1 of 2 frames in one month and 0 of 8 in the next: 10 %, not the mean of 50 % and 0 %.
    counts = np.array([[[2], [8]], [[1], [0]], [[0], [8]], [[0], [4]]], np.int32)
    dataset = with_rates(
        xr.Dataset(
            {"counts": (("outcome", "time", "cell"), counts)},
            {"outcome": list(OUTCOMES), "time": [0, 1], "cell_zenith_deg": ("cell", [5.0])},
            {"site": "TST"},
        )
    )
    total = rates(dataset)
    assert total["n_observed"].item() == 10
    assert total["occurrence"].item() == pytest.approx(0.1)
    assert total["occurrence_common"].item() == pytest.approx(0.5)
    assert total["n_observed"].dtype == np.int64
    assert total.attrs["site"] == "TST"
    assert "cell_zenith_deg" in total.coords
    assert rates(dataset, ["time", "cell"])["occurrence"].dims == ()
    with pytest.raises(ValueError, match="outcome"):
        rates(dataset, "outcome")


def test_rates_of_nothing_are_missing_not_zero():
    dataset = xr.Dataset(
        {"counts": (("outcome", "time"), np.zeros((4, 3), np.int32))}, {"outcome": list(OUTCOMES)}
    )
    assert np.isnan(rates(with_rates(dataset))["occurrence"])


def test_rates_of_one_month_equal_the_cubes_own(tmp_path):
    write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(str(tmp_path))
    one = rates(cube.isel(time=[1]), "time")
    for name in ("occurrence", "occurrence_common", "n_observed"):
        np.testing.assert_array_equal(one[name], cube[name].isel(time=1))


def test_with_rates_does_not_modify_its_dataset(tmp_path):
    write_cube(tmp_path / "occurrence.zarr")
    cube = open_cube(str(tmp_path))
    before = cube.copy(deep=True)
    with_rates(cube)
    rates(cube)
    assert before.identical(cube)
