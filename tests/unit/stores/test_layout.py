from datetime import date

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from reprocess.errors import LockLost, StoreError
from reprocess.stores.days import DayReader, DayWriter, YearReader
from reprocess.stores.layout import (
    ACQUIRED,
    NOT_ACQUIRED_US,
    Coordinate,
    Variable,
    YearLayout,
    chunk_slots,
    day_start,
    days_in_year,
    status_variable,
)
from reprocess.stores.metadata import finish_layout, lay_out
from reprocess.stores.objects import LocalObjects, MemoryObjects
from reprocess.stores.records import marked_layouts
from reprocess.stores.zarrview import digest

SLOTS = 24
DAY = date(2021, 6, 1)
NAMES = ("image", "acquired", "status")


def make_layout(size=4, slots=SLOTS, **changes):
    return YearLayout(
        **{
            "path": "frames/2021.zarr",
            "year": 2021,
            "slots_per_day": slots,
            "phase_s": 0.0,
            "variables": (
                Variable("image", ("y", "x"), (size, size), "uint8", 0, {"units": "1"}, 6),
                ACQUIRED,
                status_variable({"no_frame": 0, "ok": 1}, "what is in this slot"),
            ),
            "coordinates": (Coordinate("channel", ("channel",), np.array(["red", "green"])),),
            "attributes": {"title": "frames"},
            **changes,
        }
    )


@pytest.fixture(params=["memory", "local"])
def objects(request, tmp_path):
    objects = MemoryObjects() if request.param == "memory" else LocalObjects(tmp_path)
    lay_out(objects, make_layout())
    finish_layout(objects, make_layout())
    return objects


def everything(objects):
    return {key: objects.read(key) for key in objects.keys("")}


def writer(objects, day=DAY, guard=lambda: None):
    return DayWriter(objects, "frames/2021.zarr", day, SLOTS, guard)


def reader(objects, expected, day=DAY):
    return DayReader(objects, "frames/2021.zarr", day, SLOTS, expected)


def values_of_day(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 255, (SLOTS, 4, 4), np.uint8)
    image[6:12] = 0
    return {
        "image": image,
        "acquired": rng.integers(0, 10**15, SLOTS).astype(np.int64),
        "status": np.ones(SLOTS, np.uint8),
    }


def write_day(objects, day=DAY, seed=0):
    values = values_of_day(seed)
    writing = writer(objects, day)
    for name, array in values.items():
        writing.write(name, 0, array)
    return values, writing.finish(NAMES)


# --- the year --------------------------------------------------------------------------------


@given(st.integers(1, 86_400).filter(lambda n: 86_400 % n == 0))
def test_chunks_never_cross_a_day(slots):
    chunk = chunk_slots(slots)
    assert slots % chunk == 0
    assert chunk <= 60
    assert not any(slots % n == 0 for n in range(chunk + 1, min(60, slots) + 1))


def test_days_of_a_year():
    assert (days_in_year(2020), days_in_year(2021), days_in_year(1900)) == (366, 365, 365)
    assert day_start(date(2021, 1, 1), SLOTS) == 0
    assert day_start(date(2020, 12, 31), SLOTS) == 365 * SLOTS


def test_a_year_opens_in_xarray_with_its_slot_grid(tmp_path):
    lay_out(LocalObjects(tmp_path), make_layout(phase_s=30.0))
    with xr.open_zarr(tmp_path / "frames/2021.zarr", chunks=None) as year:
        assert dict(year.sizes) == {"time": 365 * SLOTS, "y": 4, "x": 4, "channel": 2}
        assert year.time.values[0] == np.datetime64("2021-01-01T00:00:30")
        assert year.time.values[-1] == np.datetime64("2021-12-31T23:00:30")
        assert year.channel.values.tolist() == ["red", "green"]
        assert year.attrs["Conventions"] == "CF-1.11"
        assert np.isnat(year.acquired.values).all()
        assert (year.status == 0).all()
        assert year.status.attrs["flag_meanings"] == "no_frame ok"


def test_laying_out_again_changes_no_byte(objects):
    write_day(objects)
    before = everything(objects)
    lay_out(objects, make_layout())
    assert everything(objects) == before


def test_laying_out_again_writes_nothing(objects, monkeypatch):
    monkeypatch.setattr(objects, "write", lambda key, _: pytest.fail(key))
    lay_out(objects, make_layout())


def test_two_stores_are_laid_out_in_the_same_bytes():
    one, two = MemoryObjects(), MemoryObjects()
    lay_out(one, make_layout())
    lay_out(two, make_layout())
    assert one.data == two.data


def test_what_is_missing_is_laid_out_again(objects):
    before = everything(objects)
    for key in before:
        objects.delete(key)
        assert lay_out(objects, make_layout())
        finish_layout(objects, make_layout())
        assert everything(objects) == before


def test_a_mark_stands_from_the_first_write_until_the_year_is_finished(objects, monkeypatch):
    left, write = [], objects.write

    def die_at_the_second(key, data):
        left.append(key)
        if len(left) == 2:
            raise KeyboardInterrupt
        write(key, data)

    other = make_layout(attributes={"title": "other"})
    with monkeypatch.context() as patch:
        patch.setattr(objects, "write", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            lay_out(objects, other)
    assert marked_layouts(objects) == {other.path}
    assert lay_out(objects, other)
    assert lay_out(objects, other), "nothing more to write, and not finished"
    assert marked_layouts(objects) == {other.path}
    finish_layout(objects, other)
    assert marked_layouts(objects) == set()
    assert not lay_out(objects, other)


def test_another_attribute_is_written_and_no_chunk_touched(objects):
    _, expected = write_day(objects)
    lay_out(objects, make_layout(attributes={"title": "other"}))
    assert all(digest(objects.read(key)) == value for key, value in expected.items())
    assert b"other" in objects.read("frames/2021.zarr/zarr.json")


def test_a_coordinate_of_another_length_is_written_again(objects):
    """Such as one row a camera epoch, where the campaign has one more."""
    other = make_layout(
        coordinates=(Coordinate("channel", ("channel",), np.array(["red", "green", "blue"])),)
    )
    values, expected = write_day(objects)
    lay_out(objects, other)
    assert np.array_equal(reader(objects, expected).read("image"), values["image"])
    fresh = MemoryObjects()
    lay_out(fresh, other)
    found = everything(objects)
    assert {key: found[key] for key in fresh.data} == fresh.data


OTHER_CHANNELS = Coordinate("channel", ("channel",), np.array(["red", "green", "blue"]))


@pytest.mark.parametrize(
    "other",
    [
        make_layout(size=8),
        make_layout(slots=48),
        make_layout(size=8, coordinates=(OTHER_CHANNELS,)),
    ],
)
def test_another_shape_is_refused_and_nothing_lost(objects, other):
    values, expected = write_day(objects)
    before = everything(objects)
    with pytest.raises(StoreError, match=r"/zarr\.json: found an array of shape .*--recompute"):
        lay_out(objects, other)
    assert everything(objects) == before
    assert np.array_equal(reader(objects, expected).read("image"), values["image"])


def test_another_shape_replaces_every_chunk_when_asked(objects):
    write_day(objects)
    other = make_layout(size=8, slots=48)
    lay_out(objects, other, replace=True)
    fresh = MemoryObjects()
    lay_out(fresh, other)
    assert everything(objects) == fresh.data


def test_another_type_is_another_shape(objects):
    variables = (Variable("image", ("y", "x"), (4, 4), "int16", 0, {"units": "1"}, 6),)
    with pytest.raises(StoreError, match=r"image/zarr\.json"):
        lay_out(objects, make_layout(variables=variables))


# --- a day -----------------------------------------------------------------------------------


def test_a_day_is_read_as_it_was_written(objects):
    values, expected = write_day(objects)
    reading = reader(objects, expected)
    for name, array in values.items():
        found = reading.read(name)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert np.array_equal(reading.read("image", 5, 9), values["image"][5:14])


def test_finish_gives_the_digest_of_every_object_and_no_other(objects):
    before = set(objects.keys(""))
    _, expected = write_day(objects)
    new = set(objects.keys("")) - before
    assert set(expected) == new
    assert all(digest(objects.read(key)) == value for key, value in expected.items())


def test_a_chunk_equal_to_fill_is_absent_and_fine(objects):
    values, expected = write_day(objects)
    start = day_start(DAY, SLOTS) // 6
    assert f"frames/2021.zarr/image/c/{start + 1}/0/0" not in expected
    assert f"frames/2021.zarr/image/c/{start}/0/0" in expected
    assert not reader(objects, expected).read("image")[6:12].any()
    assert values["image"][:6].any()


def test_a_day_done_again_leaves_no_chunk_of_the_first(objects):
    write_day(objects)
    writing = writer(objects)
    empty = {
        "image": np.zeros((SLOTS, 4, 4), np.uint8),
        "acquired": np.full(SLOTS, NOT_ACQUIRED_US),
        "status": np.zeros(SLOTS, np.uint8),
    }
    for name, array in empty.items():
        writing.write(name, 0, array)
    assert writing.finish(NAMES) == {}
    fresh = MemoryObjects()
    lay_out(fresh, make_layout())
    finish_layout(fresh, make_layout())
    assert everything(objects) == fresh.data


def test_neighbouring_days_share_no_object(objects):
    days = [date(2021, 1, 1), date(2021, 1, 2), date(2021, 12, 31)]
    written = [write_day(objects, day, seed) for seed, day in enumerate(days)]
    keys = [key for _, expected in written for key in expected]
    assert len(set(keys)) == len(keys)
    for day, (values, expected) in zip(days, written, strict=True):
        assert np.array_equal(reader(objects, expected, day).read("image"), values["image"])


def test_parts_written_one_after_the_other_are_the_whole(objects):
    values, expected = write_day(objects)
    writing = writer(objects)
    for slot in (18, 0, 6, 12):
        writing.write("image", slot, values["image"][slot : slot + 6])
    for name in ("acquired", "status"):
        writing.write(name, 0, values[name])
    assert writing.finish(NAMES) == expected


@pytest.mark.parametrize(("slot", "n"), [(1, 6), (0, 5), (0, 7), (3, 3), (18, 12), (24, 6)])
def test_part_of_a_chunk_is_refused(objects, slot, n):
    before = everything(objects)
    with pytest.raises(ValueError, match="do not cover whole chunks of 6"):
        writer(objects).write("image", slot, np.ones((n, 4, 4), np.uint8))
    assert everything(objects) == before


def test_another_type_is_refused(objects):
    with pytest.raises(ValueError, match="values of int64 for an array of uint8"):
        writer(objects).write("status", 0, np.ones(SLOTS, np.int64))


def test_a_day_that_is_not_whole_is_not_finished(objects):
    writing = writer(objects)
    writing.write("image", 0, np.ones((6, 4, 4), np.uint8))
    writing.write("status", 0, np.ones(SLOTS, np.uint8))
    with pytest.raises(ValueError, match="image, acquired not written for the whole day"):
        writing.finish(NAMES)


def test_a_chunk_written_twice_does_not_stand_for_one_that_was_not(objects):
    writing = writer(objects)
    for slot in (0, 0, 6, 12):
        writing.write("image", slot, np.ones((6, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="image not written for the whole day"):
        writing.finish(("image",))


def test_a_lost_lock_stops_the_writing(objects):
    calls = []

    def guard():
        calls.append(1)
        if len(calls) > 2:
            raise LockLost("2021")

    before = set(objects.keys(""))
    with pytest.raises(LockLost):
        writer(objects, guard=guard).write("image", 0, np.ones((SLOTS, 4, 4), np.uint8))
    assert len(set(objects.keys("")) - before) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_byte_is_refused_and_the_key_named(objects, name):
    _, expected = write_day(objects)
    key = next(key for key in expected if f"/{name}/" in key)
    data = bytearray(objects.read(key))
    data[len(data) // 2] ^= 0x10
    objects.write(key, bytes(data))
    with pytest.raises(StoreError, match=f"{key}: found content"):
        reader(objects, expected).read(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_chunk_is_refused(objects, name):
    _, expected = write_day(objects)
    key = next(key for key in expected if f"/{name}/" in key)
    objects.delete(key)
    with pytest.raises(StoreError, match=f"{key}: found no object"):
        reader(objects, expected).read(name)


def test_a_chunk_of_another_write_is_refused(objects):
    _, expected = write_day(objects, seed=1)
    write_day(objects, seed=2)
    with pytest.raises(StoreError):
        reader(objects, expected).read("image")


def test_a_day_that_no_record_names_is_read_as_fill(objects):
    reading = reader(objects, {}, date(2021, 7, 1))
    assert (reading.read("acquired") == NOT_ACQUIRED_US).all()
    assert not reading.read("image").any()


def test_days_that_share_an_open_year_are_held_to_their_own_records(objects):
    second, third = date(2021, 6, 2), date(2021, 6, 3)
    first_values, first_digests = write_day(objects)
    _, second_digests = write_day(objects, second, seed=1)
    write_day(objects, third, seed=2)
    year = YearReader(objects, "frames/2021.zarr")

    def share(day, digests):
        return DayReader(objects, "frames/2021.zarr", day, SLOTS, digests, year)

    good, swapped, unnamed = (
        share(DAY, first_digests),
        share(second, dict.fromkeys(second_digests, digest(b"another"))),
        share(third, {}),
    )
    np.testing.assert_array_equal(good.read("image"), first_values["image"])
    for damaged in (swapped, unnamed):
        with pytest.raises(StoreError, match="the record expects"):
            damaged.read("acquired")
