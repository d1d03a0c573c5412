"""Which frames exist: one pass over the archive, by UTC day.

A file's name tells its time. Nothing is opened. The listing is complete or an
error: a directory that cannot be read must never look like removed frames.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np

from reprocess.archive.pattern import NamePattern
from reprocess.archive.readers.reader import PIXELS_MAX
from reprocess.archive.regular import read_regular
from reprocess.campaign import Archive
from reprocess.errors import ArchiveError, ConfigurationError, UnreadableFrame

FILE_BYTES_MAX = 3 * PIXELS_MAX + (1 << 20)
"""Bytes of the largest file that is read: the largest image allowed, not compressed."""

OF_THE_FILE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EISDIR,
     errno.ENXIO, errno.ENAMETOOLONG}
)  # fmt: skip
"""Errors that are a file's own, and stay when it is read again."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs"})
"""Protocols that list a whole tree in one sweep of keys, without directories."""


class Entry(NamedTuple):
    """One file of the archive that is a frame by its name.

    Attributes
    ----------
    name : path relative to the archive's URL, `/`-separated
    acquired_us : microseconds since 1970, UTC, as the name tells
    size : bytes
    modified : mtime in ns, or the object's ETag; empty where unknown
    """

    name: str
    acquired_us: int
    size: int
    modified: str

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
    n_files : files seen
    n_other_years : frames of years that were not asked for
    """

    days: dict[date, list[Entry]] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    n_files: int = 0
    n_other_years: int = 0


def scan(archive: Archive, years: Iterable[int]) -> Catalogue:
    """List an archive's frames of some years.

    Parameters
    ----------
    archive : Archive
    years : UTC years wanted; the day before each is kept too, as context

    Returns
    -------
    Catalogue
        Days in order, the same for any order in which a file system lists.

    Raises
    ------
    ArchiveError
        If the archive or any directory of it cannot be listed.
    ConfigurationError
        If the pattern or the URL's protocol is not known.
    """
    pattern = NamePattern(archive.pattern)
    wanted = frozenset(years)
    collector = _Collector(pattern, wanted)
    keep = functools.partial(_keeps, pattern, wanted)
    root = local_root(archive)
    if root is None:
        _scan_remote(archive, pattern, keep, collector)
    else:
        _scan_local(root, keep, collector)
    return collector.finish()


def local_root(archive: Archive) -> Path | None:
    """Return the archive's directory, or None where it is not on a local file system."""
    if "://" not in archive.url:
        return Path(archive.url)
    if archive.url.startswith("file://"):
        return Path(archive.url.removeprefix("file://"))
    return None


class ArchiveBytes:
    """The bytes of an archive's files; safe to call from several threads."""

    def __init__(self, archive: Archive) -> None:
        self._root = local_root(archive)
        self._remote = None if self._root is not None else open_remote(archive)

    def read(self, name: str) -> bytes:
        """Return all bytes of one file.

        Raises
        ------
        UnreadableFrame
            If the file is gone, this user may not read it, it is no plain file, a link that leads
            nowhere or in a circle, or of more than `FILE_BYTES_MAX`.
        OSError
            Any other trouble: of the machine or the network, not of the frame.
        """
        try:
            if self._root is not None:
                return read_regular(self._root / name, FILE_BYTES_MAX)
            assert self._remote is not None
            fs, root = self._remote
            data = fs.cat_file(f"{root}/{name}")
            return bytes(data)
        except OSError as error:
            # The frame's own trouble; any other is of the machine or the network.
            if error.errno not in OF_THE_FILE and not isinstance(error, FileNotFoundError):
                raise
            raise UnreadableFrame(f"cannot be read: {_reason(error)}") from error


def open_remote(archive: Archive) -> tuple[Any, str]:
    """Open the file system behind an archive's URL; returns it and the path of the archive.

    Raises
    ------
    ConfigurationError
        If no file system serves the URL's protocol.
    """
    try:
        fs, root = fsspec.core.url_to_fs(archive.url, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise ConfigurationError(
            f"archive.url: {archive.url}: {error}; "
            f"expected a directory or a URL whose protocol fsspec knows"
        ) from error
    return fs, root.rstrip("/")


def _order(entry: Entry) -> tuple[int, str]:
    return entry.acquired_us, entry.name


class _Collector:
    """Puts each file where it belongs; called once a file, so kept lean."""

    def __init__(self, pattern: NamePattern, years: frozenset[int]) -> None:
        self.catalogue = Catalogue()
        self._parse = pattern.parse
        self._years = years
        self._buckets: dict[date, list[Entry] | None] = {}

    def add(self, name: str, item: Any, describe: Callable[[Any], tuple[int, str]]) -> None:
        """Add a file; `describe(item)` gives its size and modification, for frames only."""
        self.catalogue.n_files += 1
        parsed = self._parse(name)
        if isinstance(parsed, str):
            self.catalogue.ignored.append((_printable(name), parsed))
            return
        day, acquired_us = parsed
        try:
            bucket = self._buckets[day]
        except KeyError:
            wanted = _is_wanted(day.year, day.month, day.day, self._years)
            bucket = self._buckets[day] = [] if wanted else None
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


def _is_wanted(year: int | None, month: int | None, day: int | None, years: frozenset[int]) -> bool:
    """Tell whether a date, or the known part of one, can be wanted or the eve of a wanted year."""
    if year is None or year in years:
        return True
    return year + 1 in years and month in (None, 12) and day in (None, 31)


def _keeps(pattern: NamePattern, years: frozenset[int], directory: str) -> bool:
    """Tell whether a directory may hold frames that are wanted."""
    return _is_wanted(*pattern.directory_date(directory), years)


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
        for item in items:
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
    errors = _listing_errors(protocols)
    pending = [""]
    found_any = False
    while pending:
        directory = pending.pop()
        path = f"{root}/{directory}" if directory else root
        sweep = sweeps and (not pattern.prunes or directory.count("/") + bool(directory) >= 1)
        try:
            found = fs.find(path, detail=True).values() if sweep else fs.ls(path, detail=True)
            items: list[dict[str, Any]] = list(found)
        except errors as error:
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


def _listing_errors(protocols: set[str]) -> tuple[type[Exception], ...]:
    """What a listing raises; no credentials and no connection to S3 are no OSError."""
    if not protocols & {"s3", "s3a"}:
        return (OSError, ValueError)
    botocore = importlib.import_module("botocore.exceptions")
    return (OSError, ValueError, botocore.BotoCoreError)


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
        f"{where} cannot be listed ({_reason(error)}); expected a directory this user can read. "
        f"Check archive.url, the mount and the permissions: nothing was planned or changed"
    )


def _reason(error: Exception) -> str:
    """Say why, without paths or request numbers where the kind says all: it enters digests."""
    if isinstance(error, FileNotFoundError):
        return os.strerror(errno.ENOENT)
    if isinstance(error, PermissionError):
        return os.strerror(errno.EACCES)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)


def _printable(name: str) -> str:
    """Escape the bytes of a name that are not UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
