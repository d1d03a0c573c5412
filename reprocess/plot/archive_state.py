"""What a store says about each day of its archive: frames by column, blocks by state."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.errors import ConfigurationError
from reprocess.ledger import ledger_of_day
from reprocess.plot.stored import Stored, check_years
from reprocess.stores.records import (
    HALF,
    Block,
    cube_block,
    day_block,
    half_digest,
    only_fingerprint,
)

DAY_STAGES = ("frames", "evidence", "detections")


class State(enum.IntEnum):
    """Of one block."""

    NONE = 0
    DONE = 1
    STALE = 2
    FAILED = 3
    MISSING = 4


@dataclass
class YearState:
    """One year of a store.

    Attributes
    ----------
    frames : day → catalogued frames by ledger column, of days whose frames are committed
    blocks : (stage, label) → day → state. STALE: two records, or not made from the block above
        that is committed now, or with other settings than the campaign's. FAILED: the last run
        that tried it failed. MISSING: its day's frames are committed, it is not
    failures : day → last error
    cube : state of the cube-year
    last_ledger : frames of the year by column, as the last run that looked at it counted
    """

    year: int
    frames: dict[date, Mapping[str, int]] = field(default_factory=dict)
    blocks: dict[tuple[str, str], dict[date, State]] = field(default_factory=dict)
    failures: dict[date, str] = field(default_factory=dict)
    cube: State = State.NONE
    last_ledger: Mapping[str, int] = field(default_factory=dict)


def read_years(stored: Stored, years: Iterable[int] | None = None) -> list[YearState]:
    """Read the state of some years, or of all that have records or failures.

    Parameters
    ----------
    years : of which there are records or failures, or that the last run counted frames of

    Raises
    ------
    ConfigurationError
        If nothing is known of one of the years.

    Notes
    -----
    One listing, one read for each cube-year, for each failure and for each
    evidence block that looks back across midnight. The archive is not looked
    at: frames that were added since are not known here. Without a campaign
    (none given, no run left one) settings are not compared.
    """
    campaign = _campaign(stored)
    failures = _failures(stored)
    known = {block.year for block in stored.listing} | {day.year for day in failures}
    cubes: dict[int, dict[str, Any]] = {}
    ledgers = _last_ledgers(stored)
    if years is not None:
        years = set(years)
        counted = {year for year, ledger in ledgers.items() if any(ledger.values())}
        check_years(years, known | counted, stored.url)
    return [
        _year(stored, campaign, year, failures, cubes, ledgers)
        for year in sorted(known if years is None else years)
    ]


def _year(
    stored: Stored,
    campaign: Campaign | None,
    year: int,
    failures: Mapping[date, Mapping[str, Any]],
    cubes: dict[int, dict[str, Any]],
    ledgers: Mapping[int, Mapping[str, int]],
) -> YearState:
    found = YearState(year, last_ledger=ledgers.get(year, {}))
    found.failures = {d: str(f.get("error", "")) for d, f in failures.items() if d.year == year}
    listing = {b: prints for b, prints in stored.listing.items() if b.year == year}
    labels = list(campaign.detectors) if campaign is not None else []
    labels += sorted({b.label for b in listing if b.label} - set(labels))
    rows = [("frames", ""), *((stage, name) for name in labels for stage in DAY_STAGES[1:])]
    found.blocks = {row: {} for row in rows}
    days = {date.fromisoformat(b.day) for b in listing if b.stage in DAY_STAGES}
    for day in sorted(days | set(found.failures)):
        block = day_block("frames", "", day)
        prints = listing.get(block, [])
        fingerprint = only_fingerprint(prints)
        if fingerprint is not None:
            ledger = ledger_of_day(stored.records, stored.listing, block, fingerprint, cubes)
            found.frames[day] = ledger
        failed = set(failures.get(day, {}).get("blocks", ()))
        for stage, label in rows:
            state = _state(stored, campaign, day_block(stage, label, day))
            if str(day_block(stage, label, day)) in failed and state is not State.DONE:
                state = State.FAILED
            if state is State.NONE and day in found.frames:
                state = State.MISSING
            if state is not State.NONE:
                found.blocks[stage, label][day] = state
    found.cube = _cube_state(stored, year)
    return found


def _state(stored: Stored, campaign: Campaign | None, block: Block) -> State:
    prints = stored.listing.get(block, [])
    if not prints:
        return State.NONE
    made, day = only_fingerprint(prints), date.fromisoformat(block.day)
    if made is None:
        return State.STALE
    try:
        fresh = _is_fresh(stored, campaign, block, made, day)
    except ConfigurationError:
        # A mask or weights file that is not on this machine: its settings cannot be compared.
        fresh = True
    return State.DONE if fresh else State.STALE


def _is_fresh(
    stored: Stored, campaign: Campaign | None, block: Block, made: str, day: date
) -> bool:
    known = campaign is not None and (not block.label or block.label in campaign.detectors)
    if block.stage == "frames":
        if campaign is None:
            return True
        return stages.frames_fingerprint(campaign, day, "")[HALF:] == made[HALF:]
    stage_above = "frames" if block.stage == "evidence" else "evidence"
    above = day_block(stage_above, block.label if stage_above == "evidence" else "", day)
    parent = stored.listing.get(above, [])
    if len(parent) != 1:
        return False
    if block.stage == "detections":
        if campaign is not None and known:
            wanted = stages.detections_fingerprint(campaign, block.label, day, parent[0])
            return wanted == made
        return half_digest(parent[0]) == made[:HALF]
    if made[:HALF] != half_digest([parent[0], ""]):
        facts = stored.records.read(block, made).facts
        if facts.get("frames") != parent[0]:
            return False
    if campaign is None or not known:
        return True
    return stages.evidence_settings_half(campaign, block.label, day) == made[HALF:]


def _cube_state(stored: Stored, year: int) -> State:
    block = cube_block(year)
    prints = stored.listing.get(block, [])
    if not prints:
        return State.NONE
    fingerprint = only_fingerprint(prints)
    if fingerprint is None:
        return State.STALE
    counted = stored.records.read(block, fingerprint).facts["days"]
    committed: dict[str, dict[str, str]] = {}
    for found, prints in stored.listing.items():
        one = only_fingerprint(prints)
        if found.stage == "detections" and found.year == year and one is not None:
            committed.setdefault(found.day, {})[found.label] = one
    same = {d: dict(f["detections"]) for d, f in counted.items()} == committed
    return State.DONE if same else State.STALE


def _campaign(stored: Stored) -> Campaign | None:
    try:
        return stored.campaign
    except ConfigurationError:
        return None


def _failures(stored: Stored) -> dict[date, dict[str, Any]]:
    found = {}
    for key in stored.objects.keys("failures"):
        try:
            document = json.loads(stored.objects.read(key))
            found[date.fromisoformat(document["day"])] = document
        except (ValueError, KeyError, FileNotFoundError):
            continue
    return found


def _last_ledgers(stored: Stored) -> dict[int, Mapping[str, int]]:
    found: dict[int, Mapping[str, int]] = {}
    for document in stored.runs:
        for year, ledger in document.get("ledger", {}).items():
            found.setdefault(int(year), ledger)
    return found
