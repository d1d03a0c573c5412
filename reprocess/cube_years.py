"""Which cube-years are not as the detections say, and their publication under the cube's lock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import Any

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.cube.publish import publish_year
from reprocess.cube.shape import CUBE_PATH, shape_cube
from reprocess.errors import LockHeld, StoreError
from reprocess.execute import Execution
from reprocess.history import Job
from reprocess.ledger import ledger_of_day
from reprocess.plan import Plan, Reason
from reprocess.stores.lock import Heartbeat, Lock, acquire, guard, holder
from reprocess.stores.metadata import damaged_metadata
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import (
    HALF,
    Block,
    Listing,
    Records,
    cube_block,
    day_block,
    only_fingerprint,
    read_layout,
)
from reprocess.years import mend_years

CUBE_LOCK_WAIT_S = 120.0


def committed_days(
    campaign: Campaign, plan: Plan, execution: Execution | None, year: int
) -> dict[str, dict[str, str]]:
    """Day → label → fingerprint of the detections that are up to date."""
    done: dict[Block, str] = {
        block: fingerprint
        for block, fingerprint in plan.committed.items()
        if block.stage == "detections" and block.year == year
    }
    for result in [] if execution is None else execution.results.values():
        done |= {
            block: fingerprint
            for block, fingerprint in result.fingerprints.items()
            if block.stage == "detections" and block.year == year
        }
    days: dict[str, dict[str, str]] = {}
    for block in sorted(done):
        if block.label in campaign.detectors:
            days.setdefault(block.day, {})[block.label] = done[block]
    return dict(sorted(days.items()))


def plan_cube(job: Job, objects: ObjectStore, listing: Listing) -> dict[int, Reason]:
    """Years of the cube that a run has to count, and why, before its tasks are done.

    A year whose detections come out of their tasks as they were counted is left as it is.
    """
    found = {b.year for b in listing if b.stage in ("detections", "cube")}
    planned: dict[int, Reason] = {}
    for year in sorted(found | {*job.plan.years}):
        tasks = job.plan.of_year(year)
        days = committed_days(job.campaign, job.plan, None, year)
        reason: Reason | None
        if all(task.erase for task in tasks):
            reason = why_count(job, objects, listing, year, days)
        else:
            reason = Reason.PARENT if cube_block(year) in listing else Reason.NEW
        if reason is not None:
            planned[year] = reason
    return planned


def why_count(
    job: Job, objects: ObjectStore, listing: Listing, year: int, days: dict[str, dict[str, str]]
) -> Reason | None:
    """Why a year of the cube is not known to be counted from these days' detections, if it is not.

    The reasons are those of a day's blocks, found in the same way.
    """
    block = cube_block(year)
    found = listing.get(block, [])
    if not days:
        return Reason.REMOVED if found else None
    if not found:
        return Reason.NEW
    if only_fingerprint(found) is None:
        return Reason.INTERRUPTED
    if "cube" in job.request.recompute and year in job.request.years:
        return Reason.RECOMPUTE
    wanted = stages.cube_fingerprint(job.campaign, days)
    if found[0] != wanted:
        return Reason.SETTINGS if found[0][:HALF] == wanted[:HALF] else Reason.INPUTS
    try:
        Records(objects).read(block, found[0])
    except StoreError:
        return Reason.INTERRUPTED  # without what says what was counted nobody vouches for it
    return None


def publish_years(
    job: Job,
    objects: ObjectStore,
    records: Records,
    locks: dict[int, Lock],
    heartbeat: Heartbeat,
    say: Callable[[str], None],
) -> None:
    """Count and replace the cube-years that are not as the detections say."""
    campaign = job.campaign
    listing = records.list()
    stale = {
        year: days
        for year in sorted(locks)
        if why_count(
            job,
            objects,
            listing,
            year,
            days := committed_days(campaign, job.plan, job.execution, year),
        )
        is not None
    }
    if not stale and not (locks and _cube_is_damaged(objects)):
        return
    mend_years(job, objects, stale, locks, say)
    cube_lock = _acquire_cube(objects, job.run_id, say)
    heartbeat.add(cube_lock)
    try:
        years = {b.year for b in listing if b.stage == "detections"}
        last_year = max({stages.first_year(campaign)} | years)
        facts = {year: _day_facts(job, records, listing, days) for year, days in stale.items()}
        for year in stale:  # before the cube is laid out for it
            guard(objects, locks[year], cube_lock)()
            records.begin(cube_block(year))
        if shape_cube(objects, campaign, last_year, guard(objects, *locks.values(), cube_lock)):
            say("the cube has another shape or selection: every committed year is counted again")
            for year in sorted(years - set(stale)):
                if year not in locks:  # the counts that were there went with the old shape
                    _leave_to_its_holder(job, objects, year, say)
                    continue
                stale[year] = committed_days(campaign, job.plan, job.execution, year)
                facts[year] = _day_facts(job, records, listing, stale[year])
        for year, days in sorted(stale.items()):
            check = guard(objects, locks[year], cube_lock)
            if year <= last_year:
                done = publish_year(objects, campaign, year, days, facts[year], check)
                job.published.append(done)
                job.damaged |= dict(done.damaged)
                say(f"cube: {year} counted from {done.n_days} days")
            if not days:  # all its counts are 0, and objects of zeros are not stored
                check()
                records.delete_all(cube_block(year))
    finally:
        heartbeat.give_back(cube_lock, say)


def _leave_to_its_holder(
    job: Job, objects: ObjectStore, year: int, say: Callable[[str], None]
) -> None:
    """Tell that the cube does not hold a year until another run has counted it."""
    who = holder(objects, str(year)) or "another run until now"
    job.held[year] = (
        f"{year} was held by {who} and is not in the cube's new shape: it is counted when that run "
        f"ends, or by the next run of the campaign"
    )
    say(job.held[year])


def _cube_is_damaged(objects: ObjectStore) -> bool:
    """Whether metadata or coordinates are not as they were laid out, or nothing tells how."""
    try:
        if read_layout(objects, CUBE_PATH) is None:  # a run was killed while it mended them
            return next(iter(objects.keys(CUBE_PATH)), None) is not None
        return bool(damaged_metadata(objects, CUBE_PATH))
    except StoreError:
        return True


def _acquire_cube(objects: ObjectStore, run_id: str, say: Callable[[str], None]) -> Lock:
    deadline = time.monotonic() + CUBE_LOCK_WAIT_S
    while True:
        try:
            return acquire(objects, "cube", run_id, say)
        except LockHeld:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)  # another run publishes its years: seconds


def _day_facts(
    job: Job, records: Records, listing: Listing, days: dict[str, dict[str, str]]
) -> dict[str, Any]:
    """For each day of a cube-year: its frames' fingerprint and ledger."""
    facts: dict[str, Any] = {}
    known: dict[int, dict[str, Any]] = {}
    for name in days:
        day = date.fromisoformat(name)
        block = day_block("frames", "", day)
        frames = only_fingerprint(listing.get(block, ()))
        if frames is None:
            continue
        result = job.execution.results.get(day)
        if result is not None and result.ledger is not None:
            ledger = dict(result.ledger)
        else:
            ledger = ledger_of_day(records, listing, block, frames, known)
        facts[name] = {"frames": frames, "ledger": ledger}
    return facts
