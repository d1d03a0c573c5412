"""A 16-bit mono archive of several frames a file whose headers tell the time, end to end."""

import gzip
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr

SIZE_PX = 32
START = datetime(2021, 6, 10, 10, 0)
STEP_S = 600
FAINT = 24
"""Counts that a faint glow adds: less than half of the 100 counts of an 8-bit step."""


def _minute(index, msec=999):
    """Two frames, ten minutes apart, in one file; from the fourth frame on the sky is brighter."""
    frames = []
    for number in (2 * index, 2 * index + 1):
        counts = np.full((SIZE_PX, SIZE_PX), 3300 + 20 * 100, ">u2")
        counts[: SIZE_PX // 2] += FAINT * (number >= 3)
        start = START + timedelta(seconds=STEP_S * number)
        header = (
            f'#"Exposure options" MSEC={msec}\n#"Image request start" {start:%F %T}.000000 UTC\n'
        )
        frames.append(f"P5\n{header}{SIZE_PX} {SIZE_PX}\n65535\n".encode() + counts.tobytes())
    return gzip.compress(b"".join(frames), mtime=0)


@pytest.fixture
def deep(tiny):
    (camera,) = tiny.document["camera"]
    camera |= {
        "black_level": 3300, "white_level": 28800, "clock_offset_s": -30, "exposure_s": 60,
        "time_stamps": "start",
    }  # fmt: skip
    tiny.document["archive"] |= {
        "pattern": "%Y/*.pgm.gz", "reader": "pgm", "time": "header", "bits": 16,
    }  # fmt: skip
    tiny.document["detectors"]["diff"]["threshold_dn"] = 0.2
    tiny.document["years"] = [2021]
    for index in range(3):
        _put(tiny, index)
    return tiny


def _put(tiny, index, **options):
    path = tiny.archive / "2021" / f"minute{index}.pgm.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(_minute(index, **options))


def _day(tiny, place):
    year = xr.open_zarr(f"{tiny.store}/{place}/2021.zarr", chunks=None, mask_and_scale=False)
    day = year.sel(time="2021-06-10")
    return day.isel(time=np.flatnonzero(day.status.values))


def test_frames_keep_their_depth_time_and_exposure(deep):
    outcome = deep.run()
    assert outcome.code == 0, outcome.err
    assert outcome.report["years"]["2021"]["ledger"] == {"ok": 6}
    frames = _day(deep, "frames")
    # -30 s of clock offset and half an exposure of 60 s from its start: the times as written.
    times = frames.acquired.values.astype("datetime64[us]")
    assert times[0] == np.datetime64(START, "us")
    assert np.allclose(frames.exposure_s.values, 0.999)
    assert frames.attrs["camera_channels"].startswith("mono")
    assert frames.attrs["camera_bits"] == 16
    assert frames.image16.dims == ("time", "y", "x")
    assert frames.image16.values[5, 0, 0] == 5300 + FAINT
    assert np.unique(frames.image.values).tolist() == [20]


def test_the_difference_sees_what_eight_bits_do_not(deep):
    assert deep.run().code == 0
    evidence = _day(deep, "evidence/diff")
    assert evidence.status.values.tolist() == [2, 1, 1, 1, 1, 1]
    largest = np.nanmax(np.abs(evidence.delta.values[1:, 0, 1]), axis=1)
    assert largest[2] == pytest.approx(FAINT / 100, abs=1e-3)
    assert largest[[0, 1, 3, 4]].tolist() == [0, 0, 0, 0]
    found = _day(deep, "detections/diff").fraction.values
    assert (found[3] == 254).any()
    assert not ((found[4] > 0) & (found[4] < 255)).any()


def test_the_same_evidence_from_the_store_as_from_the_archive(deep, monkeypatch):
    assert deep.run().code == 0
    first = _day(deep, "evidence/diff").delta.values
    deep.document["detectors"]["again"] = dict(deep.document["detectors"]["diff"])

    def refuse(*_):
        raise AssertionError("the archive was read")

    monkeypatch.setattr("reprocess.archive.files.ArchiveBytes.read", refuse)
    outcome = deep.run()
    assert outcome.code == 0, outcome.err
    assert np.array_equal(_day(deep, "evidence/again").delta.values, first, equal_nan=True)
    monkeypatch.undo()
    deep.check_identity()


def test_a_changed_exposure_is_not_observed(deep):
    _put(deep, 1, msec=500)
    assert deep.run().code == 0
    assert _day(deep, "evidence/diff").status.values.tolist() == [2, 1, 3, 1, 3, 1]


def test_a_replaced_file_redoes_its_day_and_equals_a_fresh_run(deep):
    assert deep.run().code == 0
    _put(deep, 2, msec=500)
    again = deep.run()
    assert again.report["years"]["2021"]["by_reason"] == {"inputs changed": 1}
    deep.check_identity()
    (deep.archive / "2021" / "minute1.pgm.gz").unlink()
    assert deep.run().report["years"]["2021"]["ledger"] == {"ok": 4}
    deep.check_identity()


def test_exposures_select_without_an_image(deep):
    _put(deep, 1, msec=500)
    assert deep.run().code == 0
    deep.document["cube"]["exposure_range_s"] = [0.9, 1.1]
    assert deep.run().report["years"]["2021"]["done"] == 0
    cube = xr.open_zarr(f"{deep.store}/occurrence.zarr", chunks=None)
    observed = cube.counts.sel(outcome="observed").sum(("time", "mlt")).max("cell")
    # Six frames for the network, two of them of half a second; the difference has lost their pairs.
    assert dict(zip(cube.detector.values.tolist(), observed.values.tolist(), strict=True)) == {
        "diff": 2, "fcn": 4,
    }  # fmt: skip
    assert cube.attrs["exposure_range_s"] == [0.9, 1.1]
    deep.check_identity()


def test_levels_are_part_of_the_frames(deep):
    assert deep.run().code == 0
    deep.document["camera"][0]["white_level"] = 23300
    outcome = deep.run()
    assert outcome.report["years"]["2021"]["by_reason"] == {"settings changed": 1}
    assert np.unique(_day(deep, "frames").image.values).tolist() == [26]


def test_a_selection_is_changed_without_an_image_or_a_detection(deep, monkeypatch, tmp_path):
    assert deep.run().code == 0
    before = {k: v for k, v in deep.keys().items() if not k.startswith(("occurrence", "records"))}

    def total():
        cube = xr.open_zarr(f"{deep.store}/occurrence.zarr", chunks=None)
        observed = cube.counts.sel(outcome="observed", detector="diff").sum(("time", "mlt"))
        return int(observed.max()), cube.attrs["cloud_screening"]

    assert total() == (5, "none")

    def refuse(*_):
        raise AssertionError("something above the cube was read")

    monkeypatch.setattr("reprocess.archive.files.ArchiveBytes.read", refuse)
    monkeypatch.setattr("reprocess.worker.process_block", refuse)
    table = tmp_path / "clouds.csv"
    table.write_text("start,end,flag\n2021-06-10T10:15,2021-06-10T10:35,cloudy\n")
    deep.document["cube"]["flags"] = [
        {"table": str(table), "reject": ["cloudy"], "unknown": "keep"}
    ]
    assert deep.run().code == 0
    assert total()[0] == 3
    assert "clouds.csv" in total()[1]
    table.write_text("start,end,flag\n2021-06-10T10:15,2021-06-10T10:25,cloudy\n")
    outcome = deep.run()
    assert outcome.code == 0
    assert total()[0] == 4
    assert "clouds screened by cloud: table clouds.csv" in outcome.out
    after = {k: v for k, v in deep.keys().items() if not k.startswith(("occurrence", "records"))}
    assert after == before
    monkeypatch.undo()
    deep.check_identity()
