"""Which frames exist: one pass over the archive, by UTC day.

Where a file's name tells its time, nothing is opened; where only the file itself
does, `headers` reads it once. The listing is complete or an error: a directory
that cannot be read must never look like removed frames.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reprocess.archive.clock import Clock
from reprocess.archive.files import local_root, open_bucket, open_remote, say_why
from reprocess.archive.headers import FileState, HeaderTimes
from reprocess.archive.pattern import NamePattern
from reprocess.archive.s3 import list_bucket
from reprocess.archive.uncollected import uncollected
from reprocess.campaign import Archive, CameraEpoch
from reprocess.errors import ArchiveError, ConfigurationError
from reprocess.stores.s3 import S3Object, is_s3

OBJECT_STORES = frozenset({"gs", "gcs"})
"""fsspec's protocols that list a whole tree in one sweep of keys, without directories."""

_US_PER_DAY = 86_400_000_000


class Entry(NamedTuple):
    """One frame of the archive.

    Attributes
    ----------
    name : path of its file relative to the archive's URL, `/`-separated; for one of several
        frames in a file `path#number`
    acquired_us : microseconds since 1970, UTC, middle of the exposure (`clock.Clock`)
    size : bytes of the file
    modified : mtime in ns, or the object's ETag; empty where unknown
    frame : which frame of the file, from 0; -1 = the file's only one
    """

    name: str
    acquired_us: int
    size: int
    modified: str
    frame: int = -1

    @property
    def file(self) -> str:
        """The file's path relative to the archive's URL."""
        return self.name if self.frame < 0 else self.name.rpartition("#")[0]

    @property
    def acquired(self) -> np.datetime64:
        """Time of the frame, UTC, datetime64[us]."""
        return np.datetime64(self.acquired_us, "us")


@dataclass
class Catalogue:
    """What one pass over an archive found.

    Every file seen, and every directory named like one, is in exactly one place: `n_files` is
    the entries of `days`, plus `ignored`, plus `n_other_years`. Hidden files (`.name`) and
    directories of other years (where the pattern tells) are not looked at.

    Attributes
    ----------
    days : entries of each UTC day in order of (acquired, name); besides the
        wanted years it holds 31 December before each of them, if there
    ignored : (name, reason) of files that are no frames by their name, and of
        directory links that lead back up
    n_files : files seen; a file of several frames counts once for each
    n_other_years : frames of years that were not asked for
    """

    days: dict[date, list[Entry]] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    n_files: int = 0
    n_other_years: int = 0


@uncollected()
def scan(
    archive: Archive,
    years: Iterable[int],
    epochs: Sequence[CameraEpoch] = (),
    headers: HeaderTimes | None = None,
) -> Catalogue:
    """List an archive's frames of some years.

    Parameters
    ----------
    archive : Archive
    years : UTC years wanted; the day before each is kept too, as context
    epochs : camera epochs, whose clock offset and time stamps correct the times told
    headers : times that files tell, as remembered; default an empty memory

    Returns
    -------
    Catalogue
        Days in order, the same for any order in which a file system lists.

    Raises
    ------
    ArchiveError
        If the archive or any directory of it cannot be listed, or a file that alone tells its
        time cannot be read.
    ConfigurationError
        If the pattern or the URL's protocol is not known, or the reader's format has no times
        where `archive.time` looks for them.
    """
    pattern = NamePattern(archive.pattern)
    wanted = frozenset(years)
    clock = Clock(archive.timezone, epochs)
    keep = functools.partial(_keeps, pattern, wanted, clock.reach_days)
    collector: _Collector
    if archive.time == "name":
        collector = _Collector(pattern, wanted, clock)
    else:
        memory = HeaderTimes(archive) if headers is None else headers
        collector = _HeaderCollector(pattern, wanted, clock, memory)
    root = local_root(archive)
    if root is not None:
        _scan_local(root, keep, collector)
    elif is_s3(archive.url):
        _scan_s3(archive, pattern, wanted, clock.reach_days, keep, collector)
    else:
        _scan_remote(archive, pattern, keep, collector)
    return collector.finish()


def _order(entry: Entry) -> tuple[int, str]:
    return entry.acquired_us, entry.name


class _Collector:
    """Puts each file where it belongs; called once a file, so kept lean."""

    def __init__(self, pattern: NamePattern, years: frozenset[int], clock: Clock) -> None:
        self.catalogue = Catalogue()
        self._pattern = pattern
        self._parse = pattern.parse
        self._years = years
        self._clock = None if clock.is_plain else clock
        self._buckets: dict[date, list[Entry] | None] = {}

    def add(self, name: str, item: Any, describe: Callable[[Any], tuple[int, str]]) -> None:
        """Add a file; `describe(item)` gives its size and modification, for frames only."""
        self.catalogue.n_files += 1
        parsed = self._parse(name)
        if isinstance(parsed, str):
            self.catalogue.ignored.append((_printable(name), parsed))
            return
        day, acquired_us = parsed
        if self._clock is not None:
            corrected = self._clock.utc_us(acquired_us)
            if isinstance(corrected, str):
                self.catalogue.ignored.append((_printable(name), corrected))
                return
            day, acquired_us = _day_of(corrected), corrected
        bucket = self._bucket(day)
        if bucket is None:
            self.catalogue.n_other_years += 1
        elif not name.isascii() and _printable(name) != name:
            self.catalogue.ignored.append((_printable(name), "the name is not UTF-8"))
        else:
            size, modified = describe(item)
            bucket.append(Entry(name, acquired_us, size, modified))

    def add_directory(self, name: str) -> None:
        """Note a directory that is named as a frame is; what is in it is listed like any other."""
        if "." in name and not isinstance(self._parse(name), str):
            self.catalogue.n_files += 1
            self.catalogue.ignored.append((_printable(name), "is a directory"))

    def finish(self) -> Catalogue:
        """Return the catalogue, everything in order."""
        for day, bucket in sorted(self._buckets.items()):
            if bucket:
                bucket.sort(key=_order)
                self.catalogue.days[day] = bucket
        self.catalogue.ignored.sort()
        return self.catalogue

    def _bucket(self, day: date) -> list[Entry] | None:
        """The entries of a UTC day; None if it is not wanted."""
        try:
            return self._buckets[day]
        except KeyError:
            wanted = _is_wanted(day.year, day.month, day.day, self._years)
            found: list[Entry] | None = [] if wanted else None
            self._buckets[day] = found
            return found


class _HeaderCollector(_Collector):
    """Collects files by name first; their times, and how many frames they hold, come after."""

    def __init__(
        self, pattern: NamePattern, years: frozenset[int], clock: Clock, headers: HeaderTimes
    ) -> None:
        super().__init__(pattern, years, clock)
        self._headers = headers
        self._always = clock
        self._files: list[FileState] = []

    def add(self, name: str, item: Any, describe: Callable[[Any], tuple[int, str]]) -> None:
        """Note a file whose name can be that of a wanted frame."""
        told = self._pattern.partial_date(name)
        if isinstance(told, str):
            self.catalogue.n_files += 1
            self.catalogue.ignored.append((_printable(name), told))
        elif not _is_wanted(*told, self._years, self._always.reach_days):
            self.catalogue.n_files += 1
            self.catalogue.n_other_years += 1
        elif not name.isascii() and _printable(name) != name:
            self.catalogue.n_files += 1
            self.catalogue.ignored.append((_printable(name), "the name is not UTF-8"))
        else:
            self._files.append(FileState(name, *describe(item), str(told[0] or "all")))

    def finish(self) -> Catalogue:
        """Read the headers that are not remembered, and put each frame on its day."""
        for file, frames in self._headers.resolve(sorted(self._files)):
            if isinstance(frames, str):
                self.catalogue.n_files += 1
                self.catalogue.ignored.append((file.name, frames))
                continue
            for index, (told_us, offset_s) in enumerate(frames):
                name = file.name if len(frames) == 1 else f"{file.name}#{index:03d}"
                self.catalogue.n_files += 1
                if told_us is None:
                    self.catalogue.ignored.append((name, "its header tells no time"))
                    continue
                corrected = self._always.utc_us(told_us, offset_s)
                if isinstance(corrected, str):
                    self.catalogue.ignored.append((name, corrected))
                    continue
                bucket = self._bucket(_day_of(corrected))
                if bucket is None:
                    self.catalogue.n_other_years += 1
                else:
                    which = index if len(frames) > 1 else -1
                    bucket.append(Entry(name, corrected, file.size, file.modified, which))
        return super().finish()


def _day_of(acquired_us: int) -> date:
    return date(1970, 1, 1) + timedelta(days=acquired_us // _US_PER_DAY)


def _is_wanted(
    year: int | None,
    month: int | None,
    day: int | None,
    years: frozenset[int],
    reach_days: int = 0,
) -> bool:
    """Tell whether a date, or the known part of one, can be wanted or the eve of a wanted year.

    `reach_days` is by how much a told date may differ from the UTC day.
    """
    if year is None or year in years:
        return True
    if year + 1 in years and month in (None, 12) and (day is None or day >= 31 - reach_days):
        return True
    return year - 1 in years and month in (None, 1) and (day or 1) <= reach_days


def _keeps(pattern: NamePattern, years: frozenset[int], reach_days: int, directory: str) -> bool:
    """Tell whether a directory may hold frames that are wanted."""
    return _is_wanted(*pattern.directory_date(directory), years, reach_days)


def _scan_local(
    root: Path,
    keep: Callable[[str], bool],
    collector: _Collector,
) -> None:
    """Walk directories; links to directories are followed, except back to one they are in."""
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        directory, above = pending.pop()
        path = root / directory if directory else root
        try:
            stat = path.stat()
            if (identity := (stat.st_dev, stat.st_ino)) in above:
                reason = "links back to a directory it is in"
                collector.catalogue.ignored.append((_printable(directory), reason))
                collector.catalogue.n_files += 1
                continue
            with os.scandir(path) as listing:
                items = list(listing)
        except OSError as error:
            raise _cannot_list(str(root), directory, error) from error
        prefix = f"{directory}/" if directory else ""
        inside = above | {identity}
        while items:
            item = items.pop()  # each keeps what `stat` told, and a directory may hold a million
            if item.name.startswith("."):
                continue
            name = prefix + item.name
            try:
                is_directory = _is_directory(item)
            except OSError as error:
                raise _cannot_list(str(root), name, error) from error
            if is_directory:
                collector.add_directory(name)
                if keep(name):
                    pending.append((name, inside))
            else:
                collector.add(name, item, _describe_local)


def _is_directory(item: os.DirEntry[str]) -> bool:
    """Tell directories from files; raises OSError where a whole directory could go unseen.

    A link that leads nowhere may stand for a directory of an absent mount, unless its name has
    a suffix, as files do.
    """
    try:
        if item.is_dir():
            return True
        if item.is_symlink() and not Path(item.name).suffix:
            item.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
    return False


def _describe_local(item: os.DirEntry[str]) -> tuple[int, str]:
    """Size and mtime; a dangling link or a file just removed is found when it is read."""
    try:
        stat = item.stat()
    except OSError:
        return 0, ""
    return stat.st_size, str(stat.st_mtime_ns)


def _scan_s3(
    archive: Archive,
    pattern: NamePattern,
    years: frozenset[int],
    reach_days: int,
    keep: Callable[[str], bool],
    collector: _Collector,
) -> None:
    def add(name: str, found: S3Object) -> None:
        collector.add(name, found, lambda item: (item.size, item.tag))

    try:
        found_any = list_bucket(open_bucket(archive), pattern, years, reach_days, keep, add)
    except (ConfigurationError, OSError) as error:
        raise ArchiveError(
            f"the archive cannot be listed: {error}. Nothing was planned or changed"
        ) from error
    if not found_any:
        raise _cannot_list(archive.url, "", FileNotFoundError())


def _scan_remote(
    archive: Archive,
    pattern: NamePattern,
    keep: Callable[[str], bool],
    collector: _Collector,
) -> None:
    """List directory by directory; an object store below the last prunable one in one sweep."""
    fs, root = open_remote(archive)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    sweeps = bool(protocols & OBJECT_STORES)
    pending = [""]
    found_any = False
    while pending:
        directory = pending.pop()
        path = f"{root}/{directory}" if directory else root
        sweep = sweeps and (not pattern.prunes or directory.count("/") + bool(directory) >= 1)
        try:
            found = fs.find(path, detail=True).values() if sweep else fs.ls(path, detail=True)
            items: list[dict[str, Any]] = list(found)
        except (OSError, ValueError) as error:
            raise _cannot_list(archive.url, directory, error) from error
        found_any = found_any or bool(items)
        for name, item in _relative(items, root):
            if name in ("", directory) or any(p.startswith(".") for p in name.split("/")):
                continue
            if item["type"] == "directory":
                if keep(name):
                    pending.append(name)
            elif not name.endswith("/"):
                collector.add(name, item, _describe_remote)
    if not found_any and not fs.isdir(root):
        raise _cannot_list(archive.url, "", FileNotFoundError())


def _relative(items: list[dict[str, Any]], root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in items:
        name = str(item["name"])
        name = name.rstrip("/") if item["type"] == "directory" else name
        yield name.removeprefix(root).removeprefix("/"), item


def _describe_remote(item: dict[str, Any]) -> tuple[int, str]:
    known = (item.get(key) for key in ("ETag", "etag", "mtime", "LastModified", "created"))
    return int(item.get("size") or 0), next((str(v) for v in known if v is not None), "")


def _cannot_list(root: str, directory: str, error: Exception) -> ArchiveError:
    where = f"archive {root}"
    if directory:
        where += f": directory {_printable(directory)!r}"
    return ArchiveError(
        f"{where} cannot be listed ({say_why(error)}); expected a directory this user can read. "
        f"Check archive.url, the mount and the permissions: nothing was planned or changed"
    )


def _printable(name: str) -> str:
    """Escape the bytes of a name that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
