"""Digests, duplicates, and the column of every frame."""

import errno
import hashlib
import json
import os
import random
from datetime import date

import numpy as np
import pytest

from reprocess.archive import inputs as module
from reprocess.archive.catalogue import Entry, scan
from reprocess.archive.files import ArchiveBytes
from reprocess.archive.inputs import Column, DayInputs, assign, outside_range, read_day
from reprocess.errors import UnreadableFrame

DAY = date(2018, 6, 21)


@pytest.fixture
def archive(tmp_path, make_campaign):
    """Write files of one day by name; returns the campaign and a way to list them."""

    class Written:
        campaign = make_campaign(tmp_path)
        root = tmp_path

        def write(self, files):
            for name, data in files.items():
                (tmp_path / name).write_bytes(data)
            return self.entries()

        def entries(self):
            return scan(self.campaign.archive, [2018]).days.get(DAY, [])

    return Written()


def _frame(time, tag=""):
    return f"20180621_{time}{tag}.png"


def _read(archive, threads=2, keep_bytes=True):
    return read_day(archive.campaign, archive.entries(), threads, keep_bytes)


def test_digest_is_the_content(archive):
    archive.write({_frame("000000"): b"one", _frame("000100"): b"two"})
    expected = [hashlib.sha256(data).hexdigest()[:32] for data in (b"one", b"two")]
    assert _read(archive).digest == expected


def test_hash_is_of_names_times_and_digests_only(archive):
    archive.write({_frame("000000"): b"one", _frame("000100"): b"two"})
    found = _read(archive)
    us = [int(t) for t in found.acquired.astype(np.int64)]
    rows = [[_frame("000000"), us[0], found.digest[0]], [_frame("000100"), us[1], found.digest[1]]]
    text = json.dumps(rows, separators=(",", ":"))
    assert found.hash() == hashlib.sha256(text.encode()).hexdigest()


def test_hash_ignores_threads_order_file_times_and_what_is_kept(archive):
    entries = archive.write({_frame(f"00{m:02}00"): bytes([m]) * 100 for m in range(30)})
    first = read_day(archive.campaign, entries, 1, keep_bytes=False)
    for name in os.listdir(archive.root):
        os.utime(archive.root / name, (1, 1))
    shuffled = archive.entries()
    random.Random(1).shuffle(shuffled)
    again = read_day(archive.campaign, shuffled, 4, keep_bytes=True)
    assert first.hash() == again.hash()
    assert [e.name for e in again.entries] == [e.name for e in entries]
    assert list(assign(archive.campaign, DAY, first)[0]) == list(range(30))
    assert np.array_equal(
        assign(archive.campaign, DAY, again)[0], assign(archive.campaign, DAY, first)[0]
    )


@pytest.mark.parametrize(
    "change",
    [{_frame("000000"): b"other"}, {_frame("000200"): b"new"}, {_frame("000000", "b"): b"more"}],
)
def test_hash_follows_any_change(archive, change):
    archive.write({_frame("000000"): b"one", _frame("000100"): b"two"})
    before = _read(archive).hash()
    archive.write(change)
    assert _read(archive).hash() != before


def test_hash_of_a_renamed_frame_differs(archive):
    archive.write({_frame("000000"): b"one"})
    before = _read(archive).hash()
    (archive.root / _frame("000000")).rename(archive.root / _frame("000000", "x"))
    assert _read(archive).hash() != before


def test_an_empty_day(archive):
    found = read_day(archive.campaign, [], 2, keep_bytes=True)
    slot, column = assign(archive.campaign, DAY, found)
    assert (found.digest, column, len(slot), len(found.outside)) == ([], [], 0, 0)
    assert found.hash() == hashlib.sha256(b"[]").hexdigest()


def test_a_file_removed_after_the_listing_has_a_reason_for_a_digest(archive):
    entries = archive.write({_frame("000000"): b"one", _frame("000100"): b"two"})
    (archive.root / _frame("000000")).unlink()
    found = read_day(archive.campaign, entries, 2, keep_bytes=True)
    assert found.digest[0] == "unreadable: cannot be read: No such file or directory"
    with pytest.raises(UnreadableFrame, match=r"^cannot be read: No such file"):
        found.load(0, ArchiveBytes(archive.campaign.archive))
    assert assign(archive.campaign, DAY, found)[1] == [None, None]


def test_trouble_of_the_machine_is_not_a_property_of_the_frame(archive, monkeypatch):
    def fail(_path, _bytes_max):
        raise OSError(errno.EIO, "Input/output error")

    archive.write({_frame("000000"): b"one"})
    monkeypatch.setattr("reprocess.archive.files.read_regular", fail)
    with pytest.raises(OSError, match="Input/output error"):
        _read(archive)


def test_bytes_are_kept_up_to_the_budget_and_read_again_beyond(archive, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES_MAX", 250)
    archive.write({_frame(f"00{m:02}00"): bytes([m]) * 100 for m in range(5)})
    found = _read(archive, threads=1)
    assert len(found.data) == 2
    source = ArchiveBytes(archive.campaign.archive)
    assert [found.load(i, source) for i in range(5)] == [bytes([m]) * 100 for m in range(5)]
    assert _read(archive, keep_bytes=False).data == {}


def test_a_file_changed_after_it_was_hashed_fails_the_block(archive):
    archive.write({_frame("000000"): b"one", _frame("000100"): b"two"})
    found = _read(archive, keep_bytes=False)
    archive.write({_frame("000000"): b"ONE"})
    (archive.root / _frame("000100")).unlink()
    source = ArchiveBytes(archive.campaign.archive)
    for index in range(2):
        with pytest.raises(OSError, match="changed while its day was processed"):
            found.load(index, source)


def _columns(archive):
    found = _read(archive)
    slot, column = assign(archive.campaign, DAY, found)
    assert len(slot) == len(column) == len(found.entries)
    for place, reason in zip(slot, column, strict=True):
        assert (place >= 0) == (reason is None)
    return slot.tolist(), column


def test_same_time_is_a_duplicate_of_the_first_name(archive):
    archive.write({_frame("000030", "b"): b"2", _frame("000030", "a"): b"1"})
    assert _columns(archive) == ([0, -1], [None, Column.DUPLICATE])


def test_same_time_never_moves_to_a_free_slot(archive):
    archive.write({_frame("000005", "a"): b"1", _frame("000005", "b"): b"2"})
    archive.write({_frame("000105"): b"3"})
    assert _columns(archive)[0] == [0, -1, 1]


def test_same_content_is_a_duplicate_of_the_earlier(archive):
    archive.write({_frame("000030"): b"1", _frame("000130"): b"1", _frame("000230"): b"2"})
    assert _columns(archive) == ([0, -1, 2], [None, Column.DUPLICATE, None])


def test_empty_files_are_not_each_others_duplicates(archive):
    archive.write({_frame("000030"): b"", _frame("000130"): b""})
    assert _read(archive).digest == ["unreadable: empty file (0 bytes)"] * 2
    assert _columns(archive) == ([0, 1], [None, None])


def test_an_empty_file_takes_no_slot_from_a_frame(archive):
    """It is nearer the middle of minute 0, whose frame would be surplus for it."""
    archive.write({_frame("000000"): b"1", _frame("000030"): b"", _frame("000130"): b""})
    assert _columns(archive) == ([0, -1, 1], [None, Column.SURPLUS, None])


def test_surplus_in_a_dense_minute(archive):
    archive.write({_frame(f"0001{s:02}"): bytes([s + 1]) for s in range(0, 60, 10)})
    archive.write({_frame("000030"): b"before", _frame("000230"): b"after"})
    slot, column = _columns(archive)
    assert slot == [0, -1, -1, -1, 1, -1, -1, 2]
    assert column.count(Column.SURPLUS) == 5


def test_every_entry_is_in_one_column(archive):
    files = {_frame(f"0001{s:02}"): bytes([s % 7]) for s in range(0, 60, 3)}
    archive.write({**files, _frame("000103", "b"): b"x", _frame("235959"): b"last"})
    slot, column = _columns(archive)
    counted = {c: column.count(c) for c in (None, Column.DUPLICATE, Column.SURPLUS)}
    assert sum(counted.values()) == len(files) + 2
    assert all(counted.values())
    assert slot[-1] == 1439


def test_ledger_columns_are_the_designs():
    assert list(Column) == [
        "ok", "unreadable", "duplicate", "surplus", "outside", "failed", "not_yet_run",
    ]  # fmt: skip


def test_outside_frames_are_neither_read_nor_hashed_nor_placed(tmp_path, make_campaign):
    """At Jang Bogo in December the Sun never sets, in June it never rises."""
    campaign = make_campaign(tmp_path, process={"sun_elevation_max_deg": -10.0})
    summer = date(2018, 12, 21)
    us = int(np.datetime64(f"{summer}T12:00:30", "us").astype(np.int64))
    entries = [Entry("not there.png", us, 1, "")]
    found = read_day(campaign, entries, 2, keep_bytes=True)
    assert found.digest == [""]
    slot, column = assign(campaign, summer, found)
    assert (slot.tolist(), column) == ([-1], [Column.OUTSIDE])


def test_outside_follows_the_sun(make_campaign):
    times = np.array(["2018-12-21T12:00", "2018-06-21T12:00"], "datetime64[us]")
    campaign = make_campaign(process={"sun_elevation_max_deg": -10.0})
    assert outside_range(campaign, times).tolist() == [True, False]
    assert outside_range(make_campaign(), times).tolist() == [False, False]
    assert outside_range(campaign, times[:0]).shape == (0,)


def test_before_the_first_camera_epoch_is_outside(make_campaign):
    times = np.array(["2017-12-31T23:59:59.999999", "2018-01-01"], "datetime64[us]")
    assert outside_range(make_campaign(), times).tolist() == [True, False]


def test_a_duplicate_outside_is_a_duplicate(make_campaign):
    us = int(np.datetime64("2018-06-21T00:00:30", "us").astype(np.int64))
    entries = [Entry("a.png", us, 1, ""), Entry("b.png", us, 1, "")]
    found = DayInputs(entries, ["", ""], np.array([True, True]))
    column = assign(make_campaign(), DAY, found)[1]
    assert column == [Column.OUTSIDE, Column.DUPLICATE]


def test_frames_outside_have_no_content_in_common(make_campaign):
    us = int(np.datetime64("2018-06-21T00:00:30", "us").astype(np.int64))
    entries = [Entry("a.png", us, 1, ""), Entry("b.png", us + 60_000_000, 1, "")]
    found = DayInputs(entries, ["", ""], np.array([True, True]))
    assert assign(make_campaign(), DAY, found)[1] == [Column.OUTSIDE] * 2


def test_phase_30_with_frames_at_30(tmp_path, make_campaign):
    campaign = make_campaign(tmp_path, phase_s=30.0)
    times = ["000030", "000130", "000230", "235930"]
    for number, time in enumerate(times):
        (tmp_path / _frame(time)).write_bytes(bytes([number]))
    entries = scan(campaign.archive, [2018]).days[DAY]
    found = read_day(campaign, entries, 1, keep_bytes=False)
    assert assign(campaign, DAY, found)[0].tolist() == [0, 1, 2, 1439]
