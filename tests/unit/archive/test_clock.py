"""Told times become UTC at the middle of the exposure, or are refused."""

from datetime import UTC, datetime

import pytest

from reprocess.archive.clock import Clock


def _us(text):
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def _text(us):
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("zone", "told", "expected"),
    [
        ("UTC", "2021-06-01 00:30:00", "2021-06-01 00:30:00"),
        ("+01:00", "2021-06-01 00:30:00", "2021-05-31 23:30:00"),
        ("-09:30", "2021-06-01 20:30:00", "2021-06-02 06:00:00"),
        ("Europe/Oslo", "2021-01-15 12:00:00", "2021-01-15 11:00:00"),
        ("Europe/Oslo", "2021-07-15 12:00:00", "2021-07-15 10:00:00"),
    ],
)
def test_zones(zone, told, expected):
    assert _text(Clock(zone).utc_us(_us(told))) == expected


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("2021-10-31 02:30:00", "occurs twice in Europe/Oslo"),
        ("2021-03-28 02:30:00", "there is no 2021-03-28 02:30:00 in Europe/Oslo"),
    ],
)
def test_an_hour_that_occurs_twice_or_never_is_refused_not_guessed(told, reason):
    assert reason in Clock("Europe/Oslo").utc_us(_us(told))
    assert isinstance(Clock("+01:00").utc_us(_us(told)), int)


def test_what_the_file_says_of_its_zone_must_be_what_is_declared():
    told = _us("2021-06-01 12:00:00")
    assert Clock("+02:00").utc_us(told, 7200.0) == told - 7200 * 1_000_000
    assert Clock("Europe/Oslo").utc_us(told, 7200.0) == told - 7200 * 1_000_000
    refused = Clock("UTC").utc_us(told, 7200.0)
    assert refused == (
        "the file says that its clock is 02:00 ahead of UTC, archive.timezone UTC says 00:00 ahead"
    )


@pytest.fixture
def epochs(make_campaign):
    epoch = make_campaign().camera[0]
    second = {"valid_from": datetime(2019, 1, 1, tzinfo=UTC), "exposure_s": 10.0}
    return (
        epoch.model_copy(update={"clock_offset_s": -90.0}),
        epoch.model_copy(update={**second, "time_stamps": "start"}),
        epoch.model_copy(
            update={**second, "valid_from": datetime(2020, 1, 1, tzinfo=UTC), "time_stamps": "end"}
        ),
    )


@pytest.mark.parametrize(
    ("told", "shift_s"),
    [
        ("2017-12-31 23:59:59", 0),
        ("2018-01-01 00:00:00", -90),
        ("2019-06-01 12:00:00", 5),
        ("2020-06-01 12:00:00", -5),
    ],
)
def test_offset_and_stamped_moment_are_those_of_the_epoch(epochs, told, shift_s):
    clock = Clock("UTC", epochs)
    assert clock.utc_us(_us(told)) == _us(told) + shift_s * 1_000_000
    assert not clock.is_plain


def test_nothing_declared_changes_nothing(make_campaign):
    clock = Clock("UTC", make_campaign().camera)
    assert clock.is_plain
    assert clock.reach_days == 0
