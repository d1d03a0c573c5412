"""Each store opens with xarray alone: names, units and missing values say what they are."""

import json
import os
import subprocess
import sys

import pytest

# Run where `reprocess` cannot be imported; prints what a reader without it sees.
READER = """
import json, sys, warnings

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "reprocess":
            raise ModuleNotFoundError("reprocess is not installed here")

sys.meta_path.insert(0, Blocked())
warnings.simplefilter("error")
import numpy as np
import xarray as xr

def describe(variable):
    return {
        "dims": list(variable.dims), "dtype": str(variable.dtype),
        "attrs": {k: v for k, v in variable.attrs.items() if isinstance(v, (str, int, list))},
        "n_missing": int(variable.isnull().sum()), "size": int(variable.size),
    }

found = {}
for place in sys.argv[1:]:
    dataset = xr.open_zarr(place, chunks=None).load()
    found[place] = {
        "variables": {str(k): describe(v) for k, v in dataset.variables.items()},
        "coords": sorted(map(str, dataset.coords)),
        "attrs": sorted(dataset.attrs),
        "conventions": dataset.attrs["Conventions"],
        "time": str(dataset.time.values[0]),
        "stored": {str(k): str(v.encoding.get("dtype")) for k, v in dataset.variables.items()},
    }
assert "reprocess" not in sys.modules
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stores(make_tiny, tmp_path_factory):
    """What a plain reader sees of each store after a run with one unreadable frame."""
    tiny = make_tiny(tmp_path_factory.mktemp("plain") / "tiny")
    tiny.put_days("2021-12-31", "2022-01-01")
    tiny.put("2022-01-01", "12:00", b"not an image")
    assert tiny.run().code == 0
    places = [
        "frames/2022.zarr", "evidence/diff/2022.zarr", "evidence/fcn/2022.zarr",
        "detections/diff/2022.zarr", "detections/fcn/2022.zarr", "occurrence.zarr",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", READER, *places],
        capture_output=True, text=True, cwd=tiny.store, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SLOTS = 365 * 144
DIMS = {
    "frames/2022.zarr": {
        "image": ["time", "y", "x", "channel"], "acquired": ["time"], "status": ["time"],
    },
    "evidence/diff/2022.zarr": {
        "delta": ["time", "statistic", "channel", "cell"], "acquired": ["time"],
        "status": ["time"],
    },
    "evidence/fcn/2022.zarr": {
        "logit": ["time", "v", "u"], "acquired": ["time"], "status": ["time"],
    },
    "detections/fcn/2022.zarr": {
        "fraction": ["time", "cell"], "acquired": ["time"], "status": ["time"], "mlt": ["time"],
        "sun_elevation": ["time"], "moon_elevation": ["time"], "cell_zenith_deg": ["cell"],
        "cell_zenith_bounds": ["cell", "bound"], "cell_n_pixels": ["epoch", "cell"],
    },
    "occurrence.zarr": {
        "counts": ["outcome", "time", "detector", "mlt", "cell"],
        "n_days": ["outcome", "time", "detector", "mlt", "cell"],
        "n_days_committed": ["time"], "mlt": ["mlt"], "mlt_bounds": ["mlt", "bound"],
    },
}  # fmt: skip
INDEXES = {
    "frames/2022.zarr": {"time", "channel"},
    "evidence/diff/2022.zarr": {"time", "statistic", "channel"},
    "detections/fcn/2022.zarr": {"time", "epoch"},
    "occurrence.zarr": {"time", "outcome", "detector", "mlt"},
}
UNITS = {
    "frames/2022.zarr": {"image": "1"},
    "evidence/diff/2022.zarr": {"delta": None},
    "evidence/fcn/2022.zarr": {"logit": "1"},
    "detections/fcn/2022.zarr": {
        "fraction": "1", "mlt": "hour", "sun_elevation": "degree", "moon_elevation": "degree",
        "cell_zenith_deg": "degree", "cell_azimuth_deg": "degree",
    },
    "occurrence.zarr": {"counts": "1", "n_days": "1", "n_days_committed": "1", "mlt": "hour"},
}  # fmt: skip


@pytest.mark.parametrize("place", DIMS)
def test_dimensions_are_named(stores, place):
    variables = stores[place]["variables"]
    assert {name: variables[name]["dims"] for name in DIMS[place]} == DIMS[place]


@pytest.mark.parametrize("place", INDEXES)
def test_dimensions_have_coordinates(stores, place):
    assert INDEXES[place] <= set(stores[place]["coords"])


@pytest.mark.parametrize("place", UNITS)
def test_variables_have_units_and_long_names(stores, place):
    for name, units in UNITS[place].items():
        attributes = stores[place]["variables"][name]["attrs"]
        assert attributes["long_name"]
        assert attributes["units"] == units if units else attributes["units"]


def test_every_store_follows_cf_and_names_its_campaign(stores):
    for found in stores.values():
        assert found["conventions"] == "CF-1.11"
        assert {"title", "simulated", "site"} <= set(found["attrs"])
    assert {"campaign", "cloud_screening"} <= set(stores["occurrence.zarr"]["attrs"])


def test_no_name_hides_a_method_of_xarray(stores):
    for found in stores.values():
        dims = {dim for v in found["variables"].values() for dim in v["dims"]}
        assert "method" not in dims
        assert "count" not in found["variables"]


def test_time_is_the_years_grid_of_slots(stores):
    for place, found in stores.items():
        assert found["variables"]["time"]["dtype"].startswith("datetime64")
        if place == "occurrence.zarr":
            assert found["time"].startswith("2020-01-01T00:00:00")
        else:
            assert found["time"].startswith("2022-01-01T00:00:00")
            assert found["variables"]["time"]["size"] == SLOTS


def test_acquired_is_missing_where_there_is_no_frame(stores):
    for place, found in stores.items():
        if place != "occurrence.zarr":
            acquired = found["variables"]["acquired"]
            assert acquired["dtype"].startswith("datetime64")
            assert acquired["n_missing"] == SLOTS - 5


def test_flags_have_meanings(stores):
    for place, found in stores.items():
        if place == "occurrence.zarr":
            continue
        status = found["variables"]["status"]
        assert status["dtype"] == "uint8"
        meanings = status["attrs"]["flag_meanings"].split()
        assert len(meanings) == len(status["attrs"]["flag_values"])
        assert {"no_frame", "unreadable"} <= set(meanings)


def test_fraction_stays_small_and_masks_what_was_not_observed(stores):
    for label in ("diff", "fcn"):
        found = stores[f"detections/{label}/2022.zarr"]
        fraction = found["variables"]["fraction"]
        assert fraction["dtype"] == "float32"
        assert found["stored"]["fraction"] == "uint8"
        assert SLOTS * 400 - 4 * 400 <= fraction["n_missing"] < SLOTS * 400


def test_evidence_is_missing_where_nothing_was_measured(stores):
    logit = stores["evidence/fcn/2022.zarr"]["variables"]["logit"]
    assert logit["dtype"] == "float16"
    assert logit["n_missing"] == logit["size"] // SLOTS * (SLOTS - 4)
