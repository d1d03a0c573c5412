from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from whole_year import count_year

from reprocess.cube import committed, groups
from reprocess.cube.groups import count_occurrence
from reprocess.errors import ConfigurationError, StoreError
from reprocess.stores.days import DayWriter
from reprocess.stores.layout import (
    ACQUIRED,
    NOT_ACQUIRED_US,
    Coordinate,
    Variable,
    YearLayout,
    day_start,
)
from reprocess.stores.metadata import lay_out
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Record, Records, day_block

SLOTS, CELLS = 24, 3  # one frame an hour
HOUR = np.timedelta64(1, "h")


def frames_of(day, seed):
    """One day's frames: most slots filled, at 7 minutes past the hour."""
    rng = np.random.default_rng([day.toordinal(), seed])
    present = np.random.default_rng(day.toordinal()).random(SLOTS) < 0.8
    start = np.datetime64(day, "us")
    times = start + np.arange(SLOTS) * HOUR + np.timedelta64(7, "m")
    fraction = rng.integers(0, 256, (SLOTS, CELLS)).astype(np.uint8)
    fraction[rng.random((SLOTS, CELLS)) < 0.3] = 255
    fraction[~present] = 255

    def filled(values):
        return np.where(present, values, np.nan).astype(np.float32)

    hours = np.arange(SLOTS)
    return {
        "fraction": fraction,
        "acquired": np.where(present, times.astype(np.int64), NOT_ACQUIRED_US),
        "mlt": filled((hours - 8.1) % 24),
        "sun_elevation": filled(-25 + hours),
        "moon_elevation": filled(hours - 12),
    }


class Store:
    """A store of detections with records, written with the package's own writer."""

    def __init__(self, url):
        self.url = url
        self.objects = open_objects(url)
        self.records = Records(self.objects)
        self.days: dict[str, dict[date, dict[str, np.ndarray]]] = {}

    def path(self, label, year):
        return f"detections/{label}/{year}.zarr"

    def add_year(self, label, year, zenith=10.0, cells=CELLS):
        per_frame = [
            Variable(n, (), (), "float32", float("nan"))
            for n in ("mlt", "sun_elevation", "moon_elevation")
        ]
        layout = YearLayout(
            path=self.path(label, year),
            year=year,
            slots_per_day=SLOTS,
            phase_s=0,
            variables=(
                Variable("fraction", ("cell",), (cells,), "uint8", 255),
                ACQUIRED,
                *per_frame,
            ),
            coordinates=(
                Coordinate("cell_zenith_deg", ("cell",), np.full(cells, zenith, np.float32)),
                Coordinate(
                    "cell_zenith_bounds",
                    ("cell", "bound"),
                    np.tile(np.float32([0, 20]), (cells, 1)),
                ),
            ),
            attributes={"title": "x", "detector": label, "site": "TST"},
        )
        lay_out(self.objects, layout)

    def add_day(self, label, day, values=None, commit=True):
        values = values or frames_of(day, seed=len(label))
        writer = DayWriter(self.objects, self.path(label, day.year), day, SLOTS, lambda: None)
        for name, array in values.items():
            writer.write(name, 0, array)
        block = day_block("detections", label, day)
        if commit:
            self.days.setdefault(label, {})[day] = values
            self.records.write(Record(block, "ab" * 24, writer.finish(list(values))))

    def arrays(self, label):
        """All committed days of a label, one after the other."""
        days = self.days[label]
        names = next(iter(days.values()))
        joined = {n: np.concatenate([values[n] for values in days.values()]) for n in names}
        return np.repeat([d.toordinal() for d in days], SLOTS), joined


@pytest.fixture
def store(tmp_path):
    """Two labels; `fcn` lacks a day, and a gap parts the days of each year."""
    store = Store(str(tmp_path))
    days = [date(2019, 12, 30), date(2019, 12, 31), date(2020, 1, 1), date(2020, 6, 20)]
    for label in ("difference", "fcn"):
        for year in (2019, 2020):
            store.add_year(label, year)
        for day in days:
            if (label, day) != ("fcn", date(2020, 1, 1)):
                store.add_day(label, day)
    return store


def total(dataset, outcome="observed"):
    return int(dataset["counts"].sel(outcome=outcome).sum())


def test_months_equal_the_cubes_own_counting(store):
    found = count_occurrence(store.url, labels=["fcn"], sun_elevation_max_deg=-15)
    day, arrays = store.arrays("fcn")
    months = pd.to_datetime(arrays["acquired"].astype("datetime64[us]"))
    month = np.where(months.isna(), 0, months.month - 1)
    assert set(month[arrays["acquired"] != NOT_ACQUIRED_US]) == {5, 11}
    mlt = np.where(np.isnan(arrays["mlt"]), -1, np.floor(np.nan_to_num(arrays["mlt"])))
    wanted, wanted_days = count_year(
        day,
        month.astype(np.int8),
        mlt.astype(np.int16),
        arrays["sun_elevation"] <= -15,
        {"fcn": arrays["fraction"]},
        n_mlt=24,
        fraction_min=127,
        compare=("fcn",),
    )
    assert total(found) > 0
    for name, array in (("counts", wanted), ("n_days", wanted_days)):
        for month_index, key in ((5, "2020-06"), (11, "2019-12")):
            mine = found[name].sel(group=key).squeeze("group")
            assert np.array_equal(mine, array[:, month_index])
    assert len(found["group"]) == 24  # every month of both years, most of them empty
    assert np.isnan(found["occurrence"].sel(group="2020-03")).all()


def test_memory_bound_reading_gives_the_same_counts(store, monkeypatch):
    whole = count_occurrence(store.url)
    monkeypatch.setattr(committed, "READ_BYTES", 1)  # one day at a time
    assert whole.identical(count_occurrence(store.url))


def test_common_frames_are_those_of_days_that_both_labels_committed(store):
    found = count_occurrence(store.url, by_mlt=False, sun_elevation_max_deg=90)
    both = {
        label: np.concatenate(
            [v["fraction"] for d, v in store.days[label].items() if d in store.days["fcn"]]
        )
        for label in ("difference", "fcn")
    }
    common = (both["difference"] != 255) & (both["fcn"] != 255)
    counts = found["counts"].sum("group").squeeze("mlt")
    for label in ("difference", "fcn"):
        mine = counts.sel(detector=label)
        assert np.array_equal(mine.sel(outcome="observed_common"), common.sum(0))
        lit = common & (both[label] >= 127)
        assert np.array_equal(mine.sel(outcome="aurora_common"), lit.sum(0))
    alone = np.concatenate([v["fraction"] for v in store.days["difference"].values()]) != 255
    assert np.array_equal(counts.sel(detector="difference", outcome="observed"), alone.sum(0))


def test_without_mlt_bins_the_counts_are_the_sum_over_mlt(store):
    by_mlt = count_occurrence(store.url)
    whole = count_occurrence(store.url, by_mlt=False)
    assert whole["mlt_bounds"].values.tolist() == [[0.0, 24.0]]
    assert np.array_equal(whole["counts"].squeeze("mlt"), by_mlt["counts"].sum("mlt"))


def test_sun_moon_and_cell_rule(store):
    assert total(count_occurrence(store.url, sun_elevation_max_deg=-26)) == 0
    everything = count_occurrence(store.url, sun_elevation_max_deg=90)
    dark = count_occurrence(store.url, sun_elevation_max_deg=-15)
    no_moon = count_occurrence(store.url, sun_elevation_max_deg=90, moon_elevation_max_deg=0)
    assert 0 < total(dark) < total(everything)
    assert 0 < total(no_moon) < total(everything)
    strict = count_occurrence(store.url, sun_elevation_max_deg=90, cell_fraction_min=1.0)
    assert total(strict) == total(everything)
    assert total(strict, "aurora") < total(everything, "aurora")


KP_TIMES = np.array(["2019-12-30T00", "2019-12-31T12", "2020-01-01T03"], "datetime64[h]")
KP = ["quiet", "active", None]


@pytest.mark.parametrize(
    "table",
    [
        (KP_TIMES, KP),
        (KP_TIMES[::-1], KP[::-1]),
        dict(zip(KP_TIMES.astype(object), KP, strict=True)),
        pd.Series(KP, index=pd.DatetimeIndex(KP_TIMES)),
        pd.Series(KP, index=pd.DatetimeIndex(KP_TIMES, tz="UTC").tz_convert("Asia/Seoul")),
        pd.Series(pd.Categorical(KP), index=pd.DatetimeIndex(KP_TIMES)),
        xr.DataArray(np.array(KP, object), dims="t", coords={"t": KP_TIMES.astype("M8[ns]")}),
        lambda times: np.where(
            times < KP_TIMES[1], "quiet", np.where(times < KP_TIMES[2], "active", None)
        ),
    ],
    ids=["tuple", "unsorted", "mapping", "series", "zone", "categorical", "dataarray", "function"],
)
def test_a_frame_belongs_to_the_last_row_at_or_before_it(store, table):
    found = count_occurrence(store.url, table, by_mlt=False, sun_elevation_max_deg=90)
    assert found["group"].values.tolist() == ["active", "quiet"]
    wanted = {"quiet": 0, "active": 0}
    for day, values in store.days["difference"].items():
        for slot in range(SLOTS):
            time = np.datetime64(day, "h") + slot * HOUR  # frames come 7 minutes later
            if time >= KP_TIMES[2]:
                continue
            key = "quiet" if time < KP_TIMES[1] else "active"
            wanted[key] += int((values["fraction"][slot] != 255).sum())
    counts = found["counts"].sel(outcome="observed", detector="difference").sum(("mlt", "cell"))
    assert {k: int(counts.sel(group=k)) for k in wanted} == wanted
    assert min(wanted.values()) > 0


def test_rows_older_than_max_age_hold_nothing(store):
    rows = (np.array(["2019-12-30T00"], "datetime64[h]"), [4])
    kwargs = {"by_mlt": False, "labels": ["difference"], "sun_elevation_max_deg": 90.0}
    found = count_occurrence(store.url, rows, max_age=3 * HOUR, **kwargs)
    first = store.days["difference"][date(2019, 12, 30)]["fraction"]
    assert found["group"].values.tolist() == [4]
    assert (
        total(found)
        == (first[:3] != 255).sum()
        < total(count_occurrence(store.url, rows, **kwargs))
    )


def test_frames_before_the_first_row_are_not_counted(store):
    rows = (np.array(["2020-06-20T00"], "datetime64[h]"), [1])
    found = count_occurrence(
        store.url, rows, by_mlt=False, labels=["fcn"], sun_elevation_max_deg=90
    )
    assert total(found) == (store.days["fcn"][date(2020, 6, 20)]["fraction"] != 255).sum()


def test_only_committed_days_count(store):
    before = count_occurrence(store.url)
    store.add_day("fcn", date(2020, 3, 3), commit=False)
    assert before.identical(count_occurrence(store.url))
    store.add_day("fcn", date(2020, 3, 3))
    assert total(count_occurrence(store.url)) > total(before)
    block = day_block("detections", "fcn", date(2020, 3, 3))
    store.records.write(Record(block, "cd" * 24, {}))  # a crash between two records
    assert before.identical(count_occurrence(store.url))


def test_a_flipped_byte_is_an_error_and_never_a_count(store):
    index = day_start(date(2020, 6, 20), SLOTS) // SLOTS
    key = f"{store.path('fcn', 2020)}/fraction/c/{index}/0"
    data = bytearray(store.objects.read(key))
    data[-1] ^= 1
    store.objects.write(key, bytes(data))
    with pytest.raises(StoreError, match="stale"):
        count_occurrence(store.url)


def test_labels_that_disagree_on_a_frames_time_are_an_error(store):
    day = date(2020, 2, 2)
    values = frames_of(day, 1)
    store.add_day("difference", day, values)
    moved = np.where(values["acquired"] == NOT_ACQUIRED_US, NOT_ACQUIRED_US, values["acquired"] + 1)
    store.add_day("fcn", day, {**values, "acquired": moved})
    with pytest.raises(StoreError, match=r"2020-02-02.*difference and fcn.*different times"):
        count_occurrence(store.url)
    assert total(count_occurrence(store.url, labels=["fcn"])) > 0


def test_a_frame_that_only_one_label_has_still_counts(store):
    day = date(2020, 2, 2)
    values = frames_of(day, 1)
    slot = int(np.flatnonzero(values["acquired"] != NOT_ACQUIRED_US)[0])
    without = {name: array.copy() for name, array in values.items()}
    without["acquired"][slot] = NOT_ACQUIRED_US
    without["fraction"][slot] = 255
    for name in ("mlt", "sun_elevation", "moon_elevation"):
        without[name][slot] = np.nan
    store.add_day("difference", day, without)  # the first label lacks it
    store.add_day("fcn", day, values)
    found = count_occurrence(store.url, sun_elevation_max_deg=90).sel(group="2020-02")
    counts = found["counts"].sel(outcome="observed", detector="fcn")
    assert int(counts.sum()) == (values["fraction"] != 255).sum()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"labels": ["fcm"]}, "difference, fcn .*expected fcm"),
        ({"years": [2021]}, "2019, 2020.*expected 2021"),
        ({"compare": ["other"]}, "found other, expected some of difference, fcn"),
        ({"groups": 3}, "found int"),
        ({"groups": (KP_TIMES, ["a"])}, "expected one key a time"),
        ({"groups": (KP_TIMES[[0, 0]], ["a", "b"])}, "twice"),
        ({"groups": (["not a time"], ["a"])}, "UTC"),
        ({"groups": (np.array(["NaT"], "M8[s]"), ["a"])}, "missing time"),
        ({"groups": (KP_TIMES, [(1, 2), (3, 4), (5, 6)])}, "one key a time"),
        ({"groups": (KP_TIMES, [object(), object(), object()])}, "numbers, strings or times"),
        ({"groups": (KP_TIMES[:1] + 24 * 900 * HOUR, ["a"])}, "cover the counted years"),
        ({"groups": lambda times: times[:1]}, "frame times"),
        ({"groups": xr.DataArray(np.zeros((2, 2)))}, "expected one over time"),
    ],
)
def test_what_cannot_be_counted_says_what_was_found_and_expected(store, kwargs, message):
    with pytest.raises(ConfigurationError, match=message):
        count_occurrence(store.url, **kwargs)


def test_a_continuous_quantity_is_refused_before_it_fills_the_memory(store, monkeypatch):
    monkeypatch.setattr(groups, "COUNTS_BYTES_MAX", 1000)
    with pytest.raises(ConfigurationError, match="bin the quantity first"):
        count_occurrence(store.url, lambda times: times.astype(np.int64))


def test_an_empty_store_says_so(tmp_path):
    with pytest.raises(ConfigurationError, match="no label in no year"):
        count_occurrence(str(tmp_path))


def test_cells_that_differ_between_years_are_refused(store):
    store.add_year("fcn", 2021, zenith=11.0)
    store.add_day("fcn", date(2021, 1, 1))
    with pytest.raises(StoreError, match="same 3 cells"):
        count_occurrence(store.url)
    assert total(count_occurrence(store.url, years=[2019, 2020])) > 0


def test_result_says_what_it_is(store):
    found = count_occurrence(store.url, labels=["fcn", "difference"], years=[2020])
    assert found["detector"].values.tolist() == ["fcn", "difference"]
    assert found["counts"].dims == ("outcome", "group", "detector", "mlt", "cell")
    assert found["counts"].dtype == np.int32
    assert found.attrs["site"] == "TST"
    assert found.attrs["years"] == [2020]
    assert found.attrs["cloud_screening"] == "none"
    assert found["cell_zenith_deg"].values.tolist() == [10.0] * CELLS
    assert found["occurrence"].dtype == np.float32


def test_a_store_in_memory_counts_like_one_on_disk(store):
    copy = Store("memory://test_groups")
    for label, days in store.days.items():
        for year in (2019, 2020):
            copy.add_year(label, year)
        for day, values in days.items():
            copy.add_day(label, day, values)
    assert count_occurrence(copy.url).identical(count_occurrence(store.url))


def test_days_are_batched_without_gaps_and_up_to_a_size():
    days = [date(2020, 1, 1) + timedelta(days=n) for n in (0, 1, 2, 5, 6, 9)]
    runs = [[d.day for d in run] for run in committed._consecutive(days, 2)]
    assert runs == [[1, 2], [3], [6, 7], [10]]
