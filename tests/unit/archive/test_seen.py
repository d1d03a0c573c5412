import os
from datetime import date

import pytest

from reprocess.archive import seen
from reprocess.archive.catalogue import Entry, scan
from reprocess.archive.inputs import read_day, tail_hash
from reprocess.archive.seen import Known, SeenDays, tail
from reprocess.stores.objects import MemoryObjects
from reprocess.stores.records import Record, Records, day_block, fingerprint

DAY = date(2018, 6, 1)
NEXT = date(2018, 6, 2)
KEY = "runs/seen/2018.json"


@pytest.fixture
def archive(tmp_path):
    directory = tmp_path / "archive"
    directory.mkdir()
    for name in ("20180601_120000", "20180601_235700", "20180601_235900", "20180602_000100"):
        (directory / f"{name}.png").write_bytes(name.encode())
    return directory


@pytest.fixture
def campaign(make_campaign, archive):
    return make_campaign(archive)


@pytest.fixture
def read_names(monkeypatch):
    """Names of the files that were read, as they are read."""
    names = []

    def read(campaign, entries, threads, keep_bytes, digests=None):
        names.extend(entry.name[9:15] for entry in entries if entry.name not in (digests or {}))
        return read_day(campaign, entries, threads, keep_bytes, digests)

    monkeypatch.setattr(seen, "read_day", read)
    return names


def days_of(campaign):
    return scan(campaign.archive, [2018]).days


def expected(campaign, day=DAY, *windows):
    inputs = read_day(campaign, days_of(campaign)[day], 1, keep_bytes=False)
    return Known(inputs.hash(), {w: tail_hash(inputs, NEXT, w) for w in windows})


def test_what_is_found_is_the_hash_of_the_day(campaign):
    found = SeenDays(MemoryObjects(), campaign).resolve(
        days_of(campaign), [DAY], [(DAY, 120.0), (DAY, 300.0)], 1, {}
    )
    assert found == {DAY: expected(campaign, DAY, 120.0, 300.0)}


def test_a_day_is_read_once(campaign, read_names):
    objects = MemoryObjects()
    days = days_of(campaign)
    first = SeenDays(objects, campaign)
    known = first.resolve(days, [DAY, NEXT], [(DAY, 120.0)], 1, {})
    assert read_names == ["120000", "235700", "235900", "000100"]
    assert first.resolve(days, [DAY, NEXT], [(DAY, 120.0)], 1, {}) == known
    first.save()
    assert SeenDays(objects, campaign).resolve(days, [DAY, NEXT], [(DAY, 120.0)], 1, {}) == known
    assert len(read_names) == 4


def test_only_the_tail_is_read_where_the_day_is_not_needed(campaign, read_names):
    found = SeenDays(MemoryObjects(), campaign).resolve(
        days_of(campaign), [], [(DAY, 120.0)], 1, {}
    )
    assert read_names == ["235900"]
    assert found[DAY].inputs is None
    assert found[DAY].tails == expected(campaign, DAY, 120.0).tails


def test_a_day_known_by_its_tail_is_read_when_all_of_it_is_needed(campaign, read_names):
    cache = SeenDays(MemoryObjects(), campaign)
    days = days_of(campaign)
    cache.resolve(days, [], [(DAY, 120.0)], 1, {})
    read_names.clear()
    assert cache.resolve(days, [DAY], [(DAY, 300.0)], 1, {})[DAY] == expected(
        campaign, DAY, 120.0, 300.0
    )
    assert read_names == ["120000", "235700", "235900"]


def test_another_tail_reads_the_tail_and_keeps_the_day(campaign, read_names):
    cache = SeenDays(MemoryObjects(), campaign)
    days = days_of(campaign)
    cache.resolve(days, [DAY], [], 1, {})
    read_names.clear()
    found = cache.resolve(days, [DAY], [(DAY, 300.0)], 1, {})[DAY]
    assert read_names == ["235700", "235900"]
    assert found == expected(campaign, DAY, 300.0)


@pytest.mark.parametrize("change", ["content", "touched", "removed", "added"])
def test_a_changed_day_is_read_again_and_no_other(campaign, archive, read_names, change):
    cache = SeenDays(MemoryObjects(), campaign)
    before = cache.resolve(days_of(campaign), [DAY, NEXT], [], 1, {})
    path = archive / "20180601_120000.png"
    if change == "content":
        path.write_bytes(b"another frame")
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "removed":
        path.unlink()
    else:
        (archive / "20180601_120100.png").write_bytes(b"one more")
    read_names.clear()
    after = cache.resolve(days_of(campaign), [DAY, NEXT], [], 1, {})
    assert after[DAY] == expected(campaign)
    assert (after[DAY] == before[DAY]) is (change == "touched")
    assert after[NEXT] == before[NEXT]
    assert "000100" not in read_names
    assert "235700" in read_names


def test_another_processed_range_is_read_again(campaign, make_campaign, archive, read_names):
    objects = MemoryObjects()
    days = days_of(campaign)
    cache = SeenDays(objects, campaign)
    cache.resolve(days, [DAY], [], 1, {})
    cache.save()
    read_names.clear()
    other = make_campaign(
        archive, process={"sun_elevation_max_deg": -89.0}, cube={"sun_elevation_max_deg": -89.0}
    )
    found = SeenDays(objects, other).resolve(days, [DAY], [], 1, {})
    assert read_names
    assert found[DAY].inputs != expected(campaign).inputs


def test_settings_that_choose_no_frame_are_not_read_again(
    campaign, make_campaign, archive, read_names
):
    objects = MemoryObjects()
    cache = SeenDays(objects, campaign)
    cache.resolve(days_of(campaign), [DAY], [], 1, {})
    cache.save()
    read_names.clear()
    other = make_campaign(archive, cadence_s=120, store="elsewhere")
    SeenDays(objects, other).resolve(days_of(other), [DAY], [], 1, {})
    assert read_names == []


def test_what_a_worker_found_is_kept(campaign, read_names):
    objects = MemoryObjects()
    days = days_of(campaign)
    known = Known("hash of the worker", {120.0: "tail of the worker"})
    cache = SeenDays(objects, campaign)
    cache.remember(DAY, days[DAY], known)
    cache.save()
    found = SeenDays(objects, campaign).resolve(days, [DAY], [(DAY, 120.0)], 1, {})
    assert found == {DAY: known}
    assert read_names == []


def test_only_changed_years_are_written(campaign, monkeypatch):
    objects = MemoryObjects()
    cache = SeenDays(objects, campaign)
    cache.save()
    assert objects.data == {}
    cache.resolve(days_of(campaign), [DAY], [], 1, {})
    cache.save()
    assert set(objects.data) == {KEY, "runs/seen/files-2018.json"}
    monkeypatch.setattr(objects, "write", lambda key, _: pytest.fail(key))
    cache.save()
    again = SeenDays(objects, campaign)
    again.resolve(days_of(campaign), [DAY], [], 1, {})
    again.save()


def test_what_is_known_is_not_written_again(campaign, monkeypatch):
    objects, days = MemoryObjects(), days_of(campaign)
    wanted = [DAY], [(DAY, 120.0)]
    first = SeenDays(objects, campaign)
    first.resolve(days, *wanted, 1, {})
    first.save()
    monkeypatch.setattr(objects, "write", None)
    again = SeenDays(objects, campaign)
    assert again.resolve(days, *wanted, 1, {}) == {DAY: expected(campaign, DAY, 120.0)}
    again.save()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3"])
def test_a_broken_cache_costs_one_reading(campaign, read_names, data):
    objects = MemoryObjects()
    objects.write(KEY, data)
    found = SeenDays(objects, campaign).resolve(days_of(campaign), [DAY], [], 1, {})
    assert found[DAY] == expected(campaign)
    assert len(read_names) == 3


def test_a_day_without_frames_has_the_hash_of_nothing_and_is_not_kept(campaign):
    objects = MemoryObjects()
    empty = date(2018, 5, 1)
    cache = SeenDays(objects, campaign)
    found = cache.resolve(days_of(campaign), [], [(empty, 120.0)], 1, {})
    nothing = read_day(campaign, [], 1, keep_bytes=False)
    assert found[empty].tails == {120.0: tail_hash(nothing, date(2018, 5, 2), 120.0)}
    cache.save()
    assert objects.data == {}


def test_a_tail_begins_so_many_seconds_before_midnight():
    midnight_us = (NEXT - date(1970, 1, 1)).days * 86_400_000_000
    entries = [Entry(str(s), midnight_us - s * 1_000_000, 1, "") for s in (300, 121, 120, 1)]
    assert [entry.name for entry in tail(entries, NEXT, 120.0)] == ["120", "1"]
    assert tail(entries, NEXT, 0.0) == ()
    assert tail([], NEXT, 120.0) == ()


def committed(objects, campaign, inputs):
    """A record of DAY's frames made from what a day hashes to, and its listing."""
    read = read_day(campaign, days_of(campaign)[DAY], 1, keep_bytes=False)
    rows = [[e.name, d, "ok", ""] for e, d in zip(read.entries, read.digest, strict=True)]
    block = day_block("frames", "", DAY)
    one = fingerprint(inputs, "settings")
    Records(objects).write(Record(block, one, {}, {"frames": rows}))
    return {block: [one]}


def seen_and_committed(campaign):
    objects = MemoryObjects()
    cache = SeenDays(objects, campaign)
    known = cache.resolve(days_of(campaign), [DAY], [], 1, {})
    cache.save()
    return objects, committed(objects, campaign, known[DAY].inputs)


def test_of_a_committed_day_only_the_files_that_changed_are_read(campaign, archive, read_names):
    objects, listing = seen_and_committed(campaign)
    read_names.clear()
    (archive / "20180601_235700.png").write_bytes(b"other bytes..............")
    (archive / "20180601_235800.png").write_bytes(b"new")
    found = SeenDays(objects, campaign).resolve(
        days_of(campaign), [DAY], [(DAY, 120.0)], 1, listing
    )
    assert read_names == ["235700", "235800"]
    assert found[DAY] == expected(campaign, DAY, 120.0)


def test_digests_of_frames_made_from_something_else_are_not_taken(campaign, archive, read_names):
    objects, listing = seen_and_committed(campaign)
    (archive / "20180601_235700.png").write_bytes(b"seen, but not committed")
    cache = SeenDays(objects, campaign)
    cache.resolve(days_of(campaign), [DAY], [], 1, listing)
    cache.save()
    (archive / "20180601_120000.png").write_bytes(b"changed last of all")
    read_names.clear()
    found = SeenDays(objects, campaign).resolve(days_of(campaign), [DAY], [], 1, listing)
    assert read_names == ["120000", "235700", "235900"]
    assert found[DAY] == expected(campaign)


def test_without_the_marks_or_the_record_the_day_is_read(campaign, archive, read_names):
    for lost in ("runs/seen/files-2018.json", None):
        objects, listing = seen_and_committed(campaign)
        if lost:
            objects.write(lost, b"{")
        else:
            (only,) = (key for key in objects.data if key.startswith("records/"))
            objects.delete(only)
        (archive / "20180601_235700.png").write_bytes(b"changed" + str(lost).encode())
        read_names.clear()
        found = SeenDays(objects, campaign).resolve(days_of(campaign), [DAY], [], 1, listing)
        assert len(read_names) == 3
        assert found[DAY] == expected(campaign)
