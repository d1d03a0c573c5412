"""What a day's frames depend on: the bytes of its files, and which of them count.

Content digests, not file times, tell whether an input changed. Each entry
falls in exactly one `Column` of the ledger.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from reprocess.archive.catalogue import Entry
from reprocess.archive.files import FILE_BYTES_MAX, REFUSED, ArchiveBytes
from reprocess.archive.regular import check_size
from reprocess.archive.slots import SURPLUS, place
from reprocess.campaign import Campaign
from reprocess.errors import UnreadableFrame

KEPT_BYTES_MAX = 512 * 1024**2
"""Bytes of a day's files held in memory between hashing and decoding; the rest is read again."""

DIGEST_CHARACTERS = 32
UNREADABLE = "unreadable: "
"""How the digest of a file begins whose bytes cannot be read."""


class Column(StrEnum):
    """Where a catalogued frame ends in the ledger: exactly one of these."""

    OK = "ok"
    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    SURPLUS = "surplus"
    OUTSIDE = "outside"
    FAILED = "failed"
    NOT_YET_RUN = "not_yet_run"


@dataclass
class DayInputs:
    """The files of one UTC day as they are now.

    Attributes
    ----------
    entries : in order of (acquired, name)
    digest : first 32 hexadecimal characters of the SHA-256 of each file's
        bytes, for one of several frames of a file together with its number; empty
        outside the processed range (those are not read);
        `unreadable: ` and the reason where the bytes cannot be read or are none
    outside : (n,) bool array, True outside the processed range
    data : bytes by path of those files that were kept
    """

    entries: list[Entry]
    digest: list[str]
    outside: NDArray[np.bool_]
    data: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def acquired(self) -> NDArray[np.datetime64]:
        """Times of the entries, (n,) datetime64[us], UTC."""
        return acquired_times(self.entries)

    @property
    def refused(self) -> bool:
        """Whether a file was not given at all: its size and time do not tell when it will be."""
        return any(map(is_refused, self.digest))

    @property
    def all_refused(self) -> bool:
        """Whether not one of the processed files was given."""
        read = [digest for digest in self.digest if digest]
        return bool(read) and all(map(is_refused, read))

    def hash(self) -> str:
        """Return the SHA-256 (hexadecimal) of every entry's name, time and digest.

        Notes
        -----
        Independent of where the archive lies, of file times and of what is
        kept in memory.
        """
        rows = [
            [entry.name, entry.acquired_us, digest]
            for entry, digest in zip(self.entries, self.digest, strict=True)
        ]
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()

    def load(self, index: int, source: ArchiveBytes) -> bytes:
        """Return the bytes of an entry's file, those that were hashed.

        Raises
        ------
        UnreadableFrame
            If they could not be read when the day was hashed.
        OSError
            If the file is no longer the one that was hashed, or cannot be read for
            another reason: the block fails and is done again.
        """
        entry, digest = self.entries[index], self.digest[index]
        name = entry.file
        if digest.startswith(UNREADABLE):
            raise UnreadableFrame(digest.removeprefix(UNREADABLE))
        data = self.data.get(name)
        if data is not None:
            return data
        try:
            data = source.read(name)
        except UnreadableFrame as error:
            raise OSError(f"{name}: changed while its day was processed ({error})") from error
        if digest and frame_digest(content_digest(data), entry) != digest:
            raise OSError(f"{name}: changed while its day was processed")
        return data


def acquired_times(entries: Sequence[Entry]) -> NDArray[np.datetime64]:
    """Return the entries' times, (n,) datetime64[us], UTC."""
    return np.array([entry.acquired_us for entry in entries], np.int64).view("datetime64[us]")


def content_digest(data: bytes) -> str:
    """Return what identifies a file's content in fingerprints."""
    return hashlib.sha256(data).hexdigest()[:DIGEST_CHARACTERS]


def is_refused(digest: str) -> bool:
    """Whether a digest stands for a file that the system did not give."""
    return digest.startswith(UNREADABLE + REFUSED)


def frame_digest(file_digest: str, entry: Entry) -> str:
    """What identifies one frame's content: its file's, and which of its frames it is."""
    if entry.frame < 0 or file_digest.startswith(UNREADABLE):
        return file_digest
    return content_digest(f"{file_digest}#{entry.frame}".encode())


def outside_range(campaign: Campaign, times: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Tell which times are not processed at all.

    Parameters
    ----------
    campaign : Campaign
        `process.sun_elevation_max_deg`; None processes all. Before the first
        camera epoch there is no calibration, so nothing is processed.
    times : (n,) datetime64 array, UTC

    Returns
    -------
    (n,) bool array
        True where the Sun's unrefracted centre is above the limit.
    """
    outside: NDArray[np.bool_] = campaign.epoch_index(times) < 0
    limit = campaign.process.sun_elevation_max_deg
    if limit is None or len(times) == 0:
        return outside
    from reprocess.geometry.ephemeris import sun_elevation_deg

    return np.asarray(outside | (sun_elevation_deg(campaign.site, times) > limit), np.bool_)


def read_day(
    campaign: Campaign,
    entries: Sequence[Entry],
    threads: int,
    keep_bytes: bool,
    digests: Mapping[str, str] | None = None,
) -> DayInputs:
    """Read and hash a day's files.

    Parameters
    ----------
    campaign : Campaign
    entries : of one UTC day, in any order
    threads : int
        Files read at once; more over a network. The result does not depend on it.
    keep_bytes : bool
        Hold the bytes, up to `KEPT_BYTES_MAX`, for the decoding that follows.
    digests : mapping of str to str
        Digests of frames, by name, that are known without reading; an empty one is not.

    Raises
    ------
    OSError
        If a file cannot be read for a reason that is not the file's own.
    """
    ordered = sorted(entries, key=lambda entry: (entry.acquired_us, entry.name))
    outside = outside_range(campaign, acquired_times(ordered))
    inside = [entry for entry, out in zip(ordered, outside, strict=True) if not out]
    known = {name: digest for name, digest in (digests or {}).items() if digest}
    sizes = {entry.file: entry.size for entry in inside if entry.name not in known}
    wanted = list(sizes)
    read_digests: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    if wanted:
        source = ArchiveBytes(campaign.archive)
        budget = _Budget(KEPT_BYTES_MAX if keep_bytes else 0)

        def read(name: str) -> tuple[str, bytes | None]:
            try:
                check_size(sizes[name], FILE_BYTES_MAX)  # as listed: on S3, before it is fetched
                data = source.read(name)
            except UnreadableFrame as error:
                return f"{UNREADABLE}{error}", None
            if not data:
                return f"{UNREADABLE}empty file (0 bytes)", None
            return content_digest(data), data if budget.take(len(data)) else None

        with ThreadPoolExecutor(max_workers=source.at_once(threads)) as pool:
            for name, (digest, data) in zip(wanted, pool.map(read, wanted), strict=True):
                read_digests[name] = digest
                if data is not None:
                    kept[name] = data
    found = [
        "" if out else known.get(entry.name) or frame_digest(read_digests[entry.file], entry)
        for entry, out in zip(ordered, outside, strict=True)
    ]
    return DayInputs(ordered, found, outside, kept)


class _Budget:
    """A number of bytes that threads share."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True


def tail_hash(inputs: DayInputs, midnight: date, window_s: float) -> str:
    """Return the hash of a day's processed frames of the last `window_s` before midnight.

    Parameters
    ----------
    inputs : DayInputs
        The day, or no more of it than its tail.
    midnight : date
        The UTC day that begins where the tail ends.
    window_s : float, seconds
    """
    end_us = (midnight - date(1970, 1, 1)).days * 86_400_000_000
    start_us = end_us - round(window_s * 1e6)
    rows = [
        [entry.name, entry.acquired_us, digest]
        for entry, digest in zip(inputs.entries, inputs.digest, strict=True)
        if digest and start_us <= entry.acquired_us < end_us
    ]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def assign(
    campaign: Campaign, day: date, inputs: DayInputs
) -> tuple[NDArray[np.int64], list[Column | None]]:
    """Decide for each entry of a day its slot, or why it has none.

    Parameters
    ----------
    campaign : Campaign
        Cadence and phase.
    day : date, UTC
    inputs : DayInputs

    Returns
    -------
    slot : (n,) int64 array
        Slot in the day; -1 for duplicates, frames outside the range and surplus.
    column : list of Column or None
        None for a frame that has a slot and is yet to be decoded.

    Notes
    -----
    Same time or same content as an earlier entry is a duplicate, wherever it
    would have been placed; then what lies outside the processed range; then
    `place` over the rest. Files whose bytes cannot be read have no content in
    common with any other, and get what slots the others leave.
    """
    slot = np.full(len(inputs.entries), SURPLUS, np.int64)
    column: list[Column | None] = [None] * len(inputs.entries)
    times: set[int] = set()
    contents: set[str] = set()
    for index, (entry, digest) in enumerate(zip(inputs.entries, inputs.digest, strict=True)):
        content = "" if digest.startswith(UNREADABLE) else digest
        if entry.acquired_us in times or content in contents:
            column[index] = Column.DUPLICATE
        elif inputs.outside[index]:
            column[index] = Column.OUTSIDE
        times.add(entry.acquired_us)
        if content:
            contents.add(content)
    rest = [index for index, found in enumerate(column) if found is None]
    empty = [index for index in rest if inputs.digest[index].startswith(UNREADABLE)]
    for rows in (sorted(set(rest) - set(empty)), empty):
        wanted = place(inputs.acquired[rows], day, campaign.cadence_s, campaign.phase_s)
        slot[rows] = np.where(np.isin(wanted, slot), SURPLUS, wanted)
    for index in rest:
        if slot[index] == SURPLUS:
            column[index] = Column.SURPLUS
    return slot, column


def reasons(campaign: Campaign, inputs: DayInputs, column: Sequence[Column | None]) -> list[str]:
    """Say why each entry of a day was left out, as text for listings.

    Parameters
    ----------
    column : of `assign`, by entry

    Returns
    -------
    list of str
        Empty for a frame that is not left out.
    """
    uncalibrated = campaign.epoch_index(inputs.acquired) < 0
    times: dict[int, str] = {}
    contents: dict[str, str] = {}
    found: list[str] = []
    for index, (entry, digest) in enumerate(zip(inputs.entries, inputs.digest, strict=True)):
        content = "" if digest.startswith(UNREADABLE) else digest
        text = ""
        if column[index] is Column.DUPLICATE and entry.acquired_us in times:
            text = f"same time as {times[entry.acquired_us]}"
        elif column[index] is Column.DUPLICATE:
            text = f"same content as {contents[content]}"
        elif column[index] is Column.OUTSIDE and uncalibrated[index]:
            text = "no camera epoch"
        elif column[index] is Column.OUTSIDE:
            text = f"Sun above {campaign.process.sun_elevation_max_deg} deg"
        elif column[index] is Column.SURPLUS:
            text = "slot taken"
        elif digest.startswith(UNREADABLE):
            text = digest.removeprefix(UNREADABLE)
        found.append(text)
        times.setdefault(entry.acquired_us, entry.name)
        if content:
            contents.setdefault(content, entry.name)
    return found
