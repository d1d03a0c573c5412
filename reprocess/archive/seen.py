"""What the archive's days hashed to when they were last read.

A cache, under `runs/`, that spares hashing and decides nothing: a day whose
names, sizes and file times are as they were has the hash it had; any other
day that a committed block depends on is read again. Deleting the cache costs
one reading of the archive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from reprocess.archive.catalogue import Entry
from reprocess.archive.inputs import read_day, tail_hash
from reprocess.campaign import Campaign
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import half_digest


@dataclass(frozen=True)
class Known:
    """What a day of the archive hashes to.

    `inputs` is the hash of its names, times and contents, None where it was
    not needed (no record to compare with). `tails` holds the same for its last
    frames, by the length of the tail in seconds.
    """

    inputs: str | None = None
    tails: Mapping[float, str] = field(default_factory=dict)


class SeenDays:
    """The cache of one store, loaded a year at a time."""

    def __init__(self, objects: ObjectStore, campaign: Campaign) -> None:
        self._objects = objects
        self._campaign = campaign
        self._years: dict[int, dict[str, Any]] = {}
        self._changed: set[int] = set()
        self._range = half_digest(
            [
                campaign.process.model_dump(mode="json"),
                campaign.site.model_dump(mode="json"),
                [epoch.name for epoch in campaign.camera[:1]],
            ]
        )

    def resolve(
        self,
        catalogue: Mapping[date, Sequence[Entry]],
        days: Iterable[date],
        tails: Iterable[tuple[date, float]],
        threads: int,
    ) -> dict[date, Known]:
        """Find what days and tails of days hash to, reading only those not seen before.

        Parameters
        ----------
        days : days whose whole content is needed
        tails : (day, seconds before its end) pairs that are needed
        threads : files read at one time
        """
        wanted_tails: dict[date, set[float]] = {}
        for day, window_s in tails:
            wanted_tails.setdefault(day, set()).add(window_s)
        whole = set(days)
        return {
            day: self._resolve_day(
                day, catalogue.get(day, ()), day in whole, wanted_tails.get(day, set()), threads
            )
            for day in sorted(whole | set(wanted_tails))
        }

    def remember(self, day: date, entries: Sequence[Entry], known: Known) -> None:
        """Keep what a worker found a day to hash to."""
        self._year(day.year)[day.isoformat()] = {
            "seen": self._signature(entries),
            "inputs": known.inputs,
            "tails": {str(window_s): value for window_s, value in known.tails.items()},
        }
        self._changed.add(day.year)

    def remember_tails(
        self, day: date, entries: Sequence[Entry], tails: Mapping[float, str]
    ) -> None:
        """Keep what a worker found a day's end to hash to, when it looked back at it."""
        if not entries or not tails:
            return
        cached = self._year(day.year).get(day.isoformat(), {})
        if cached.get("seen") != self._signature(entries):
            cached = {}
        known = {float(window_s): value for window_s, value in cached.get("tails", {}).items()}
        self.remember(day, entries, Known(cached.get("inputs"), {**known, **tails}))

    def save(self) -> None:
        """Write the years that changed."""
        for year in sorted(self._changed):
            data = json.dumps(self._years[year], sort_keys=True).encode()
            self._objects.write(_key(year), data)
        self._changed.clear()

    def _resolve_day(
        self, day: date, entries: Sequence[Entry], whole: bool, windows: set[float], threads: int
    ) -> Known:
        cached = self._year(day.year).get(day.isoformat(), {})
        if cached.get("seen") != self._signature(entries):
            cached = {}
        inputs: str | None = cached.get("inputs")
        tails = {float(window_s): value for window_s, value in cached.get("tails", {}).items()}
        midnight = day + timedelta(days=1)
        missing = windows - set(tails)
        if whole and inputs is None:
            read = read_day(self._campaign, entries, threads, keep_bytes=False)
            inputs = read.hash()
            tails.update({w: tail_hash(read, midnight, w) for w in windows | set(tails)})
        elif missing:
            last = tail(entries, midnight, max(missing))
            read = read_day(self._campaign, last, threads, keep_bytes=False)
            tails.update({window_s: tail_hash(read, midnight, window_s) for window_s in missing})
        known = Known(inputs, tails)
        if entries and (inputs, tails) != (cached.get("inputs"), cached.get("tails")):
            self.remember(day, entries, known)
        return known

    def _year(self, year: int) -> dict[str, Any]:
        if year not in self._years:
            try:
                found = json.loads(self._objects.read(_key(year)))
            except (FileNotFoundError, ValueError):
                found = {}
            self._years[year] = found if isinstance(found, dict) else {}
        return self._years[year]

    def _signature(self, entries: Sequence[Entry]) -> str:
        return half_digest([self._range, [tuple(entry) for entry in entries]])


def tail(entries: Sequence[Entry], midnight: date, window_s: float) -> tuple[Entry, ...]:
    """The entries at most `window_s` seconds before the midnight that begins a day."""
    if not window_s or not entries:
        return ()
    start_us = (midnight - date(1970, 1, 1)).days * 86_400_000_000 - round(window_s * 1e6)
    return tuple(entry for entry in entries if entry.acquired_us >= start_us)


def _key(year: int) -> str:
    return f"runs/seen/{year:04d}.json"
