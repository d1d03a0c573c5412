"""What the archive's days hashed to when they were last read.

A cache, under `runs/`, that spares hashing and decides nothing: a day whose
names, sizes and file times are as they were has the hash it had. Of any other
day that a committed block depends on, those files are read again whose size or
time changed: the digests of the others stand in the record of the day's frames,
if that was made from what was seen. A file that the system did not give is tried again each
time: who may read it stands in neither size nor time. Deleting the cache costs one reading of
the archive.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from reprocess.archive.catalogue import Entry
from reprocess.archive.inputs import UNREADABLE, DayInputs, is_refused, read_day, tail_hash
from reprocess.campaign import Campaign
from reprocess.errors import ArchiveError, StoreError
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import (
    HALF,
    Listing,
    Records,
    day_block,
    half_digest,
    only_fingerprint,
)
from reprocess.stores.sealed import seal, unseal

MARK_BYTES = 8
"""Length of what marks one file's name, size and time among those of its day."""


@dataclass(frozen=True)
class Known:
    """What a day of the archive hashes to.

    `inputs` is the hash of its names, times and contents, None where it was
    not needed (no record to compare with). `tails` holds the same for its last
    frames, by the length of the tail in seconds. `refused` tells that a file was not given, so
    that all of it holds for this time only.
    """

    inputs: str | None = None
    tails: Mapping[float, str] = field(default_factory=dict)
    refused: bool = False


class SeenDays:
    """The cache of one store, loaded a year at a time."""

    def __init__(self, objects: ObjectStore, campaign: Campaign) -> None:
        self._objects = objects
        self._campaign = campaign
        self._years: dict[int, dict[str, Any]] = {}
        self._files: dict[int, dict[str, Any]] = {}
        self._changed: set[int] = set()
        self._range = half_digest(
            [campaign.process.model_dump(mode="json"), campaign.site.model_dump(mode="json")]
        )

    def resolve(
        self,
        catalogue: Mapping[date, Sequence[Entry]],
        days: Iterable[date],
        tails: Iterable[tuple[date, float]],
        threads: int,
        listing: Listing,
    ) -> dict[date, Known]:
        """Find what days and tails of days hash to, reading only those not seen before.

        Parameters
        ----------
        days : days whose whole content is needed
        tails : (day, seconds before its end) pairs that are needed
        threads : files read at one time
        listing : committed records, which hold the digests of the files they were made from
        """
        wanted_tails: dict[date, set[float]] = {}
        for day, window_s in tails:
            wanted_tails.setdefault(day, set()).add(window_s)
        whole = set(days)
        return {
            day: self._resolve_day(
                day,
                catalogue.get(day, ()),
                day in whole,
                wanted_tails.get(day, set()),
                threads,
                listing,
            )
            for day in sorted(whole | set(wanted_tails))
        }

    def remember(self, day: date, entries: Sequence[Entry], known: Known) -> None:
        """Keep what a worker found a day to hash to."""
        signature = self._signature(day, entries)
        self._year(day.year)[day.isoformat()] = {
            "seen": signature,
            "inputs": known.inputs,
            "tails": {str(window_s): value for window_s, value in known.tails.items()},
            "refused": known.refused,
        }
        self._files_of(day.year)[day.isoformat()] = {
            "seen": signature,
            "marks": base64.b64encode(b"".join(map(_mark, entries))).decode(),
        }
        self._changed.add(day.year)

    def remember_tails(self, day: date, entries: Sequence[Entry], known: Known) -> None:
        """Keep what a worker found a day's end to hash to, when it looked back at it."""
        if not entries or not known.tails:
            return
        kept = self._kept(day, entries)
        tails = {**kept.tails, **known.tails}
        self.remember(day, entries, Known(kept.inputs, tails, kept.refused or known.refused))

    def save(self) -> None:
        """Write the years that changed."""
        for year in sorted(self._changed):
            self._objects.write(_key(year), seal(self._years[year]))
            self._objects.write(_files_key(year), seal(self._files[year]))
        self._changed.clear()

    def _resolve_day(
        self,
        day: date,
        entries: Sequence[Entry],
        whole: bool,
        windows: set[float],
        threads: int,
        listing: Listing,
    ) -> Known:
        kept = before = self._kept(day, entries)
        known = Known() if kept.refused else kept
        midnight = day + timedelta(days=1)
        missing = windows - set(known.tails)
        if whole and known.inputs is None:
            digests = self._unchanged(day, entries, listing)
            read = read_day(self._campaign, entries, threads, keep_bytes=False, digests=digests)
            self._refuse_a_day_that_is_away(day, read, listing)
            wanted = windows | set(kept.tails)
            tails = {window_s: tail_hash(read, midnight, window_s) for window_s in wanted}
            kept = known = Known(read.hash(), tails, read.refused)
        elif missing:
            last = tail(entries, midnight, max(missing))
            read = read_day(self._campaign, last, threads, keep_bytes=False)
            found = {window_s: tail_hash(read, midnight, window_s) for window_s in missing}
            known = replace(known, tails={**known.tails, **found})
            kept = Known(kept.inputs, {**kept.tails, **found}, kept.refused or read.refused)
        if entries and kept != before:
            self.remember(day, entries, kept)
        return known

    def _refuse_a_day_that_is_away(self, day: date, read: DayInputs, listing: Listing) -> None:
        """A day of links whose disk is not mounted must not replace what was made of its frames."""
        committed = only_fingerprint(listing.get(day_block("frames", "", day), ()))
        if committed is None or not read.all_refused:
            return
        if committed[:HALF] != half_digest(read.hash()):
            digests = zip(read.entries, read.digest, strict=True)
            entry, why = next(one for one in digests if is_refused(one[1]))
            raise ArchiveError(
                f"archive {self._campaign.archive.url}: {day} is committed, and not one of its "
                f"{len(read.entries)} files can be opened now "
                f"({entry.file}: {why.removeprefix(UNREADABLE)}); "
                f"expected the disk that they lie on to be mounted, and the right to read them. "
                f"Files that are gone for good have to leave the archive's directories, too"
            )

    def _kept(self, day: date, entries: Sequence[Entry]) -> Known:
        """What the cache holds of a day as its entries are now."""
        cached = self._year(day.year).get(day.isoformat(), {})
        if cached.get("seen") != self._signature(day, entries):
            return Known()
        tails = {float(window_s): value for window_s, value in cached.get("tails", {}).items()}
        return Known(cached.get("inputs"), tails, bool(cached.get("refused")))

    def _unchanged(self, day: date, entries: Sequence[Entry], listing: Listing) -> dict[str, str]:
        """Digests, by name, of the frames whose files are as the committed frames' block saw them.

        None are known if the block was made from something else than what was seen.
        """
        before = self._year(day.year).get(day.isoformat(), {})
        block = day_block("frames", "", day)
        committed = only_fingerprint(listing.get(block, ()))
        files = self._files_of(day.year).get(day.isoformat(), {})
        if (
            committed is None
            or before.get("inputs") is None
            or committed[:HALF] != half_digest(before["inputs"])
            or files.get("seen") != before["seen"]
        ):
            return {}
        marks = base64.b64decode(files["marks"])
        seen = {marks[i : i + MARK_BYTES] for i in range(0, len(marks), MARK_BYTES)}
        same = {entry.name for entry in entries if _mark(entry) in seen}
        try:
            record = Records(self._objects).read(block, committed)
        except StoreError:
            return {}
        digests = {name: digest for name, digest, *_ in record.facts["frames"] if name in same}
        return {name: digest for name, digest in digests.items() if not is_refused(digest)}

    def _files_of(self, year: int) -> dict[str, Any]:
        """By day, marks of its files: read only when a day changed."""
        if year not in self._files:
            try:
                found = unseal(self._objects.read(_files_key(year)))
            except (FileNotFoundError, ValueError):
                found = {}
            self._files[year] = {day: files for day, files in found.items() if _is_files(files)}
        return self._files[year]

    def _year(self, year: int) -> dict[str, Any]:
        if year not in self._years:
            try:
                self._years[year] = _checked(unseal(self._objects.read(_key(year))))
            except (FileNotFoundError, ValueError):
                self._years[year] = {}
        return self._years[year]

    def _signature(self, day: date, entries: Sequence[Entry]) -> str:
        seen = [tuple(entry) for entry in entries]
        return half_digest([self._range, self._calibrated(day), seen])

    def _calibrated(self, day: date) -> list[tuple[str, str]]:
        """Parts of a UTC day in which a camera epoch is valid: no other frames are read."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = start + timedelta(days=1)
        epochs = zip(self._campaign.camera, self._campaign.epoch_ends, strict=True)
        parts = [(max(epoch.valid_from, start), min(until, end)) for epoch, until in epochs]
        return [(a.isoformat(), b.isoformat()) for a, b in parts if a < b]


def _checked(days: dict[str, Any]) -> dict[str, Any]:
    """The days of a cache that are of the shape that `remember` writes; the rest is read again."""
    return {day: seen for day, seen in days.items() if _is_seen(seen)}


def _is_seen(seen: Any) -> bool:
    if not isinstance(seen, dict) or not isinstance(seen.get("seen"), str):
        return False
    inputs, tails = seen.get("inputs"), seen.get("tails")
    return isinstance(inputs, str | None) and isinstance(tails, dict)


def _is_files(files: Any) -> bool:
    return isinstance(files, dict) and all(
        isinstance(files.get(key), str) for key in ("seen", "marks")
    )


def _mark(entry: Entry) -> bytes:
    return hashlib.blake2b(repr(tuple(entry)).encode(), digest_size=MARK_BYTES).digest()


def tail(entries: Sequence[Entry], midnight: date, window_s: float) -> tuple[Entry, ...]:
    """The entries at most `window_s` seconds before the midnight that begins a day."""
    if not window_s or not entries:
        return ()
    start_us = (midnight - date(1970, 1, 1)).days * 86_400_000_000 - round(window_s * 1e6)
    return tuple(entry for entry in entries if entry.acquired_us >= start_us)


def _key(year: int) -> str:
    return f"runs/seen/{year:04d}.json"


def _files_key(year: int) -> str:
    return f"runs/seen/files-{year:04d}.json"
