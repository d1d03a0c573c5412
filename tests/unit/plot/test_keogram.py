import shutil

import numpy as np
import pytest
from picture_comparison import said

from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.plot.keogram import draw_keogram, keogram_figure
from reprocess.plot.meridian import ANGLES, NO_FRAME, OK, UNREADABLE, read_day
from reprocess.plot.stored import Stored
from reprocess.stages import detections_path
from reprocess.stores.days import DayReader

SLOTS = [0, 1, 2, 3, 5, 6]
DAY = "2021-12-30"


def _day(text):
    from datetime import date

    return date.fromisoformat(text)


def test_a_column_is_the_frame_along_the_magnetic_meridian(drawn_store):
    stored = Stored(str(drawn_store.store))
    campaign = stored.campaign
    found = read_day(stored, _day("2021-12-31"), ["diff"])
    geometry = epoch_geometry(campaign, campaign.camera[0])
    frames = stored.reader("frames", "", _day("2021-12-31"))
    image = frames.read("image", 2, 1)[0]
    # Independently of the lens: the pixel whose direction is nearest to 45° above the north.
    for angle, turn in ((45.5, 0.0), (-45.5, 180.0)):
        azimuth = np.radians(geometry.cells.north_azimuth_deg + turn)
        away = np.hypot(
            (90 - geometry.skymap.elevation_deg) * np.sin(np.radians(geometry.skymap.azimuth_deg))
            - abs(angle) * np.sin(azimuth),
            (90 - geometry.skymap.elevation_deg) * np.cos(np.radians(geometry.skymap.azimuth_deg))
            - abs(angle) * np.cos(azimuth),
        )
        y, x = np.unravel_index(np.nanargmin(away), away.shape)
        near = image[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3).astype(float)
        column = found.image[np.flatnonzero(angle == ANGLES)[0], 2]
        assert (column >= near.min(axis=0) - 0.5).all()
        assert (column <= near.max(axis=0) + 0.5).all()


def test_gaps_and_unreadable_frames_are_gaps(drawn_store):
    found = read_day(Stored(str(drawn_store.store)), _day(DAY), ["diff", "fcn"])
    assert found.frame_status.tolist()[:8] == [
        OK, OK, OK, UNREADABLE, NO_FRAME, OK, OK, NO_FRAME,
    ]  # fmt: skip
    seen = np.isfinite(found.image).all(axis=2).any(axis=0)
    assert np.flatnonzero(seen).tolist() == [0, 1, 2, 5, 6]
    observed = np.isfinite(found.share["fcn"]).any(axis=0)
    assert np.flatnonzero(observed).tolist() == [0, 1, 2, 5, 6]
    # A difference needs the frame one slot before, which slots 0 and 5 do not have.
    observed = np.isfinite(found.share["diff"]).any(axis=0)
    assert np.flatnonzero(observed).tolist() == [1, 2, 6]


def test_shares_are_the_means_of_the_cells_that_touch_the_meridian(drawn_store):
    stored = Stored(str(drawn_store.store))
    record = stored.record("detections", "fcn", _day(DAY))
    reader = DayReader(stored.objects, detections_path("fcn", 2021), _day(DAY), 144, record.objects)
    fraction = reader.read("fraction")[1]
    found = read_day(stored, _day(DAY), ["fcn"]).share["fcn"][:, 1]
    # The innermost ring has four cells of 90°: the first and the last touch the north, the
    # second and the third the south.
    north, south = ANGLES == 3.5, ANGLES == -3.5
    assert found[north] == pytest.approx((int(fraction[0]) + int(fraction[3])) / 2 / 254)
    assert found[south] == pytest.approx((int(fraction[1]) + int(fraction[2])) / 2 / 254)
    assert np.isnan(found[np.abs(ANGLES) > 80]).all()


def test_the_page(drawn_store, check_picture):
    figure = keogram_figure(
        str(drawn_store.store), "2021-12-31", detectors=["diff"], hours=(0, 1.5)
    )
    text = said(figure)
    assert "Keogram · KHO · 2021-12-31" in text
    assert "6 frames this day, 0 unreadable" in text
    assert "elevation, °" in text
    assert "counted: Sun ≤ 90°" not in text
    check_picture(figure, "keogram")


@pytest.mark.parametrize("hours", [(0.5, 0.55), (0.5, 0.5005), (0.1, 1.33), (22.3, 24), (0, 24)])
def test_short_and_odd_spans_have_curves_from_end_to_end_and_ticks(drawn_store, hours):
    figure = keogram_figure(str(drawn_store.store), "2021-12-31", hours=hours)
    sky = figure.axes[-1]
    curves = [line for line in sky.lines if line.get_label().startswith(("Sun", "Moon"))]
    assert len(curves) == 2
    for line in curves:
        assert len(line.get_xdata()) >= 25
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == pytest.approx(hours)
        assert np.isfinite(line.get_ydata()).all()
    (mlt,) = figure.axes[0].child_axes
    for axes in (sky, mlt):
        names = [text.get_text() for text in axes.get_xticklabels()]
        places = axes.get_xticks()
        assert 1 <= len(names) == len(places) <= 14
        if hours[1] - hours[0] >= 0.05:
            assert len([name for name in names if name]) >= 3
        # Round times, at their places.
        if axes is sky:
            for name, place in zip(names, places, strict=True):
                parts = [float(part) for part in name.split(":")] if name else [place]
                assert sum(p / 60**i for i, p in enumerate(parts)) == pytest.approx(place)


def test_magnetic_midnight_is_zero_and_the_end_of_a_day_is_24(drawn_store):
    figure = keogram_figure(str(drawn_store.store), "2021-12-31", hours=(0, 24))
    (mlt,) = figure.axes[0].child_axes
    assert "00:00" in [text.get_text() for text in mlt.get_xticklabels()]
    assert "24:00" not in [text.get_text() for text in mlt.get_xticklabels()]
    assert "24:00" in [text.get_text() for text in figure.axes[-1].get_xticklabels()]


def test_the_hours_shown_are_those_with_frames(drawn_store):
    figure = keogram_figure(str(drawn_store.store), DAY)
    assert {axes.get_xlim() for axes in figure.axes} == {(0.0, 1.25)}


def test_a_day_without_frames_is_a_picture_that_says_so(drawn_store, tmp_path):
    text = said(keogram_figure(str(drawn_store.store), "2021-12-29"))
    assert "No frame of 2021-12-29 is committed in this store: not observed." in text
    assert "2021-12-30, 2021-12-31" in text
    assert draw_keogram(str(drawn_store.store), "2019-01-01", tmp_path / "k.png", dpi=40).exists()


def test_without_the_frames_store_the_detections_are_still_drawn(drawn_store, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(drawn_store.store, store)
    shutil.rmtree(store / "frames")
    figure = keogram_figure(str(store), DAY)
    assert "frames store removed" in said(figure)
    assert {"diff", "fcn"} <= {axes.get_ylabel() for axes in figure.axes}


@pytest.mark.parametrize(
    ("day", "options", "message"),
    [
        ("tomorrow", {}, "--day tomorrow: cannot be read"),
        (DAY, {"hours": (3, 2)}, "--hours 3 2"),
        (DAY, {"detectors": ["x"]}, "no detections of x, expected some of diff, fcn"),
    ],
)
def test_bad_input(drawn_store, day, options, message):
    with pytest.raises(ConfigurationError, match=message):
        keogram_figure(str(drawn_store.store), day, **options)
