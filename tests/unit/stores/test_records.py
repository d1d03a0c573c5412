import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprocess.errors import StoreError
from reprocess.stores.objects import MemoryObjects
from reprocess.stores.records import (
    HALF,
    Block,
    Record,
    Records,
    canonical,
    day_block,
    fingerprint,
    half_digest,
)

DAY = date(2021, 6, 1)
FRAMES = day_block("frames", "", DAY)
EVIDENCE = day_block("evidence", "diff", DAY)
CUBE = Block("cube", "", "2021")
ONE, TWO = fingerprint("a", 1), fingerprint("b", 1)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def records():
    return Records(MemoryObjects())


def keys(records):
    return sorted(records._objects.keys(""))


@given(st.dictionaries(st.text(), values, max_size=5))
def test_the_order_of_keys_never_matters(value):
    assert canonical(value) == canonical(dict(reversed(value.items())))
    assert json.loads(canonical(value)) == value


@given(values, values)
def test_a_fingerprint_is_a_half_for_inputs_and_a_half_for_settings(inputs, settings):
    found = fingerprint(inputs, settings)
    assert len(found) == 2 * HALF
    assert found[:HALF] == fingerprint(inputs, "other")[:HALF] == half_digest(inputs)
    assert found[HALF:] == fingerprint("other", settings)[HALF:]
    assert set(found) <= set("0123456789abcdef")


def test_different_values_differ():
    seen = [half_digest(v) for v in (0, 1, "0", "1", None, [], {}, [0], {"0": 0}, "", 0.5, False)]
    assert len(set(seen)) == len(seen)


def test_a_block_tells_its_year_and_name():
    assert (EVIDENCE.year, str(EVIDENCE)) == (2021, "evidence diff 2021-06-01")
    assert (CUBE.year, str(CUBE)) == (2021, "cube 2021")
    assert str(FRAMES) == "frames 2021-06-01"


@pytest.mark.parametrize("block", [FRAMES, EVIDENCE, day_block("detections", "a_b-2", DAY), CUBE])
def test_a_record_is_read_as_it_was_written_and_is_listed(records, block):
    record = Record(block, ONE, {"a/c/0": "d1"}, {"ledger": {"ok": 3}, "text": "Å"})
    records.write(record)
    assert records.read(block, ONE) == record
    assert records.list() == {block: [ONE]}
    assert records.list([2021]) == {block: [ONE]}
    assert records.list([2020]) == {}


def test_the_key_ends_in_the_fingerprint(records):
    records.write(Record(EVIDENCE, ONE))
    records.write(Record(CUBE, TWO))
    assert keys(records) == [
        f"records/2021/cube/2021.{TWO}.json",
        f"records/2021/evidence/diff/2021-06-01.{ONE}.json",
    ]


def test_equal_records_are_equal_bytes(records):
    other = Records(MemoryObjects())
    records.write(Record(FRAMES, ONE, {"a": "1", "b": "2"}, {"x": 1, "y": 2}))
    other.write(Record(FRAMES, ONE, {"b": "2", "a": "1"}, {"y": 2, "x": 1}))
    assert records._objects.data == other._objects.data


def test_two_records_of_a_block_are_both_listed(records):
    records.write(Record(FRAMES, ONE))
    records.write(Record(FRAMES, TWO))
    assert sorted(records.list()[FRAMES]) == sorted([ONE, TWO])


def test_listing_reads_no_record_and_passes_over_other_objects(records, monkeypatch):
    records.write(Record(FRAMES, ONE))
    records.write_settings("frames", {"a": 1})
    for key in ("records/2021/frames/notes.txt", "records/2021/frames/2021-06-01.json",
                "records/2021/other/2021-06-01.ab.json",
                f"locks/2021-06-01.{ONE}.json"):  # fmt: skip
        records._objects.write(key, b"")
    monkeypatch.setattr(records._objects, "read", lambda key: pytest.fail(key))
    assert records.list() == {FRAMES: [ONE]}


def test_an_absent_record_is_a_store_error_that_says_what_to_do(records):
    with pytest.raises(StoreError, match=rf"2021-06-01\.{ONE}\.json: no such record; run again"):
        records.read(FRAMES, ONE)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"objects": {}}', b"\xff\xfe", b"1"])
def test_a_broken_record_is_a_store_error(records, data):
    records._objects.write(f"records/2021/frames/2021-06-01.{ONE}.json", data)
    with pytest.raises(StoreError, match=r"is not the record of frames 2021-06-01.*run again"):
        records.read(FRAMES, ONE)


def test_delete_takes_back_the_records_named(records):
    records.write(Record(FRAMES, ONE))
    records.write(Record(FRAMES, TWO))
    records.delete(FRAMES, [ONE, "absent"])
    assert records.list() == {FRAMES: [TWO]}


def test_delete_all_takes_back_every_record_of_one_block(records):
    next_day = day_block("frames", "", date(2021, 6, 2))
    for block in (FRAMES, next_day, EVIDENCE):
        records.write(Record(block, ONE))
        records.write(Record(block, TWO))
    records.delete_all(FRAMES)
    records.delete_all(FRAMES)
    assert sorted(records.list()) == sorted([next_day, EVIDENCE])


def test_settings_are_bound_by_name(records):
    assert records.read_settings("diff") is None
    records.write_settings("diff", {"lag_s": 120.0})
    assert records.read_settings("diff") == {"lag_s": 120.0}
    assert records.read_settings("frames") is None
    assert records.list() == {}


@pytest.mark.parametrize("data", [b"[1]", b"{"])
def test_broken_settings_are_a_store_error(records, data):
    records._objects.write("records/settings/diff.json", data)
    with pytest.raises(StoreError, match=r"records/settings/diff\.json"):
        records.read_settings("diff")
