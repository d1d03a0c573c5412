"""`reprocess trace`: from a number of the cube to the frames and settings behind it."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from reprocess import cli, open_cube
from reprocess.errors import StoreError
from reprocess.plot.stored import Stored
from reprocess.trace import trace


@pytest.fixture(params=["station", "cell"])
def done(tiny, request):
    """Days in two months with an empty, a broken, a double and a surplus frame among them."""
    tiny.put_days("2021-06-10", "2021-06-11", "2021-07-01")
    tiny.put("2021-06-10", "00:20", b"")
    tiny.put("2021-06-10", "00:30", b"no image")
    tiny.put("2021-06-10", "00:40", tiny.path("2021-06-10", "00:10").read_bytes())
    tiny.put("2021-06-10", "00:11")
    tiny.document["cube"] |= {"mlt": request.param, "mlt_elevation_min_deg": 25.0}
    assert tiny.run().code == 0
    return tiny


def test_every_count_is_given_by_its_frames(done):
    cube = open_cube(str(done.store))
    stored = Stored(str(done.store))
    n_traced = 0
    for label, month, mlt in itertools.product(("diff", "fcn"), ("2021-06", "2021-07"), range(12)):
        here = cube.sel(detector=label, time=month).isel(mlt=mlt)
        for cell in (57, 399):
            observed = int(here.n_observed.isel(cell=cell).sum())
            if not observed and mlt != 5:
                continue
            found = trace(stored, label, month, float(cube.mlt[mlt]), cell)  # checks the counts
            assert sum(len(day.frames) for day in found.days) == found.observed == observed
            assert len(found.days) == int(here.n_days.sel(outcome="observed").isel(cell=cell).sum())
            for frame in (frame for day in found.days for frame in day.frames):
                data = (done.archive / frame.file).read_bytes()
                assert hashlib.sha256(data).hexdigest()[:32] == frame.digest
                assert str(frame.time)[11:16].replace(":", "") == frame.file[-10:-6]
            n_traced += found.observed
    assert n_traced > 15


def say(done, capsys, *arguments, label="fcn", month="2021-06", mlt=22.0, cell=0):
    code = cli.main(
        ["trace", str(done.store), "--detector", label, "--month", month, "--mlt", str(mlt),
         "--cell", str(cell), *arguments]
    )  # fmt: skip
    return code, capsys.readouterr()


def test_settings_records_and_files_are_told(done, capsys):
    cube = open_cube(str(done.store)).sel(detector="fcn", time="2021-06")
    mlt = int(np.argmax(cube.n_observed.isel(cell=0).sum("time").to_numpy()))
    code, said = say(done, capsys, "--frames", mlt=float(cube.mlt[mlt]))
    assert code == 0
    digest = hashlib.sha256(done.weights.read_bytes()).hexdigest()
    assert f"weights {digest}" in said.out
    assert "detections: threshold 0.5, camera epoch 20200101T000000Z" in said.out
    assert "Sun ≤ 90°" in said.out
    records = [p.name for p in (done.store / "records/2021/frames").rglob("2021-06-1*")]
    assert any(name.split(".")[1][:10] in said.out for name in records)
    assert said.out.count(".npy") == int(cube.n_observed.isel(cell=0, mlt=mlt).sum())
    few = say(done, capsys, mlt=float(cube.mlt[mlt]))[1].out
    assert ".npy" not in few


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"label": "nn"}, "--detector: found nn, expected diff or fcn"),
        ({"month": "2023-01"}, "--month: found 2023-01, expected one from 2020-01 to 2021-12"),
        ({"month": "june"}, "--month: found june"),
        ({"cell": 400}, "--cell: found 400, expected 0 to 399"),
        ({"mlt": 24}, "--mlt: found 24, expected hours from 0 to below 24"),
    ],
)
def test_what_the_cube_does_not_have_is_refused(done, capsys, wrong, told):
    code, said = say(done, capsys, **wrong)
    assert code == 2
    assert told in said.err


def test_a_count_that_the_detections_do_not_give_is_no_trace(done, monkeypatch):
    cube = open_cube(str(done.store))
    label, month, mlt, cell = "fcn", "2021-06", 0, 0
    cube["n_observed"] = cube["n_observed"] + np.int32(1)
    monkeypatch.setattr("reprocess.trace.open_stored_cube", lambda _objects: cube)
    with pytest.raises(StoreError, match="expected the same: run the campaign again"):
        trace(Stored(str(done.store)), label, month, float(cube.mlt[mlt]), cell)
