import shutil

import numpy as np
import pytest
from picture_comparison import said

from reprocess.errors import ConfigurationError, StoreError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.plot.compare import _raster, _Row, compare_figure, draw_compare
from reprocess.plot.sky import sky_of
from reprocess.plot.stored import Stored


def test_a_frame_is_turned_so_that_it_lies_on_its_cells(drawn_store):
    """The number of each pixel's cell, drawn as an image, is the cell of the drawn place."""
    stored = Stored(str(drawn_store.store))
    campaign = stored.campaign
    geometry = epoch_geometry(campaign, campaign.camera[0])
    for east, turn in (("left", -1.0), ("right", 1.0)):
        sky = sky_of(stored.cells("diff", 2021), east)
        numbers = geometry.cellmap.cell.astype(np.float32)
        drawn, _ = _raster(sky, _Row("", 0), campaign, numbers, 80.0, nearest=True)
        step = 160.0 / len(drawn)
        x, y = np.meshgrid(-80 + step * (np.arange(len(drawn)) + 0.5),
                           80 - step * (np.arange(len(drawn)) + 0.5))  # fmt: skip
        azimuth = np.degrees(np.arctan2(turn * x, y)) + geometry.cells.north_azimuth_deg
        wanted = geometry.cells.index(azimuth, 90 - np.hypot(x, y))
        inside = (wanted >= 0) & (np.hypot(x, y) < 60)
        # A processed pixel here is 5° wide: neighbours at its rim, far cells never.
        found = drawn[inside].astype(int)
        centres = np.stack(
            [geometry.cells.zenith_deg * np.sin(np.radians(geometry.cells.azimuth_deg)),
             geometry.cells.zenith_deg * np.cos(np.radians(geometry.cells.azimuth_deg))]
        )  # fmt: skip
        apart = np.hypot(*(centres[:, found] - centres[:, wanted[inside]]))
        assert np.quantile(apart, 0.99) < 15.0
        assert apart.mean() < 5.0


def test_frame_cells_and_captions(drawn_store, check_picture):
    times = ["2021-12-31T00:20", "2021-12-31T00:33:20Z"]
    figure = compare_figure(str(drawn_store.store), times, detectors=["diff"])
    text = said(figure)
    assert "2021-12-31 00:20:00 UT" in text
    assert "2021-12-31 00:30:00 UT (asked for 00:33:20)" in text
    assert "MLT" in text
    assert text.count("of 396 cells") == 2
    assert "magnetic north up" in text
    check_picture(figure, "compare")


def test_masks_are_drawn_from_the_evidence(drawn_store):
    figure = compare_figure(str(drawn_store.store), ["2021-12-31T00:20"])
    assert "fcn: pixels with a probability of at least 0.5" in said(figure)
    assert len(figure.axes) == 3
    frame, cells, mask = figure.axes
    assert len(frame.images) == 1
    assert len(cells.images) == 0
    assert len(mask.images) == 1


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("2021-12-31T12:00", "no frame within a cadence of this time"),
        ("2021-06-01T00:00", "nothing is committed for this day"),
        ("2021-12-30T00:30", "frame unreadable"),
        ("2021-12-30T00:00", "not observed: no frame one lag earlier"),
    ],
)
def test_what_cannot_be_shown_says_why(drawn_store, time, words):
    assert words in said(compare_figure(str(drawn_store.store), [time]))


def test_removed_frames_and_evidence_say_so(drawn_store, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(drawn_store.store, store)
    shutil.rmtree(store / "frames")
    text = said(compare_figure(str(store), ["2021-12-31T00:20"]))
    assert "frames store removed" in text
    assert text.count("of 396 cells") == 2
    shutil.rmtree(store / "evidence")
    text = said(compare_figure(str(store), ["2021-12-31T00:20"]))
    assert "evidence removed" in text
    assert text.count("of 396 cells") == 1


def test_a_damaged_object_is_an_error_that_names_it(drawn_store, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(drawn_store.store, store)
    chunks = sorted((store / "detections/diff/2021.zarr/fraction/c").rglob("*"))
    for chunk in (path for path in chunks if path.is_file()):
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match=r"detections/diff/2021.zarr/fraction.*record expects"):
        compare_figure(str(store), ["2021-12-31T00:20"])


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        (["yesterday"], {}, "--time yesterday: cannot be read"),
        (["NaT"], {}, "--time NaT"),
        ([], {}, "found 0 times, expected 1 to 24"),
        (["2021-12-31"], {"detectors": ["fnc"]}, "no detections of fnc, expected some of diff"),
    ],
)
def test_bad_input(drawn_store, tmp_path, times, options, message):
    with pytest.raises(ConfigurationError, match=message):
        draw_compare(str(drawn_store.store), times, tmp_path / "c.png", **options)


def test_nothing_is_said_of_brightness_where_no_frame_is_drawn(drawn_store):
    text = said(compare_figure(str(drawn_store.store), ["2020-01-01T00:00"]))
    assert "nothing is committed for this day" in text
    assert "brightness" not in text
    assert "brightness" in said(compare_figure(str(drawn_store.store), ["2021-12-31T00:20"]))
