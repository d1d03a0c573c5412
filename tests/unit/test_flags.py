"""Flag tables: intervals and samples, what is refused, and what decides."""

import numpy as np
import pytest

from reprocess.campaign import FlagTable
from reprocess.errors import ConfigurationError
from reprocess.flags import digest, kept

INTERVALS = """# observer's log
start, end, flag
2021-06-02T00:00:00, 2021-06-02T06:00:00, cloudy
2021-06-01T10:00:00Z, 2021-06-01T12:00:00Z, cloudy
2021-06-01T14:00:00+02:00, 2021-06-01T18:00:00+02:00, clear
"""
SAMPLES = """time,flag
2021-06-01T10:00:00,cloudy
2021-06-01T10:10:00,clear
2021-06-01T10:20:00,
"""


@pytest.fixture
def table(tmp_path):
    """Settings of a table with some content."""

    def make(content, **settings):
        path = tmp_path / "clouds.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return FlagTable(**{"table": str(path), "reject": ["cloudy"], "unknown": "keep"} | settings)

    return make


def _at(*texts):
    return np.array(texts, "datetime64[us]")


def test_an_interval_holds_from_its_start_up_to_its_end(table):
    times = _at(
        "2021-06-01T09:59:59.999999", "2021-06-01T10:00:00", "2021-06-01T11:59:59.999999",
        "2021-06-01T12:00:00", "2021-06-02T05:00:00", "2021-06-02T06:00:00",
    )  # fmt: skip
    found = kept(table(INTERVALS), times)
    assert found.tolist() == [True, False, False, True, False, True]


def test_unknown_times_are_kept_or_rejected_as_asked(table):
    times = _at("2021-06-01T08:00:00", "2021-06-01T13:00:00", "NaT")
    # 14:00+02:00 is 12:00 UTC: 13:00 is clear.
    assert kept(table(INTERVALS, unknown="reject"), times).tolist() == [False, True, False]
    assert kept(table(INTERVALS, unknown="keep"), times).tolist() == [True, True, True]


def test_keep_names_the_only_flags_that_count(table):
    times = _at("2021-06-01T11:00:00", "2021-06-01T13:00:00")
    settings = {"reject": [], "keep": ["clear"]}
    assert kept(table(INTERVALS, **settings), times).tolist() == [False, True]
    settings["keep"] = ["perfect"]
    assert kept(table(INTERVALS, **settings), times).tolist() == [False, False]


def test_the_nearest_sample_within_the_tolerance_holds(table):
    times = _at(
        "2021-06-01T09:58:00", "2021-06-01T09:57:59", "2021-06-01T10:02:00",
        "2021-06-01T10:08:00", "2021-06-01T10:05:00", "2021-06-01T10:20:30",
    )  # fmt: skip
    settings = table(SAMPLES, tolerance_s=120, unknown="reject", reject=[], keep=["clear"])
    assert kept(settings, times).tolist() == [False, False, False, True, False, False]
    # Half way between two, the earlier: cloudy.
    assert kept(table(SAMPLES, tolerance_s=300), times[4:5]).tolist() == [False]


def test_parquet_is_the_same_table(table, tmp_path):
    import pyarrow
    import pyarrow.parquet

    times = pyarrow.array([1_622_541_600_000_000, 1_622_542_200_000_000])
    stored = pyarrow.table(
        {"time": times.cast(pyarrow.timestamp("us", "UTC")), "flag": ["cloudy", "clear"]}
    )
    pyarrow.parquet.write_table(stored, tmp_path / "t.parquet")
    settings = table((tmp_path / "t.parquet").read_bytes(), tolerance_s=60)
    found = kept(settings, _at("2021-06-01T10:00:30", "2021-06-01T10:10:30"))
    assert found.tolist() == [False, True]


def test_without_pyarrow_the_error_says_what_to_install(table, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"reprocess\[parquet\]"):
        kept(table(b"PAR1 and more"), _at("2021-06-01T10:00:30"))


def test_an_empty_table_knows_nothing(table):
    assert kept(table("start,end,flag\n"), _at("2021-06-01T10:00")).tolist() == [True]
    assert kept(table("time,flag\n", tolerance_s=1), _at("2021-06-01T10:00")).tolist() == [True]


@pytest.mark.parametrize(
    ("content", "settings", "reason"),
    [
        ("time,flag\n", {}, r"found columns time, flag, expected start, end, flag \(intervals"),
        ("start,end,flag\n", {"tolerance_s": 5}, r"expected time, flag \(samples"),
        ("", {}, "found columns none"),
        ("start,end,flag\n2021-06-01,2021-06-02\n", {}, "row 2 has 2 values, expected 3"),
        ("start,end,flag\n1 June,2021-06-02,x\n", {}, "start of row 1 of the table: found"),
        ("start,end,flag\n2021-06-02,2021-06-01,x\n", {}, "ends at 2021-06-01T00:00:00.000000"),
        (
            "start,end,flag\n2021-06-01,2021-06-03,x\n2021-06-02,2021-06-04,x\n", {},
            "intervals that do not overlap",
        ),
        (SAMPLES + "2021-06-01T10:00:00,clear\n", {"tolerance_s": 5}, "expected each time once"),
        (b"\xff\xfe\x00", {}, "is neither Parquet nor text"),
        (b"PAR1 and no more", {}, "is no Parquet table"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_by_name(table, content, settings, reason):
    with pytest.raises(ConfigurationError, match=reason) as refused:
        kept(table(content, **settings), _at("2021-06-01T10:00:00"))
    assert "clouds.csv" in str(refused.value)


def test_a_missing_table_is_named(tmp_path):
    settings = FlagTable(table=str(tmp_path / "no.csv"), reject=["x"], unknown="keep")
    with pytest.raises(ConfigurationError, match=r"no\.csv: cannot be read"):
        digest(settings)


def test_the_digest_is_of_the_content(table):
    first = digest(table(SAMPLES))
    assert digest(table(SAMPLES)) == first
    assert digest(table(SAMPLES + "\n")) != first


@pytest.mark.parametrize("rule", [{}, {"reject": ["a"], "keep": ["b"]}])
def test_one_rule_is_needed(rule):
    with pytest.raises(ValueError, match="either reject or keep"):
        FlagTable(table="t.csv", unknown="keep", **rule)


def test_what_becomes_of_unknown_times_is_never_assumed():
    with pytest.raises(ValueError, match="unknown"):
        FlagTable(table="t.csv", reject=["a"])
