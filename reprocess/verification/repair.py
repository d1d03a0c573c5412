"""Make again what a verification found damaged, and nothing else.

A block is only given up where it can be made again as it was: the plan over
the campaign and the archive must hold its fingerprint for up to date. Then its
record is taken back, and a run of those days alone does the rest. What the
archive cannot give any more stays as it is, and is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from reprocess import stages
from reprocess.archive.catalogue import Catalogue, scan
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.seen import SeenDays
from reprocess.campaign import Campaign
from reprocess.cube.shape import CUBE_PATH, cube_objects
from reprocess.errors import ArchiveError, ConfigurationError, LockHeld, StoreError
from reprocess.execute import Progress
from reprocess.history import Job, new_run_id
from reprocess.job import run_job
from reprocess.plan import Plan, plan_archive
from reprocess.request import Request
from reprocess.stores.lock import Heartbeat, Lock, acquire
from reprocess.stores.metadata import finish_layout, lay_out, metadata_digests, write_objects
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import (
    HALF,
    MARKS,
    Block,
    Listing,
    Records,
    half_digest,
    layout_key,
    layout_mark_key,
    only_fingerprint,
    read_layout,
)
from reprocess.verification.findings import Finding, Verification

DAILY = ("frames", "evidence", "detections")
MENDED = ("metadata", "settings", "failed")
"""Kinds of findings that are seen to otherwise than by making a block again."""


@dataclass
class Repair:
    """What a repair did.

    Attributes
    ----------
    mended : metadata and settings that were written again, by key
    days : whose damaged blocks were made again
    cube_years : that were counted again
    left : what could not be repaired, and why; it stays as it is
    job : the run that did it; None where no block had to be made
    """

    mended: list[str] = field(default_factory=list)
    days: tuple[date, ...] = ()
    cube_years: tuple[int, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    job: Job | None = None

    def text(self) -> str:
        """What a person reads."""
        lines = [f"written again: {key}" for key in self.mended]
        lines += [f"made again: {day}" for day in self.days]
        lines += [f"counted again: {year}" for year in self.cube_years]
        if self.job is not None:
            lines += [f"FAILED again: {d}: {e}" for d, e in self.job.execution.failures.items()]
            lines += [f"{year}: {text}" for year, text in self.job.held.items()]
        lines += [f"not repaired: {what}: {why}" for what, why in self.left.items()]
        return "\n".join(lines) or "nothing to repair"

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "complete": self.complete,
            "written_again": self.mended,
            "days": [day.isoformat() for day in self.days],
            "cube_years": list(self.cube_years),
            "not_repaired": self.left,
            "run": None if self.job is None else self.job.run_id,
        }

    @property
    def complete(self) -> bool:
        """Whether everything that was found was repaired."""
        return not self.left and (self.job is None or self.job.complete)


def repair_store(
    campaign: Campaign,
    verification: Verification,
    cluster: str,
    say: Callable[[str], None],
    on_progress: Callable[[Progress], None],
) -> Repair:
    """Make again what `verify_store` found.

    Parameters
    ----------
    campaign : that of the store; with other settings nothing is touched
    verification : of the campaign's store
    cluster, say, on_progress : as for a run

    Raises
    ------
    ConfigurationError
        If the campaign's settings are not those that the store was made with.
    LockHeld
        If another run is writing one of the years.
    """
    objects = open_objects(campaign.store, campaign.store_access)
    repair = Repair()
    findings = verification.findings
    _mend_settings(campaign, objects, findings, repair)
    blocks = {f.block for f in findings if f.block is not None}
    blocks = {b for b in blocks if not b.label or b.label in campaign.detectors}
    for finding in findings:
        if finding.block not in blocks and finding.kind not in MENDED:
            repair.left[finding.key] = f"{finding.text}; not ours to change: see to it by hand"
    daily = {b for b in blocks if b.stage in DAILY}
    cubes = {b for b in blocks if b.stage == "cube"}
    failed = {f.where for f in findings if f.kind == "failed"}
    years = sorted(
        {b.year for b in blocks}
        | {int(day[:4]) for day in failed if _is_day(day)}
        | _years_of_metadata(findings)
    )
    refuse_other_settings(campaign, objects)
    run_id = new_run_id()
    with Heartbeat() as heartbeat:
        locks = _lock(objects, years, bool(cubes) or _of_cube(findings), run_id, heartbeat, say)
        try:
            _mend_metadata(campaign, objects, findings, repair)
            listing = Records(objects).list()
            plan, archive_years = _plan(campaign, objects, listing, daily, failed, repair, say)
            days = _give_up(objects, plan, archive_years, daily, listing, repair)
            for block in sorted(cubes):
                Records(objects).begin(block)
        finally:
            for lock in locks:
                heartbeat.give_back(lock, say)
    days |= {date.fromisoformat(d) for d in failed if _is_day(d) and int(d[:4]) in archive_years}
    repair.days = tuple(sorted(days))
    repair.cube_years = tuple(sorted(b.year for b in cubes))
    if days or cubes:
        labels = tuple(campaign.detectors)
        request = Request(tuple(archive_years), labels, cluster, days=frozenset(days))
        repair.job = run_job(campaign, request, say, on_progress)
    return repair


def refuse_other_settings(campaign: Campaign, objects: ObjectStore) -> None:
    """One store must not mix settings, and a repair must not bring new ones in.

    Raises
    ------
    ConfigurationError
        If anything committed was made with other settings than the campaign's.
    """
    listing = Records(objects).list()
    wrong: dict[str, int] = {}
    for block, found in listing.items():
        day = None if block.stage == "cube" else date.fromisoformat(block.day)
        if block.label and block.label not in campaign.detectors:
            continue
        for fingerprint in found:
            if fingerprint in MARKS:
                continue
            if day is None:
                wanted = stages.cube_fingerprint(campaign, {})
            elif block.stage == "frames":
                wanted = stages.frames_fingerprint(campaign, day, "")
            elif block.stage == "evidence":
                wanted = stages.evidence_fingerprint(campaign, block.label, day, "", "")
            else:
                wanted = stages.detections_fingerprint(campaign, block.label, day, "")
            if fingerprint[HALF:] != wanted[HALF:]:
                name = f"{block.stage} {block.label}".strip()
                wrong[name] = wrong.get(name, 0) + 1
    if wrong:
        named = ", ".join(f"{n} blocks of {name}" for name, n in sorted(wrong.items()))
        raise ConfigurationError(
            f"{campaign.store}: found {named} that were made with other settings than this "
            f"campaign's; expected the campaign that made the store. Run the new campaign instead "
            f"of repairing: it does all that its settings change"
        )


def _plan(
    campaign: Campaign,
    objects: ObjectStore,
    listing: Listing,
    daily: set[Block],
    failed: set[str],
    repair: Repair,
    say: Callable[[str], None],
) -> tuple[Plan, list[int]]:
    """What the campaign and the archive say of the blocks as they are; years whose archive counts.

    Detections follow from evidence; only frames and evidence need the archive.
    """
    years = sorted(
        {b.year for b in daily if b.stage != "detections"}
        | {int(day[:4]) for day in failed if _is_day(day)}
    )
    catalogue = Catalogue()
    if years:
        say(f"archive {campaign.archive.url}: listing {', '.join(map(str, years))}")
        try:
            headers = HeaderTimes(campaign.archive, objects)
            catalogue = scan(campaign.archive, years, campaign.camera, headers)
        except ArchiveError as error:
            for block in sorted(b for b in daily if b.year in years and b.stage != "detections"):
                repair.left[str(block)] = f"{error}; what is stored stays as it is"
            years = []
    labels = tuple(campaign.detectors)
    seen = SeenDays(objects, campaign)
    return plan_archive(campaign, years, labels, catalogue.days, seen, listing), years


def _give_up(
    objects: ObjectStore,
    plan: Plan,
    archive_years: list[int],
    daily: set[Block],
    listing: Listing,
    repair: Repair,
) -> set[date]:
    """Take back the records of the damaged blocks that will be made again as they were."""
    tasks = {task.day: task for task in plan.tasks}
    records = Records(objects)
    days: set[date] = set()
    for block in sorted(daily):
        day = date.fromisoformat(block.day)
        task = tasks.get(day)
        if str(block) in repair.left:
            continue
        if block.stage != "detections" and block.year not in archive_years:
            continue
        if task is not None and task.erase:
            repair.left[str(block)] = (
                "the archive holds no frame of that day any more, so it cannot be made again; "
                "what is stored stays as it is"
            )
            continue
        found = listing.get(block, [])
        committed = only_fingerprint(found)
        if task is not None and block in task.todo and committed is not None:
            repair.left[str(block)] = (
                f"a run would make it otherwise than it was ({task.todo[block]}); what is stored "
                f"stays as it is, run the campaign to have it as the archive is now"
            )
            continue
        if task is None and not found:
            repair.left[str(block)] = (
                "neither a record nor a frame of the archive tells of it; what is stored stays as "
                "it is, delete it by hand if it is not wanted"
            )
            continue
        if committed is not None:
            records.delete(block, [committed])
        days.add(day)
    return days


def _mend_metadata(
    campaign: Campaign, objects: ObjectStore, findings: list[Finding], repair: Repair
) -> None:
    """Write what belongs to whole years and to the cube, where the campaign gives it."""
    wanted = {f.key for f in findings if f.kind == "metadata"}
    if not wanted:
        return
    for year in sorted(_years_of_metadata(findings)):
        for layout in stages.layouts(campaign, year):
            told = {layout_key(layout.path), *(layout_mark_key(layout.path, m) for m in MARKS)}
            mine = {k for k in wanted if k in told or k.startswith(f"{layout.path}/")}
            if mine:
                if lay_out(objects, layout):
                    finish_layout(objects, layout)
                repair.mended += sorted(mine)
    if any(f.kind == "metadata" and f.where == "cube" for f in findings):
        _mend_cube(campaign, objects)
        repair.mended += sorted(k for k in wanted if CUBE_PATH in k)
    repair.left |= dict.fromkeys(wanted - set(repair.mended), "not of this campaign")


def _mend_cube(campaign: Campaign, objects: ObjectStore) -> None:
    listing = Records(objects).list()
    years = {b.year for b in listing if b.stage in ("detections", "cube")}
    wanted = cube_objects(campaign, max({stages.first_year(campaign)} | years))
    lacking = {}
    for key, data in wanted.items():
        try:
            if objects.read(key) == data:
                continue
        except (FileNotFoundError, IsADirectoryError):
            pass
        lacking[key] = data
    try:
        layout = read_layout(objects, CUBE_PATH)
    except StoreError:
        layout = None
    identity = half_digest(stages.cube_settings(campaign))
    recorded = None if layout is None else metadata_digests(objects, CUBE_PATH)
    write_objects(objects, CUBE_PATH, wanted, lacking, recorded, bound=identity)


def _mend_settings(
    campaign: Campaign, objects: ObjectStore, findings: list[Finding], repair: Repair
) -> None:
    """Write damaged settings again; `refuse_other_settings` has the last word on whether right."""
    for finding in findings:
        if finding.kind != "settings":
            continue
        name = finding.key.rpartition("/")[2].removesuffix(".json")
        if name == "frames":
            settings = stages.frames_settings(campaign)
        elif name in campaign.detectors:
            settings = stages.evidence_settings(campaign, name)
        else:
            repair.left[finding.key] = f"{finding.text}; {name} is not of this campaign"
            continue
        refuse_other_settings(campaign, objects)
        Records(objects).write_settings(name, json.loads(json.dumps(settings)))
        repair.mended.append(finding.key)


def _lock(
    objects: ObjectStore,
    years: list[int],
    cube: bool,
    run_id: str,
    heartbeat: Heartbeat,
    say: Callable[[str], None],
) -> list[Lock]:
    locks: list[Lock] = []
    silent: set[str] = set()
    try:
        for name in [*map(str, years), *(["cube"] if cube else [])]:
            locks.append(acquire(objects, name, run_id, say, silent))
            heartbeat.add(locks[-1])
    except LockHeld:
        for lock in locks:
            heartbeat.give_back(lock, say)
        raise
    return locks


def _years_of_metadata(findings: list[Finding]) -> set[int]:
    return {int(f.where[-4:]) for f in findings if f.kind == "metadata" and f.where != "cube"}


def _of_cube(findings: list[Finding]) -> bool:
    return any(f.where == "cube" for f in findings)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
