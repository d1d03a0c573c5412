"""What one pass over an archive finds, on disk and through fsspec."""

import errno
import os
import uuid
from datetime import date
from pathlib import Path

import fsspec
import numpy as np
import pytest

from reprocess.archive import catalogue as module
from reprocess.archive.catalogue import Entry, scan
from reprocess.archive.files import ArchiveBytes, local_root
from reprocess.campaign import Archive, S3Access
from reprocess.errors import ArchiveError, ConfigurationError, UnreadableFrame
from reprocess.stores.s3 import S3Bucket

PATTERN = "%Y%m%d_%H%M%S*.jpg"


class DiskTree:
    """An archive in a local directory."""

    def __init__(self, root: Path):
        self.root = root
        self.url = str(root)

    def write(self, name: str, data: bytes = b"x") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        (self.root / name).unlink()


class MemoryTree:
    """An archive that is reached through fsspec."""

    def __init__(self) -> None:
        self.url = f"memory://archive-{uuid.uuid4().hex}"
        self.fs = fsspec.filesystem("memory")
        self.fs.mkdirs(self.url)

    def write(self, name: str, data: bytes = b"x") -> None:
        self.fs.pipe_file(f"{self.url}/{name}", data)

    def remove(self, name: str) -> None:
        self.fs.rm_file(f"{self.url}/{name}")


class SweptTree(MemoryTree):
    """One that is listed as object stores are: all keys below a prefix at once."""


class BucketTree:
    """An archive in an S3 bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bucket = S3Bucket(url, S3Access(), "archive")

    def write(self, name: str, data: bytes = b"x") -> None:
        self.bucket.put(name, data)

    def remove(self, name: str) -> None:
        self.bucket.remove(name)


@pytest.fixture(params=["disk", "file-url", "memory", "swept", "s3"])
def tree(request, tmp_path, monkeypatch):
    if request.param == "disk":
        yield DiskTree(tmp_path / "archive of ü")
        return
    if request.param == "file-url":
        tree = DiskTree(tmp_path / "archive")
        tree.url = f"file://{tree.root}"
        yield tree
        return
    if request.param == "s3":
        yield BucketTree(f"{request.getfixturevalue('moto_s3').make_bucket()}/an archive")
        return
    if request.param == "swept":
        monkeypatch.setattr(module, "OBJECT_STORES", frozenset({"memory"}))
    tree = MemoryTree() if request.param == "memory" else SweptTree()
    yield tree
    if tree.fs.exists(tree.url):
        tree.fs.rm(tree.url, recursive=True)


@pytest.fixture
def disk(tmp_path):
    tree = DiskTree(tmp_path / "archive")
    tree.root.mkdir()
    return tree


def _scan(tree, years=(2018,), pattern=PATTERN):
    found = scan(Archive(url=tree.url, pattern=pattern), years)
    in_days = sum(len(entries) for entries in found.days.values())
    assert found.n_files == in_days + len(found.ignored) + found.n_other_years
    for day, entries in found.days.items():
        assert entries
        assert entries == sorted(entries, key=lambda e: (e.acquired_us, e.name))
        assert {e.acquired.astype("datetime64[D]").item() for e in entries} == {day}
    assert list(found.days) == sorted(found.days)
    return found


def _names(found):
    return [entry.name for entries in found.days.values() for entry in entries]


def test_entries_by_day_in_order_of_time(tree):
    for name in ("b/20180102_000000.jpg", "20180101_235959.jpg", "a/20180102_000001.jpg"):
        tree.write(name, b"12345")
    found = _scan(tree)
    assert _names(found) == [
        "20180101_235959.jpg",
        "b/20180102_000000.jpg",
        "a/20180102_000001.jpg",
    ]
    assert list(found.days) == [date(2018, 1, 1), date(2018, 1, 2)]
    entry = found.days[date(2018, 1, 1)][0]
    assert entry.acquired == np.datetime64("2018-01-01T23:59:59", "us")
    assert entry.size == 5
    assert entry.modified


def test_each_file_is_counted_once(tree):
    tree.write("20180101_120000.jpg")
    tree.write("20170101_120000.jpg")
    tree.write("20190101_120000.jpg")
    tree.write("20180230_120000.jpg")
    tree.write("20180101_250000.jpg")
    tree.write("Thumbs.db")
    tree.write("20180101_120000.jpg.part")
    found = _scan(tree)
    assert found.n_files == 7
    assert found.n_other_years == 2
    assert _names(found) == ["20180101_120000.jpg"]
    assert [name for name, _ in found.ignored] == [
        "20180101_120000.jpg.part",
        "20180101_250000.jpg",
        "20180230_120000.jpg",
        "Thumbs.db",
    ]
    reasons = dict(found.ignored)
    assert "no time 25" in reasons["20180101_250000.jpg"]
    assert "no such date" in reasons["20180230_120000.jpg"]
    assert "does not match" in reasons["Thumbs.db"]


def test_the_eve_of_each_wanted_year_is_kept(tree):
    for name in ("20161231_1200", "20171230_1200", "20171231_1200", "20180615_1200"):
        tree.write(f"{name}00.jpg")
    assert list(_scan(tree, [2018]).days) == [date(2017, 12, 31), date(2018, 6, 15)]
    assert list(_scan(tree, [2017]).days) == [
        date(2016, 12, 31),
        date(2017, 12, 30),
        date(2017, 12, 31),
    ]


def test_directories_by_date_give_the_same_as_a_flat_pattern(tree):
    days = ["2016-12-31", "2017-12-30", "2017-12-31", "2018-01-01", "2018-12-31", "2019-01-01"]
    for day in days:
        year, month, of_month = day.split("-")
        tree.write(f"{year}/{month}/{of_month}/{year}{month}{of_month}_120000.jpg")
    flat = _scan(tree, [2018])
    deep = _scan(tree, [2018], "%Y/%m/%d/%Y%m%d_%H%M%S.jpg")
    assert flat.days.keys() == deep.days.keys()
    assert _names(flat) == _names(deep)
    assert [str(day) for day in deep.days] == ["2017-12-31", "2018-01-01", "2018-12-31"]


def test_other_years_directories_are_not_looked_into(tree, monkeypatch):
    for year in (2015, 2016, 2017, 2018):
        for day in ("11/30", "12/30", "12/31"):
            tree.write(f"{year}/{day}/1200.jpg")
    listed = []
    scandir, ls = os.scandir, type(fsspec.filesystem("memory")).ls

    def spy_scandir(path):
        listed.append(str(path))
        return scandir(path)

    def spy_ls(self, path, **options):
        listed.append(str(path))
        return ls(self, path, **options)

    pages = S3Bucket.pages

    def spy_pages(self, prefix, **options):
        listed.append(f"/{prefix}")
        return pages(self, prefix, **options)

    monkeypatch.setattr(S3Bucket, "pages", spy_pages)
    monkeypatch.setattr(os, "scandir", spy_scandir)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "ls", spy_ls)
    found = _scan(tree, [2018], "%Y/%m/%d/%H%M.jpg")
    assert [str(day) for day in found.days] == [
        "2017-12-31", "2018-11-30", "2018-12-30", "2018-12-31",
    ]  # fmt: skip
    assert listed
    assert not [path for path in listed if "/2015" in path or "/2016" in path]


def test_files_in_a_directory_that_fits_no_pattern_are_listed(tree):
    tree.write("2018/01/01/1200.jpg")
    tree.write("2018 old/01/01/1200.jpg")
    tree.write("2018/1200.jpg")
    found = _scan(tree, pattern="%Y/%m/%d/%H%M.jpg")
    assert _names(found) == ["2018/01/01/1200.jpg"]
    assert [name for name, _ in found.ignored] == ["2018 old/01/01/1200.jpg", "2018/1200.jpg"]


def test_hidden_files_and_directories_are_skipped(tree):
    tree.write(".20180101_120000.jpg")
    tree.write(".trash/20180101_120000.jpg")
    tree.write("a/.b/20180101_120000.jpg")
    tree.write("20180101_120000.jpg")
    found = _scan(tree)
    assert found.n_files == 1


def test_two_files_at_one_time_both_stay_in_order_of_name(tree):
    tree.write("b/20180101_120000.jpg")
    tree.write("a/20180101_120000_2.jpg")
    tree.write("a/20180101_120000.jpg")
    assert _names(_scan(tree)) == [
        "a/20180101_120000.jpg", "a/20180101_120000_2.jpg", "b/20180101_120000.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["with space", "ünïcode 極光", "quote'\"", "a#b?c%20"])
def test_odd_names_are_found_and_read(tree, name):
    full = f"dir {name}/20180101_120000 {name}.jpg"
    tree.write(full, b"content")
    assert _names(_scan(tree)) == [full]
    assert ArchiveBytes(Archive(url=tree.url, pattern=PATTERN)).read(full) == b"content"


def test_a_newline_in_a_name(disk):
    disk.write("20180101_120000\n.jpg", b"content")
    assert _names(_scan(disk)) == ["20180101_120000\n.jpg"]
    read = ArchiveBytes(Archive(url=disk.url, pattern=PATTERN)).read
    assert read("20180101_120000\n.jpg") == b"content"


def test_a_name_that_is_not_utf8_is_ignored_with_its_bytes_shown(disk):
    path = os.fsencode(disk.root) + b"/20180101_120000\xff.jpg"
    try:
        Path(os.fsdecode(path)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    found = _scan(disk)
    assert found.ignored == [("20180101_120000\\udcff.jpg", "the name is not UTF-8")]


def test_frames_at_midnight_and_just_before(tree):
    pattern = "%Y%m%d_%H%M%S.%f.jpg"
    tree.write("20180101_235959.999999.jpg")
    tree.write("20180102_000000.000000.jpg")
    assert [str(d) for d in _scan(tree, pattern=pattern).days] == ["2018-01-01", "2018-01-02"]


def test_an_empty_archive_is_empty(disk):
    found = _scan(disk)
    assert (found.n_files, found.days, found.ignored) == (0, {}, [])


def test_a_missing_archive_is_an_error_that_names_it(tree):
    tree.url += "/not there"
    with pytest.raises(ArchiveError, match=r"not there cannot be listed .*No such file") as refused:
        _scan(tree)
    assert "expected a directory" in str(refused.value)


def test_an_archive_that_is_a_file_is_an_error(disk):
    disk.write("file")
    disk.url += "/file"
    with pytest.raises(ArchiveError, match="Not a directory"):
        _scan(disk)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_a_directory_that_cannot_be_listed_is_an_error_not_fewer_frames(tree, number, monkeypatch):
    tree.write("2018/20180101_120000.jpg")
    tree.write("bad one/20180101_120100.jpg")
    scandir = os.scandir
    memory = type(fsspec.filesystem("memory"))
    ls = memory.ls

    def fail(path):
        if "bad one" in str(path):
            raise OSError(number, os.strerror(number), str(path))

    def failing_scandir(path):
        fail(path)
        return scandir(path)

    def failing_ls(self, path, **options):
        fail(path)
        return ls(self, path, **options)

    def failing_find(_self, path="", **_options):
        raise OSError(number, os.strerror(number), path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing_scandir)
        patch.setattr(memory, "ls", failing_ls)
        if isinstance(tree, SweptTree):
            patch.setattr(memory, "find", failing_find)
        if isinstance(tree, BucketTree):
            patch.setattr(S3Bucket, "pages", failing_find)
        with pytest.raises(ArchiveError) as refused:
            _scan(tree)
    assert os.strerror(number) in str(refused.value)
    assert isinstance(tree, SweptTree | BucketTree) or "'bad one'" in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads directories of any mode")
def test_a_directory_without_permission_is_an_error(disk):
    disk.write("sub/20180101_120000.jpg")
    (disk.root / "sub").chmod(0)
    try:
        with pytest.raises(ArchiveError, match="Permission denied"):
            _scan(disk)
    finally:
        (disk.root / "sub").chmod(0o700)


def test_no_credentials_for_s3_is_an_archive_error(monkeypatch, tmp_path):
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ArchiveError, match=r"Unable to locate credentials.*aws/credentials"):
        scan(Archive(url="s3://bucket", pattern=PATTERN), [2018])


def test_unknown_protocol_is_a_configuration_error():
    with pytest.raises(ConfigurationError, match="nosuch"):
        scan(Archive(url="nosuch://x", pattern=PATTERN), [2018])


def test_links_to_directories_are_followed_and_loops_cut(disk, tmp_path):
    disk.write("2018/20180101_120000.jpg")
    other = tmp_path / "other disk"
    other.mkdir()
    (other / "20180102_120000.jpg").write_bytes(b"x")
    (other / "back").symlink_to(disk.root)
    (disk.root / "linked").symlink_to(other)
    (disk.root / "2018" / "self").symlink_to(disk.root / "2018")
    (disk.root / "2018" / "up").symlink_to(disk.root)
    found = _scan(disk)
    assert _names(found) == ["2018/20180101_120000.jpg", "linked/20180102_120000.jpg"]
    assert {name for name, reason in found.ignored if reason.startswith("links back")} == {
        "2018/self", "2018/up", "linked/back",
    }  # fmt: skip


def test_a_link_to_itself_and_a_dangling_link_do_not_hang(disk):
    (disk.root / "loop").symlink_to("loop")
    (disk.root / "20180101_120000.jpg").symlink_to("gone.jpg")
    (disk.root / "20180101_120100.jpg").symlink_to("20180101_120100.jpg")
    found = _scan(disk)
    assert _names(found) == ["20180101_120000.jpg", "20180101_120100.jpg"]
    assert [name for name, _ in found.ignored] == ["loop"]


def test_the_order_in_which_a_file_system_lists_does_not_matter(disk, monkeypatch):
    for minute in range(10):
        for directory in "abc":
            disk.write(f"{directory}/20180101_12{minute:02}00.jpg")
    disk.write("junk 1")
    disk.write("junk 0")
    scandir = os.scandir

    class Reversed:
        def __init__(self, path):
            with scandir(path) as listing:
                self.items = sorted(listing, key=lambda item: item.name, reverse=True)

        def __enter__(self):
            return iter(self.items)

        def __exit__(self, *_error):
            return None

    first = _scan(disk)
    monkeypatch.setattr(os, "scandir", Reversed)
    again = _scan(disk)
    assert _names(first) == _names(again)
    assert first.ignored == again.ignored


def test_reading_a_file_that_is_gone_is_an_unreadable_frame(tree):
    tree.write("20180101_120000.jpg")
    source = ArchiveBytes(Archive(url=tree.url, pattern=PATTERN))
    assert source.read("20180101_120000.jpg") == b"x"
    tree.remove("20180101_120000.jpg")
    with pytest.raises(UnreadableFrame) as refused:
        source.read("20180101_120000.jpg")
    assert str(refused.value) == "cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EACCES, UnreadableFrame), (errno.EIO, OSError)]
)
def test_permission_is_the_frames_fault_a_broken_disk_is_not(disk, monkeypatch, number, expected):
    def fail(path, _bytes_max):
        raise OSError(number, os.strerror(number), str(path))

    disk.write("20180101_120000.jpg")
    monkeypatch.setattr("reprocess.archive.files.read_regular", fail)
    with pytest.raises(expected, match=os.strerror(number)):
        ArchiveBytes(Archive(url=disk.url, pattern=PATTERN)).read("20180101_120000.jpg")


@pytest.mark.parametrize(
    ("url", "expected"),
    [("/a/b", Path("/a/b")), ("file:///a/b", Path("/a/b")), ("a", Path("a")), ("s3://a/b", None)],
)
def test_local_root(url, expected):
    assert local_root(Archive(url=url, pattern=PATTERN)) == expected


def test_an_entry_is_a_plain_value():
    entry = Entry("a.jpg", 1_514_764_800_000_000, 3, "7")
    assert entry == Entry("a.jpg", 1_514_764_800_000_000, 3, "7")
    assert entry.acquired == np.datetime64("2018-01-01", "us")
    with pytest.raises(AttributeError):
        entry.size = 4
