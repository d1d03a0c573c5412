"""Settings under which nothing can be observed are told of, and others are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from reprocess.archive.catalogue import Catalogue, Entry
from reprocess.archive.inputs import acquired_times
from reprocess.forewarn import doubts
from reprocess.geometry.ephemeris import sun_elevation_deg
from reprocess.request import Request

FIRST = date(2020, 6, 1)


@pytest.fixture
def catalogue():
    """Three winter days of an Antarctic year, a frame an hour, and the last of the year before."""

    def entries(day):
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        hours = (start + timedelta(hours=h) for h in range(24))
        return [Entry(f"{t:%Y%m%d_%H}.jpg", int(t.timestamp() * 1e6), 100, "1") for t in hours]

    days = [date(2019, 12, 31), *(FIRST + timedelta(days=n) for n in range(3))]
    return Catalogue({day: entries(day) for day in days})


@pytest.fixture
def told(small_campaign, catalogue):
    """What is said of a campaign that differs from one with which all is well."""

    def tell(years=(2020,), labels=("diff",), **changes):
        well = {"detectors__diff__lag_s": 3600, "process__sun_elevation_max_deg": -10}
        campaign = small_campaign(**{**well, **changes})
        return list(doubts(campaign, Request(years, labels), catalogue))

    return tell


def test_nothing_is_said_where_all_is_well(told):
    assert told() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"camera__0__lens__px_per_deg": 0.6 * 57}, ["camera.0: ", "px_per_deg", "visible_min"]),
        ({"camera__0__zenith_max_deg": 1.57}, ["camera.0: ", "zenith_max_deg", "visible_min (0.5"]),
        ({"cells": {"pixels_min": 4000}}, ["camera.0: ", "pixels_min (4000"]),
        ({"detectors__diff__lag_s": 1800}, ["detectors.diff.lag_s: found 1800", "such as 3600"]),
        ({"detectors__diff__lag_s": 20}, ["detectors.diff.lag_s: found 20 ", "such as 3600"]),
        ({"site__latitude_deg": 74.62}, ["sun_elevation_max_deg: found -10", "some of 72 frames",
                                         "site.latitude_deg"]),
        ({"camera__0__valid_from": "2020-06-04T00:00:00Z"}, ["valid_from", "any of 72 frames",
                                                             "(2020-06-01T00:00:00 to"]),
    ],
)  # fmt: skip
def test_what_leaves_nothing_to_observe_is_named(told, changes, says):
    (text,) = told(**changes)
    assert all(word in text for word in says), text


@pytest.mark.parametrize(
    "changes",
    [
        {"cadence_s": 60, "detectors__diff__lag_s": 74.9},
        {"cadence_s": 60, "detectors__diff__lag_s": 45},
        {"cadence_s": 60, "detectors__diff__lag_s": 600},
        {"camera__0__valid_from": "2020-06-03T12:00:00Z"},
        {"site__latitude_deg": 74.62, "process__sun_elevation_max_deg": None},
    ],
)
def test_what_leaves_something_is_not(told, changes):
    assert told(**changes) == []


def test_detectors_and_epochs_that_are_not_run_are_not_spoken_of(told, campaign_document):
    camera = campaign_document()["camera"]
    camera.append({**camera[0], "valid_from": "2021-01-01T00:00:00Z", "zenith_max_deg": 1.57})
    assert told(camera=camera) == []
    assert len(told(camera=camera, labels=("diff", "fast"))) == 1
    assert [text[:9] for text in told(camera=camera, years=(2020, 2021))] == ["camera.1:"]


@pytest.mark.parametrize("longitude_deg", [164.22, -164.22, 15.0, 344.0, 180.0, -180.0])
def test_one_frame_in_the_dark_is_enough_wherever_the_station_is(
    told, catalogue, small_campaign, longitude_deg
):
    """A year of noons and one hour of night is not worth a word."""
    place = {"site__longitude_deg": longitude_deg, "site__latitude_deg": -60}
    site = small_campaign(**place).site
    times = np.concatenate([acquired_times(e) for d, e in catalogue.days.items() if d >= FIRST])
    lowest_deg = sun_elevation_deg(site, times).min()
    changes = {**place, "cube": {"sun_elevation_max_deg": -60}}
    changes["process__sun_elevation_max_deg"] = float(lowest_deg) + 0.3
    assert told(**changes) == []
    changes["process__sun_elevation_max_deg"] = float(lowest_deg) - 0.3
    assert len(told(**changes)) == 1
