"""When frames were taken, where only the file itself tells; read once and remembered.

A file's name still says which files may be frames, and which day or year it is
of, as far as the pattern holds directives: no other is opened. What was read
is kept in `runs/seen/headers-<year>.json` under the file's size and time of
change, so that the next listing opens only what is new. A cache: deleting it
costs one reading of the archive's files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from reprocess.archive.files import ArchiveBytes
from reprocess.archive.readers.reader import FrameHeader, load_reader
from reprocess.campaign import Archive
from reprocess.errors import ArchiveError, ConfigurationError, UnreadableFrame
from reprocess.stores.objects import ObjectStore

Told = tuple[int | None, float | None]
"""Microseconds since 1970 by the camera's clock, seconds that it is ahead of UTC; None unknown."""

THREADS = 8


class FileState(NamedTuple):
    """A file that may hold frames; `group` is the year that its name tells, or `all`."""

    name: str
    size: int
    modified: str
    group: str


class HeaderTimes:
    """The times that an archive's files tell.

    Parameters
    ----------
    archive : its reader and where it looks for times
    objects : the store that keeps what was read; None keeps it for this process only

    Raises
    ------
    ConfigurationError
        If files of the reader's format have no times in that place.
    """

    def __init__(self, archive: Archive, objects: ObjectStore | None = None) -> None:
        self._archive = archive
        self._objects = objects
        self._reader = load_reader(archive.reader)
        if archive.time not in ("name", self._reader.tells_time):
            where = self._reader.tells_time
            raise ConfigurationError(
                f"archive.time: found {archive.time}, expected name"
                + (f" or {where}" if where else "")
                + f": files of reader {archive.reader} tell no time in their {archive.time}"
            )
        self._groups: dict[str, dict[str, Any]] = {}
        self._changed: set[str] = set()

    def resolve(self, files: Sequence[FileState]) -> Iterator[tuple[FileState, list[Told] | str]]:
        """Give what each file tells about its frames, or why it tells nothing.

        Raises
        ------
        ArchiveError
            If a file is there and cannot be read: its frames must not look removed.
        """
        source = ArchiveBytes(self._archive)
        unknown = [file for file in files if self._known(file) is None]
        with ThreadPoolExecutor(source.at_once(THREADS), thread_name_prefix="headers") as pool:
            for file, found in zip(
                unknown, pool.map(lambda f: self._read(f, source), unknown), strict=True
            ):
                self._group(file.group)[file.name] = [file.size, file.modified, found]
                self._changed.add(file.group)
        for file in files:
            known = self._known(file)
            assert known is not None
            yield file, known if isinstance(known, str) else [(t, o) for t, o in known]

    def save(self) -> None:
        """Write what was read."""
        if self._objects is None:
            return
        for group in sorted(self._changed):
            data = json.dumps(self._groups[group], sort_keys=True).encode()
            self._objects.write(_key(group), data)
        self._changed.clear()

    def _known(self, file: FileState) -> list[Told] | str | None:
        told = self._group(file.group).get(file.name, ())
        return told[2] if [*told[:2]] == [file.size, file.modified] and len(told) == 3 else None

    def _read(self, file: FileState, source: ArchiveBytes) -> list[Told] | str:
        try:
            data = source.read(file.name)
        except UnreadableFrame as error:
            raise ArchiveError(
                f"archive {self._archive.url}: {file.name} {error}; its time is in the file, so "
                f"without it frames would look removed. Check the permissions, or run again if "
                f"files are being moved: nothing was planned or changed"
            ) from error
        try:
            return [_told(header) for header in self._reader.headers(data)]
        except UnreadableFrame as error:
            return f"tells no time: {error}"

    def _group(self, group: str) -> dict[str, Any]:
        if group not in self._groups:
            found: Any = {}
            if self._objects is not None:
                try:
                    found = json.loads(self._objects.read(_key(group)))
                except (FileNotFoundError, ValueError, RecursionError):
                    found = {}
            told = found.items() if isinstance(found, dict) else ()
            self._groups[group] = {name: of for name, of in told if isinstance(of, list)}
        return self._groups[group]


def _told(header: FrameHeader) -> Told:
    if header.acquired is None:
        return None, None
    return int(header.acquired.astype("datetime64[us]").astype(np.int64)), header.utc_offset_s


def _key(group: str) -> str:
    return f"runs/seen/headers-{group}.json"
