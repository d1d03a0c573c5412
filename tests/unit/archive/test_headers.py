"""Archives whose files, not names, tell the time: listed, remembered, corrected."""

import gzip
import json
from datetime import date

import fsspec
import numpy as np
import pytest

from reprocess.archive import headers as module
from reprocess.archive.catalogue import scan
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.inputs import read_day
from reprocess.campaign import Archive
from reprocess.errors import ArchiveError, ConfigurationError
from reprocess.stores.objects import MemoryObjects


def _pgm(*times, value=7):
    frames = [
        b"P5\n"
        + (f'#"Image request start" {time} UTC\n'.encode() if time else b"")
        + b"3 2\n65535\n"
        + np.full(6, value + i, ">u2").tobytes()
        for i, time in enumerate(times)
    ]
    return gzip.compress(b"".join(frames), mtime=0)


@pytest.fixture
def root(tmp_path):
    return tmp_path


def _put(root, name, *times, **options):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_pgm(*times, **options))


def _archive(root, pattern="%Y/*.pgm.gz", **changes):
    return Archive(url=str(root), pattern=pattern, reader="pgm", time="header", **changes)


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that are opened for their headers."""
    names = []
    read = module.ArchiveBytes.read
    monkeypatch.setattr(
        module.ArchiveBytes, "read", lambda self, name: names.append(name) or read(self, name)
    )
    return names


def test_a_file_of_many_frames_gives_an_entry_for_each(root):
    _put(root, "2021/a.pgm.gz", "2021-06-01 23:59:57", "2021-06-02 00:00:00.5")
    _put(root, "2021/b.pgm.gz", "2021-06-02 00:01:00")
    found = scan(_archive(root), [2021])
    assert [(e.name, e.frame, e.file) for e in found.days[date(2021, 6, 1)]] == [
        ("2021/a.pgm.gz#000", 0, "2021/a.pgm.gz")
    ]
    second, third = found.days[date(2021, 6, 2)]
    assert (second.name, second.acquired) == (
        "2021/a.pgm.gz#001", np.datetime64("2021-06-02T00:00:00.5", "us"),
    )  # fmt: skip
    assert (third.name, third.frame, third.file) == ("2021/b.pgm.gz", -1, "2021/b.pgm.gz")
    assert found.n_files == 3


def test_a_name_with_a_number_sign_is_still_its_own_file(root):
    _put(root, "2021/x#001.pgm.gz", "2021-06-01 10:00:00")
    (entry,) = scan(_archive(root), [2021]).days[date(2021, 6, 1)]
    assert entry.file == entry.name == "2021/x#001.pgm.gz"


def test_frames_of_one_file_have_digests_of_their_own(root, make_campaign):
    _put(root, "2018/a.pgm.gz", "2018-06-01 10:00:00", "2018-06-01 10:00:03")
    archive = _archive(root)
    campaign = make_campaign(archive=archive.model_dump())
    entries = scan(archive, [2018]).days[date(2018, 6, 1)]
    inputs = read_day(campaign, entries, 1, keep_bytes=True)
    assert len(set(inputs.digest)) == 2
    assert list(inputs.data) == ["2018/a.pgm.gz"]


def test_only_files_that_can_be_of_the_years_are_opened(root, opened):
    for year in (2018, 2019, 2020, 2021):
        _put(root, f"{year}/a.pgm.gz", f"{year}-06-01 10:00:00")
    (root / "2020" / "notes.txt").write_text("x")
    found = scan(_archive(root), [2020])
    assert sorted(opened) == ["2019/a.pgm.gz", "2020/a.pgm.gz"]
    assert list(found.days) == [date(2020, 6, 1)]
    assert found.n_other_years == 1


def test_what_was_read_is_remembered_until_the_file_changes(root, opened):
    objects = MemoryObjects()
    archive = _archive(root)
    _put(root, "2021/a.pgm.gz", "2021-06-01 10:00:00")
    _put(root, "2021/b.pgm.gz", "2021-06-01 10:01:00")

    def listed():
        memory = HeaderTimes(archive, objects)
        found = scan(archive, [2021], (), memory)
        memory.save()
        return [str(e.acquired)[11:19] for e in found.days[date(2021, 6, 1)]]

    assert listed() == ["10:00:00", "10:01:00"]
    opened.clear()
    assert listed() == ["10:00:00", "10:01:00"]
    assert opened == []
    _put(root, "2021/b.pgm.gz", "2021-06-01 10:02:00", "2021-06-01 10:02:03")
    assert listed() == ["10:00:00", "10:02:00", "10:02:03"]
    assert opened == ["2021/b.pgm.gz"]
    assert list(json.loads(objects.read("runs/seen/headers-2021.json"))) == [
        "2021/a.pgm.gz", "2021/b.pgm.gz",
    ]  # fmt: skip


def test_another_zone_needs_no_file_again(root, opened):
    objects = MemoryObjects()
    (root / "2021").mkdir()
    data = _pgm("2021-06-01 00:30:00").replace(b"", b"")
    (root / "2021/a.pgm.gz").write_bytes(
        gzip.compress(gzip.decompress(data).replace(b" UTC", b""), mtime=0)
    )
    days = {}
    for zone in ("UTC", "+02:00"):
        archive = _archive(root, timezone=zone)
        memory = HeaderTimes(archive, objects)
        days[zone] = list(scan(archive, [2021], (), memory).days)
        memory.save()
    assert days == {"UTC": [date(2021, 6, 1)], "+02:00": [date(2021, 5, 31)]}
    assert len(opened) == 1


def test_files_without_a_time_are_listed_with_the_reason(root):
    _put(root, "2021/a.pgm.gz", None)
    (root / "2021/b.pgm.gz").write_bytes(_pgm("2021-06-01 10:00:00")[:-9])
    (root / "2021/c.pgm.gz").write_bytes(b"")
    found = scan(_archive(root), [2021])
    assert found.days == {}
    reasons = dict(found.ignored)
    assert reasons["2021/a.pgm.gz"] == "its header tells no time"
    assert "truncated gzip" in reasons["2021/b.pgm.gz"]
    assert "empty file" in reasons["2021/c.pgm.gz"]
    assert found.n_files == 3


def test_a_file_that_may_not_be_read_never_looks_like_removed_frames(root, monkeypatch):
    _put(root, "2021/a.pgm.gz", "2021-06-01 10:00:00")

    def refuse(_self, _name):
        raise module.UnreadableFrame("cannot be read: Permission denied")

    monkeypatch.setattr(module.ArchiveBytes, "read", refuse)
    with pytest.raises(ArchiveError, match=r"2021/a.pgm.gz cannot be read: Permission denied"):
        scan(_archive(root), [2021])


def test_a_format_without_such_times_is_refused(root):
    archive = Archive(url=str(root), pattern="*", reader="npy", time="header")
    with pytest.raises(ConfigurationError, match=r"archive.time: found header, expected name"):
        scan(archive, [2021])
    archive = Archive(url=str(root), pattern="*", reader="still", time="header")
    with pytest.raises(ConfigurationError, match="expected name or exif"):
        scan(archive, [2021])


@pytest.mark.parametrize(
    ("zone", "name", "utc"),
    [
        ("+10:00", "2021/20210101_0530.png", "2020-12-31T19:30"),
        ("-10:00", "2020/20201231_1830.png", "2021-01-01T04:30"),
    ],
)
def test_local_names_across_new_year_are_found(root, zone, name, utc):
    (root / name).parent.mkdir()
    (root / name).write_bytes(b"x")
    archive = Archive(url=str(root), pattern="%Y/%Y%m%d_%H%M.png", timezone=zone)
    found = scan(archive, [2021])
    (entries,) = found.days.values()
    assert str(entries[0].acquired).startswith(utc)


def test_local_times_that_are_ambiguous_are_listed_apart(root):
    (root / "20211031_0230.png").write_bytes(b"x")
    archive = Archive(url=str(root), pattern="%Y%m%d_%H%M.png", timezone="Europe/Oslo")
    found = scan(archive, [2021])
    assert found.days == {}
    assert "occurs twice" in found.ignored[0][1]


def test_an_archive_behind_a_url_is_read_the_same_way():
    memory = fsspec.filesystem("memory")
    data = _pgm("2021-06-01 10:00:00", "2021-06-01 10:00:03")
    memory.pipe_file("/headers/2021/a.pgm.gz", data)
    memory.pipe_file("/headers/2018/b.pgm.gz", data)
    found = scan(_archive("memory://headers"), [2021])
    assert [entry.name for entry in found.days[date(2021, 6, 1)]] == [
        "2021/a.pgm.gz#000", "2021/a.pgm.gz#001",
    ]  # fmt: skip
    assert found.n_files == 2
