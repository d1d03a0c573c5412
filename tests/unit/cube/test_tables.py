from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprocess.cube.tables import UNASSIGNED, as_table, month_table, table_of
from reprocess.errors import ConfigurationError


def times(*text):
    return np.array(text, "datetime64[us]")


def test_a_row_holds_from_its_own_time_until_the_next_rows():
    table = as_table((times("2020-01-01T00", "2020-01-01T03"), [7, 2]), None)
    assert table.keys.tolist() == [2, 7]
    asked = times(
        "2019-12-31T23:59:59.999999",
        "2020-01-01T00",
        "2020-01-01T02:59:59.999999",
        "2020-01-01T03",
        "NaT",
    )
    assert table.codes(asked).tolist() == [UNASSIGNED, 1, 1, 0, UNASSIGNED]


def test_a_row_holds_for_less_than_max_age():
    table = as_table((times("2020-01-01T00"), ["a"]), np.timedelta64(3, "h"))
    asked = times("2020-01-01T00", "2020-01-01T02:59:59.999999", "2020-01-01T03")
    assert table.codes(asked).tolist() == [0, 0, UNASSIGNED]


def test_equal_neighbours_age_from_their_own_time():
    rows = (times("2020-01-01T00", "2020-01-01T03"), ["a", "a"])
    asked = times("2020-01-01T04", "2020-01-01T06")
    assert as_table(rows, np.timedelta64(3, "h")).codes(asked).tolist() == [0, UNASSIGNED]
    assert as_table(rows, None).codes(asked).tolist() == [0, 0]


@pytest.mark.parametrize(
    "keys",
    [
        [1.0, np.nan],
        ["x", None],
        np.array(["2020", "NaT"], "datetime64[Y]"),
        pd.array([1, pd.NA], dtype="Int64").astype(object),
        [pd.NaT, "x"],
    ],
)
def test_missing_keys_have_no_group(keys):
    table = as_table((times("2020-01-01", "2020-01-02"), keys), None)
    assert len(table.keys) == 1
    assert sorted(table.codes(times("2020-01-01", "2020-01-02")).tolist()) == [UNASSIGNED, 0]


def test_an_empty_table_holds_nothing():
    table = table_of(times(), np.array([], "U1"), None)
    assert table.codes(times("2020-01-01")).tolist() == [UNASSIGNED]


def test_between_keeps_the_row_that_reaches_into_the_first_year():
    rows = (times("2018-05-01", "2019-12-31", "2020-06-01", "2021-01-01"), ["a", "b", "c", "d"])
    table = as_table(rows, None).between(2020, 2020)
    assert table.keys.tolist() == ["b", "c"]
    asked = times("2020-01-01", "2020-12-31")
    assert table.keys[table.codes(asked)].tolist() == ["b", "c"]
    with pytest.raises(ConfigurationError, match="2016 to 2017"):
        as_table(rows, None).between(2016, 2017)


def test_months_are_calendar_months():
    table = month_table(2019, 2020)
    asked = times("2019-01-01", "2020-02-29T23:59", "2020-12-31T23:59:59.999999")
    assert table.codes(asked).tolist() == [0, 13, 23]
    assert table.keys[13] == np.datetime64("2020-02-01")


@given(
    st.dictionaries(st.integers(0, 50), st.sampled_from(["a", "b", None]), max_size=8),
    st.lists(st.integers(0, 60), max_size=10),
)
@settings(max_examples=100, deadline=None)
def test_codes_equal_a_search_row_by_row(rows, asked):
    origin = np.datetime64("2020-01-01", "us")
    hour = np.timedelta64(1, "h")
    table = as_table({origin + n * hour: key for n, key in rows.items()}, None)
    found = table.codes(times() if not asked else origin + np.array(asked) * hour)
    for time, code in zip(asked, found, strict=True):
        before = [n for n in rows if n <= time]
        key = rows[max(before)] if before else None
        assert (None if code == UNASSIGNED else table.keys[code]) == key
