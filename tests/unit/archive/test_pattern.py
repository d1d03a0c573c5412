"""Times in names."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprocess.archive.pattern import NamePattern
from reprocess.errors import ConfigurationError


def _time(pattern, name):
    """The time in a name, or the reason why there is none."""
    found = NamePattern(pattern).parse(name)
    if isinstance(found, str):
        return found
    day, us = found
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    assert moment.date() == day
    return moment.replace(tzinfo=None).isoformat(sep=" ")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("%Y%m%d_%H%M%S_kho.png", "20131204_184944_kho.png", "2013-12-04 18:49:44"),
        ("%Y%m%d%H%M%S.jpg", "deep/down/20140101062052.jpg", "2014-01-01 06:20:52"),
        ("%Y%m%d%H%M.jpg", "201401010620.jpg", "2014-01-01 06:20:00"),
        ("%Y/%m/%d/%H%M.jpg", "2020/02/29/2359.jpg", "2020-02-29 23:59:00"),
        ("%Y/%j/%H%M%S.jpg", "2020/366/000000.jpg", "2020-12-31 00:00:00"),
        ("*_%Y%m%d_%H%M%S.%f.fits", "A_B_20151007_082355.961.fits", "2015-10-07 08:23:55.961000"),
        ("%d-%b-%Y %H:%M:%S.png", "05-Nov-2020 01:02:03.png", "2020-11-05 01:02:03"),
        ("%y%m%d_%H%M%S.jpg", "111220_200933.jpg", "2011-12-20 20:09:33"),
        ("%Y/%Y%m%d_%H%M.jpg", "2019/20190304_0506.jpg", "2019-03-04 05:06:00"),
        ("100%%_%Y%m%d%H%M.jpg", "100%_202001020304.jpg", "2020-01-02 03:04:00"),
        ("a+(b)[c].%Y%m%d%H%M", "a+(b)[c].202001020304", "2020-01-02 03:04:00"),
        ("%Y%m%d_%H%M*.jpg", "20200102_0304 with spaces ü\n.jpg", "2020-01-02 03:04:00"),
    ],
)
def test_time(pattern, name, expected):
    assert _time(pattern, name) == expected


@pytest.mark.parametrize(
    ("pattern", "name", "reason"),
    [
        ("%Y%m%d_%H%M.jpg", "20180230_1200.jpg", "there is no such date (%Y=2018 %m=02 %d=30)"),
        ("%Y%m%d_%H%M.jpg", "20180001_1200.jpg", "no such date"),
        ("%Y%m%d_%H%M.jpg", "00000101_1200.jpg", "no such date"),
        ("%Y%j_%H%M.jpg", "2019366_1200.jpg", "no such date"),
        ("%Y%j_%H%M.jpg", "2019000_1200.jpg", "no such date"),
        ("%Y%j_%H%M.jpg", "0001000_1200.jpg", "no such date"),
        ("%Y%m%d_%j_%H%M.jpg", "20190102_003_1200.jpg", "no such date"),
        ("%Y_%y%m%d_%H%M.jpg", "2019_180102_1200.jpg", "no such date"),
        ("%Y%b%m%d_%H%M.jpg", "2019Jan0202_1200.jpg", "no such date"),
        ("%Y%m%d_%H%M.jpg", "20180101_2400.jpg", "there is no time 24:00:00"),
        ("%Y%m%d_%H%M.jpg", "20180101_1260.jpg", "there is no time 12:60:00"),
        ("%Y%m%d_%H%M%S.jpg", "20161231_235960.jpg", "there is no time 23:59:60"),
        ("%Y%m%d_%H%M.jpg", "20180101_1200.JPG", "does not match the pattern %Y%m%d_%H%M.jpg"),
        ("%Y%m%d_%H%M.jpg", "x20180101_1200.jpg", "does not match"),
        ("%Y%m%d_%H%M.jpg", "20180101_1200.jpg.tmp", "does not match"),
        ("%Y%m%d_%H%M.jpg", "20180101_1200.jpg\n", "does not match"),
        ("%Y%m%d_%H%M.jpg", "20180101_1200xjpg", "does not match"),
        ("%Y%m%d_%H%M.jpg", "٢٠١٨0101_1200.jpg", "does not match"),
        ("%Y/*/%m%d%H%M.jpg", "2018/a/b/01011200.jpg", "does not match"),
        ("%Y/%Y%m%d_%H%M.jpg", "2019/20180304_0506.jpg", "two different times"),
    ],
)
def test_no_time(pattern, name, reason):
    assert reason in _time(pattern, name)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)))
def test_what_strftime_writes_is_read_again(moment):
    for pattern in ("%Y/%j/%H-%M-%S.%f.png", "%Y%m%d_%H%M%S_%f.jpg", "%Y-%b/%Y%m%d%H%M%S.%f"):
        day, us = NamePattern(pattern).parse(moment.strftime(pattern))
        assert day == moment.date()
        assert timedelta(microseconds=us) == moment - datetime(1970, 1, 1)


def test_unknown_directive_lists_the_known_ones():
    with pytest.raises(ConfigurationError) as refused:
        NamePattern("%Y%m%d_%Q.jpg")
    assert "found %Q" in str(refused.value)
    assert "%Y %m %d" in str(refused.value)


def test_a_percent_sign_at_the_end_is_unknown():
    with pytest.raises(ConfigurationError, match="found %,"):
        NamePattern("%Y%m%d%")


def test_many_wildcards_take_no_time():
    pattern = NamePattern("%Y%m%d_%H%M" + "*" * 40 + ".jpg")
    assert isinstance(pattern.parse("20200102_0304" + "a" * 4000 + ".png"), str)


def test_a_misfiled_frame_is_told_apart_from_another_name():
    pattern = "%Y/%m/%d/jbs_%Y%m%d_%H%M%S.jpg"
    told = _time(pattern, "2021/06/10/jbs_20210611_132000.jpg")
    assert told == f"tells two different times by the pattern {pattern}"
    for name in ("2021/06/10/kho_20210610_132000.jpg", "2021/06/jbs_20210610_132000.jpg"):
        assert _time(pattern, name) == f"does not match the pattern {pattern}"
    assert _time("%Y%m%d_%Y%H%M.jpg", "x/20210611_20200000.jpg").startswith("tells two different")


def test_a_reason_is_not_remembered_for_another_name():
    pattern = NamePattern("%Y%m%d_%H%M.jpg")
    assert isinstance(pattern.parse("20180230_1200.jpg"), str)
    assert pattern.parse("20180228_1200.jpg")[0] == date(2018, 2, 28)
    assert isinstance(pattern.parse("20180228_1299.jpg"), str)
    assert pattern.parse("20180228_1200.jpg")[0] == date(2018, 2, 28)


@pytest.mark.parametrize(
    ("pattern", "directory", "expected"),
    [
        ("%Y/%m/%d/*.jpg", "2018", (2018, None, None)),
        ("%Y/%m/%d/*.jpg", "2018/12/31", (2018, 12, 31)),
        ("%Y/%m/%d/*.jpg", "2018/12/31/deeper", (2018, 12, 31)),
        ("%Y/%m/%d/*.jpg", "other", (None, None, None)),
        ("%Y/%m/%d/*.jpg", "2018/xx", (2018, None, None)),
        ("%Y/%j/*.jpg", "2019/365", (2019, 12, 31)),
        ("%Y/%j/*.jpg", "2019/366", (2019, None, None)),
        ("cam_%Y%m%d/*.jpg", "cam_20190102", (2019, 1, 2)),
        ("%Y%m%d_%H%M.jpg", "2018", (None, None, None)),
    ],
)
def test_what_a_directory_tells(pattern, directory, expected):
    assert NamePattern(pattern).directory_date(directory) == expected


@pytest.mark.parametrize(
    ("pattern", "of_year", "of_eve"),
    [
        ("%Y/%m%d/%Y%m%d_%H%M.jpg", "2020/", "2020/1231/20201231_"),
        ("%Y%m%d/%H%M.jpg", "2020", "20201231/"),
        ("KHO 100%%/%y/%Y%j_%H%M.jpg", "KHO 100%/20/2020", "KHO 100%/20/2020366_"),
        ("%Y/%b/%d/%H%M.jpg", "2020/", "2020/Dec/31/"),
        ("%H/%Y%m%d_%M.jpg", "", ""),
        ("cam*/%Y/%m%d_%H%M.jpg", "", ""),
        ("%Y%m%d_%H%M.jpg", "", ""),
    ],
)
def test_what_the_paths_of_a_year_and_of_a_day_begin_with(pattern, of_year, of_eve):
    assert NamePattern(pattern).prefix(2020) == of_year
    assert NamePattern(pattern).prefix(2020, date(2020, 12, 31)) == of_eve


TREX = "%Y%m%d_%H%M%S_%f_gill_rgb-*_{exposure_ms}ms_*.png"


def test_a_name_may_tell_exposure_and_gain():
    pattern = NamePattern(TREX)
    name = "20211030_060500_149606_gill_rgb-04_320ms_full.png"
    assert _time(TREX, name) == "2021-10-30 06:05:00.149606"
    assert pattern.name_fields == ("exposure_ms",)
    exposure_s, gain = pattern.told(name)
    assert exposure_s == 0.32
    assert math.isnan(gain)
    both = NamePattern("%Y%m%d%H%M_{exposure_s}s_g{gain}.png")
    assert both.told("202110300605_1.5s_g100.png") == (1.5, 100.0)
    assert all(map(math.isnan, both.told("something else.png")))
    assert all(map(math.isnan, NamePattern("%Y%m%d%H%M.png").told("202110300605.png")))


def test_other_braces_are_text():
    assert _time("{x}%Y%m%d%H%M", "{x}202110300605") == "2021-10-30 06:05:00"


def test_the_prefix_of_a_year_ends_before_a_number_that_names_tell():
    assert NamePattern("%Y/e{exposure_s}/%m%d%H%M.png").prefix(2021) == "2021/e"


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("%Y/%m/%d/*.pgm.gz", "2021/06/10/a.pgm.gz", (2021, 6, 10)),
        ("%Y/%j/*.fits", "2021/161/a.fits", (2021, 6, 10)),
        ("%y/%b/*.fits", "21/Jun/a.fits", (2021, 6, None)),
        ("%Y/*.fits", "2021/a.fits", (2021, None, None)),
        ("*.fits", "down/here/a.fits", (None, None, None)),
        ("*.fits", "a.png", "does not match the pattern *.fits"),
    ],
)
def test_as_much_of_the_date_as_a_name_tells(pattern, name, expected):
    assert NamePattern(pattern).partial_date(name) == expected


@pytest.mark.parametrize(
    ("pattern", "directory", "expected"),
    [
        ("%Y/%b/%d/%H%M.png", "2021/Dec", (2021, 12, None)),
        ("%y%m%d/%H%M.png", "211231", (2021, 12, 31)),
        ("%d%b%Y/%H%M.png", "31Dec2021", (2021, 12, 31)),
    ],
)
def test_directories_tell_their_date_in_any_of_its_forms(pattern, directory, expected):
    assert NamePattern(pattern).directory_date(directory) == expected
