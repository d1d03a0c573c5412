"""The ledger: every catalogued frame stands in exactly one column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from datetime import date
from typing import Any

from reprocess.errors import StoreError
from reprocess.stores.records import (
    Block,
    Listing,
    Records,
    cube_block,
    day_block,
    only_fingerprint,
)


def year_ledger(
    records: Records,
    listing: Listing,
    days: Mapping[date, int],
    committed: Container[Block],
    failed: Container[date],
    damaged: dict[Block, str],
) -> dict[str, int]:
    """Frames of a year by column; the columns add up to the catalogue.

    Parameters
    ----------
    days : catalogued frames of each day of the year
    committed : frames blocks that are up to date
    failed : days whose task failed
    damaged : filled with blocks whose record cannot be read; their frames count as failed
    """
    total: Counter[str] = Counter()
    cubes: dict[int, dict[str, Any]] = {}
    for day, n_frames in days.items():
        block = day_block("frames", "", day)
        found = listing.get(block, [])
        if day in failed:
            total["failed"] += n_frames
        elif block in committed and len(found) == 1:
            try:
                total.update(ledger_of_day(records, listing, block, found[0], cubes))
            except StoreError as error:
                damaged[block] = str(error)
                total["failed"] += n_frames
        else:
            total["not_yet_run"] += n_frames
    return dict(total)


def ledger_of_day(
    records: Records,
    listing: Listing,
    block: Block,
    fingerprint: str,
    cubes: dict[int, dict[str, Any]],
) -> dict[str, int]:
    """A committed day's ledger, from its year's cube record where that still holds, else its own.

    `cubes` keeps the cube records that were read, by year.
    """
    if block.year not in cubes:
        cube = cube_block(block.year)
        counted = only_fingerprint(listing.get(cube, ()))
        try:
            cubes[block.year] = records.read(cube, counted).facts["days"] if counted else {}
        except StoreError:
            cubes[block.year] = {}  # the run that counts the year again writes it again
    entry = cubes[block.year].get(block.day, {})
    if entry.get("frames") != fingerprint:
        entry = records.read(block, fingerprint).facts
    ledger: dict[str, int] = entry["ledger"]
    return ledger


def unreadable_frames(records: Records, block: Block, fingerprint: str) -> dict[str, str]:
    """Names of a committed day's unreadable frames, and why each is."""
    frames = records.read(block, fingerprint).facts["frames"]
    return {name: reason for name, _, column, reason in frames if column == "unreadable"}
