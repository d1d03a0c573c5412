"""What a store holds after a run, read from its records and the run's own objects alone.

Bounded: one listing of the records, one record a cube-year, one evidence
record for each label and year. Nothing of the archive and no Zarr chunk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reprocess.archive.inputs import Column
from reprocess.errors import StoreError
from reprocess.plot.captions import year_ranges
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import (
    Block,
    Listing,
    Records,
    cube_block,
    half_digest,
    only_fingerprint,
)

FAILURES_READ = 50
"""Failures whose traceback is read for the page; all are counted."""


@dataclass(frozen=True)
class DayState:
    """One UTC day: what became of it and of its frames.

    Attributes
    ----------
    state : done, partly (a label is missing), failed, not run
    ledger : frames by column; None where neither a cube record nor this run knows it
    """

    day: str
    state: str
    ledger: Mapping[str, int] | None
    n_frames: int | None


@dataclass(frozen=True)
class YearState:
    """One year of the store.

    Attributes
    ----------
    ledger : frames by column
    catalogued : frames in the catalogue, which the columns must add up to; for a year that
        was not part of the run, what its records hold
    blocks : committed days by stage and label, such as `evidence fcn`
    counted : days that the cube holds; None if the cube has no record of the year
    stale : committed days that the cube does not hold, or holds as they were before
    digest : of the year's committed blocks and fingerprints: equal for equal results
    """

    year: int
    in_run: bool
    ledger: Mapping[str, int]
    catalogued: int
    days: tuple[DayState, ...]
    blocks: Mapping[str, int]
    counted: int | None
    stale: int
    fingerprint: str | None
    digest: str

    @property
    def adds_up(self) -> bool:
        return sum(self.ledger.values()) == self.catalogued


@dataclass(frozen=True)
class Failure:
    """A day that failed and has not succeeded since: its last error."""

    day: str
    error: str
    blocks: tuple[str, ...] = ()
    traceback: str = ""
    run: str = ""
    time: str = ""


@dataclass(frozen=True)
class StoreState:
    """What the page says about a store.

    Attributes
    ----------
    settings : of each label and of the frames, with their digest
    profiles : compute profile → labels and years whose first block was made under it
    failures : those whose object was read, by day
    n_failures : all of them
    """

    listing: Listing
    years: tuple[YearState, ...]
    settings: Mapping[str, tuple[str, dict[str, Any]]]
    profiles: Mapping[str, tuple[str, ...]]
    failures: tuple[Failure, ...]
    n_failures: int
    problems: tuple[str, ...] = field(default=())


def read_state(objects: ObjectStore, run: Mapping[str, Any]) -> StoreState:
    """Read what a store holds, for the page of one run.

    Parameters
    ----------
    run : `history.read_run`

    Notes
    -----
    A record that cannot be read is named in `problems` and the rest is shown.
    """
    records = Records(objects)
    listing = records.list()
    problems: list[str] = []
    labels = list(run["campaign"]["detectors"])
    keys = sorted(k for k in objects.keys("failures") if k.endswith(".json"))
    failed = {key.rpartition("/")[2].removesuffix(".json") for key in keys}
    run_years = {int(year) for year in run["request"]["years"]}
    years = sorted(run_years | {block.year for block in listing})
    found = []
    for year in years:
        cube = _cube_record(records, listing, year, problems)
        found.append(_year(run, listing, labels, failed, year, cube, in_run=year in run_years))
    return StoreState(
        listing=listing,
        years=tuple(found),
        settings=_settings(records, labels, problems),
        profiles=_profiles(records, listing, labels, problems),
        failures=tuple(_failure(objects, key) for key in keys[:FAILURES_READ]),
        n_failures=len(keys),
        problems=tuple(problems),
    )


def _cube_record(
    records: Records, listing: Listing, year: int, problems: list[str]
) -> tuple[str, dict[str, Any]] | None:
    block = cube_block(year)
    fingerprint = only_fingerprint(listing.get(block, ()))
    if fingerprint is None:
        return None
    try:
        days: dict[str, Any] = records.read(block, fingerprint).facts["days"]
    except (StoreError, KeyError) as error:
        problems.append(f"cube record of {year}: {error}")
        return None
    return fingerprint, days


def _year(
    run: Mapping[str, Any],
    listing: Listing,
    labels: list[str],
    failed: set[str],
    year: int,
    cube: tuple[str, dict[str, Any]] | None,
    *,
    in_run: bool,
) -> YearState:
    committed = {
        block: fingerprint
        for block, found in listing.items()
        if block.year == year and (fingerprint := only_fingerprint(found)) is not None
    }
    prefix = f"{year:04d}-"
    unfinished = {d: n for d, n in run.get("unfinished", {}).items() if d.startswith(prefix)}
    counted = {} if cube is None else cube[1]
    detections: dict[str, dict[str, str]] = {}
    blocks: dict[str, int] = {}
    for block, fingerprint in committed.items():
        if block.stage == "cube" or (block.label and block.label not in labels):
            continue
        name = f"{block.stage} {block.label}".strip()
        blocks[name] = blocks.get(name, 0) + 1
        if block.stage == "detections":
            detections.setdefault(block.day, {})[block.label] = fingerprint
    stale = sum(
        counted.get(day, {}).get("detections") != detections.get(day)
        for day in {*detections, *counted}
    )
    frames = {block.day for block in committed if block.stage == "frames"}
    days = []
    for day in sorted(frames | set(unfinished) | {d for d in failed if d.startswith(prefix)}):
        ledger = counted.get(day, {}).get("ledger") or run.get("ledger_by_day", {}).get(day)
        if day in failed:
            state, ledger = "failed", None
        elif day in unfinished or day not in frames:
            state, ledger = "not run", None
        else:
            state = "done" if set(detections.get(day, ())) >= set(labels) else "partly"
        n_frames = sum(ledger.values()) if ledger else unfinished.get(day)
        days.append(DayState(day, state, ledger, n_frames))
    if in_run:
        total = run["ledger"].get(str(year), {})
        catalogued = run["catalogue"]["frames"].get(str(year), sum(total.values()))
    else:
        total = {
            str(column): sum((day.ledger or {}).get(column, 0) for day in days) for column in Column
        }
        total = {column: n for column, n in total.items() if n}
        catalogued = sum(total.values())
    return YearState(
        year=year,
        in_run=in_run,
        ledger=total,
        catalogued=catalogued,
        days=tuple(days),
        blocks=dict(sorted(blocks.items())),
        counted=None if cube is None else len(counted),
        stale=stale,
        fingerprint=None if cube is None else cube[0],
        digest=half_digest(
            sorted([*block, fingerprint] for block, fingerprint in committed.items())
        ),
    )


def _settings(
    records: Records, labels: list[str], problems: list[str]
) -> dict[str, tuple[str, dict[str, Any]]]:
    found = {}
    for name in ("frames", *labels):
        try:
            settings = records.read_settings(name)
        except StoreError as error:
            problems.append(str(error))
            continue
        if settings is not None:
            found[name] = (half_digest(settings), settings)
    return found


def _profiles(
    records: Records, listing: Listing, labels: list[str], problems: list[str]
) -> dict[str, tuple[str, ...]]:
    """Compute profile of the first committed evidence block of each label and year."""
    first: dict[tuple[str, int], tuple[Block, str]] = {}
    for block in sorted(listing):
        one = only_fingerprint(listing[block])
        if block.stage == "evidence" and block.label in labels and one is not None:
            first.setdefault((block.label, block.year), (block, one))
    found: dict[str, dict[str, list[int]]] = {}
    for (label, year), (block, fingerprint) in first.items():
        try:
            profile = str(records.read(block, fingerprint).facts["profile"])
        except (StoreError, KeyError) as error:
            problems.append(f"record of {block}: {error}")
            continue
        found.setdefault(profile, {}).setdefault(label, []).append(year)
    return {
        profile: tuple(f"{label} {year_ranges(years)}" for label, years in where.items())
        for profile, where in found.items()
    }


def _failure(objects: ObjectStore, key: str) -> Failure:
    day = key.rpartition("/")[2].removesuffix(".json")
    try:
        document = json.loads(objects.read(key))
        return Failure(
            day,
            str(document["error"]),
            tuple(map(str, document.get("blocks", ()))),
            str(document.get("traceback", "")),
            str(document.get("run", "")),
            str(document.get("time", "")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Failure(day, f"{key} cannot be read: {error}")
