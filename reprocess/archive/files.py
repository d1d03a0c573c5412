"""The bytes of an archive's files, on a disk or behind any URL that fsspec serves."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import fsspec

from reprocess.archive.readers.reader import PIXELS_MAX
from reprocess.archive.regular import read_regular
from reprocess.campaign import Archive
from reprocess.errors import ConfigurationError, UnreadableFrame
from reprocess.stores.s3 import S3Bucket, is_s3

FILE_BYTES_MAX = 3 * PIXELS_MAX + (1 << 20)
"""Bytes of the largest file that is read: the largest image allowed, not compressed."""

OF_THE_FILE = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG})
"""Errors of a disk that are a file's own, and stay when it is read again."""

REFUSED = "cannot be read: "
"""How the reason begins of a file that the system did not give; another time it may."""

READS_AT_ONCE = 16
"""Files read at one time over a network, whose answers take longer than a core's work."""


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
        self._bucket = open_bucket(archive) if is_s3(archive.url) else None
        near = self._root is not None or self._bucket is not None
        self._remote = None if near else open_remote(archive)

    def at_once(self, threads: int) -> int:
        """Files to read at one time, by a caller that may use some threads."""
        return max(1, threads) if self._root is not None else max(threads, READS_AT_ONCE)

    def read(self, name: str) -> bytes:
        """Return all bytes of one file.

        Raises
        ------
        UnreadableFrame
            If the file is gone, this user may not read it, it is no plain file, a link that leads
            nowhere or in a circle, or of more than `FILE_BYTES_MAX`.
        OSError
            Any other trouble: of the machine or the network, not of the frame.
        ConfigurationError
            If an S3 service refuses to serve it. That may be a pass that has run out: no
            frame is called unreadable for it.
        """
        try:
            if self._root is not None:
                return read_regular(self._root / name, FILE_BYTES_MAX)
            if self._bucket is not None:
                return self._bucket.get(name)
            assert self._remote is not None
            fs, root = self._remote
            data = fs.cat_file(f"{root}/{name}")
            return bytes(data)
        except OSError as error:
            # The frame's own trouble; any other is of the machine or the network.
            known = isinstance(error, FileNotFoundError | PermissionError)
            if not known and (self._root is None or error.errno not in OF_THE_FILE):
                raise
            raise UnreadableFrame(f"{REFUSED}{say_why(error)}") from error


def open_bucket(archive: Archive) -> S3Bucket:
    """Open the S3 bucket behind an archive's `s3://` URL."""
    return S3Bucket(archive.url, archive.access, "archive")


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


def say_why(error: Exception) -> str:
    """Say why, without paths or request numbers where the kind says all: it enters digests."""
    if isinstance(error, FileNotFoundError):
        return os.strerror(errno.ENOENT)
    if isinstance(error, PermissionError):
        return os.strerror(errno.EACCES)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
