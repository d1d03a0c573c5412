"""One run, from a campaign to its cube: scan, plan, lock, execute, count, publish."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from reprocess import stages
from reprocess.archive.catalogue import Catalogue, scan
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.seen import SeenDays
from reprocess.campaign import Campaign, Fcn
from reprocess.clusters.open import check_walltime, open_executor, runs_here
from reprocess.cube_years import plan_cube, publish_years
from reprocess.detectors.runtimes import require_runtime
from reprocess.errors import LockHeld, ReprocessError, ServiceUnavailable
from reprocess.execute import Progress, execute
from reprocess.forewarn import doubts, refuse_lost_years, without_frames
from reprocess.geometry.calibration import epoch_geometry
from reprocess.history import Job, last_number, log_end, new_run_id, write_run
from reprocess.ledger import unreadable_frames, year_ledger
from reprocess.plan import Task, only_days, plan_archive
from reprocess.request import (
    Request,
    check_settings,
    check_thresholds,
    open_port_warning,
    recomputed,
    year_ranges,
)
from reprocess.runlog import RunLog
from reprocess.stores.lock import Heartbeat, Lock, acquire, guard
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import Listing, Records, day_block, marked_layouts
from reprocess.years import finish_years, lay_out_years, mend_years, remove_empty_years


def run_job(
    campaign: Campaign,
    request: Request,
    say: Callable[[str], None],
    on_progress: Callable[[Progress], None],
    run_id: str | None = None,
) -> Job:
    """Bring a campaign's stores up to date.

    Parameters
    ----------
    say : told what is happening, a line at a time
    on_progress : told after each task
    run_id : the run's name; default a new one

    Raises
    ------
    ConfigurationError, ArchiveError
        Before anything is written.
    ClusterError
        If there is nowhere to run; what is committed stays.
    """
    objects = open_objects(campaign.store, campaign.store_access)
    records = Records(objects)
    settings = check_settings(campaign, request, records, say)
    check_thresholds(campaign, request)
    say(f"archive {campaign.archive.url}: listing {year_ranges(request.years)}")
    headers = HeaderTimes(campaign.archive, objects)
    catalogue = Catalogue()
    if request.years:
        catalogue = scan(campaign.archive, request.years, campaign.camera, headers)
    by_year = Counter(dict.fromkeys(request.years, 0))
    for day, entries in catalogue.days.items():
        by_year[day.year] += len(entries)
    n_frames = sum(by_year[year] for year in request.years)
    say(f"{n_frames} frames on {len(catalogue.days)} days")
    listing = records.list()
    refuse_lost_years(campaign, request, by_year, listing)
    nothing_found = without_frames(campaign, request, by_year, catalogue, listing)
    if nothing_found is not None:
        say(f"warning: {nothing_found}")
    seen = SeenDays(objects, campaign)
    plan = plan_archive(
        campaign, request.years, request.labels, catalogue.days, seen, listing, recomputed(request)
    )  # fmt: skip
    if request.days is not None:
        plan = only_days(plan, request.days, listing)
    job = Job(run_id or new_run_id(), campaign, request, catalogue, plan)
    job.cube = plan_cube(job, objects, listing)
    if plan.frames_to_read():
        job.expected_frames_per_s = last_number(objects, "frames_per_s")
    _check_longest_block(job, objects)
    for doubt in doubts(campaign, request, catalogue) if plan.tasks else ():
        say(f"warning: {doubt}")
    if request.dry_run:
        _fill_ledger(job, records, listing)
        return job
    _check_installed(job)
    for epoch in campaign.camera if plan.tasks else ():
        epoch_geometry(campaign, epoch)  # a mask that is none is told before anything is written
    with RunLog(objects, job.run_id) as run_log:
        run_log.add(
            "run started", years=request.years, detectors=request.labels, cluster=request.cluster,
            recompute=request.recompute, store=objects.url, frames=n_frames,
            days_to_do=len(plan.tasks), days_up_to_date=len(plan.skipped),
        )  # fmt: skip

        def progressed(progress: Progress) -> None:
            run_log.task_ended(progress)
            on_progress(progress)

        try:
            headers.save()
            _bring_up_to_date(job, objects, listing, settings, seen, progressed, say)
            _fill_ledger(job, records, records.list(request.years))
        except Exception as error:
            job.error = f"{type(error).__name__}: {error}"
            if not isinstance(error, ServiceUnavailable):  # it was waited for long enough
                with contextlib.suppress(ReprocessError, OSError):  # the first error matters
                    write_run(job, objects)
            raise
        write_run(job, objects)
        log_end(job, run_log)
    return job


def _bring_up_to_date(
    job: Job,
    objects: ObjectStore,
    listing: Listing,
    settings: dict[str, dict[str, Any]],
    seen: SeenDays,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> None:
    records = Records(objects)
    seen.save()
    with Heartbeat() as heartbeat:
        marked = marked_layouts(objects)
        locks = _lock_years(job, objects, listing, marked, heartbeat, say)
        try:
            if locks or not job.held:  # another run's years keep the settings it binds them to
                guard(objects, *locks.values())()
                _write_settings(records, settings)
            tasks = [task for task in job.plan.tasks if task.day.year in locks]
            laid_out = lay_out_years(job, objects, locks, tasks, marked, say)
            if tasks:
                _run_tasks(job, objects, locks, tasks, seen, on_progress, say)
            finish_years(job, objects, locks, tasks, laid_out)
            remove_empty_years(objects, records, locks)
            publish_years(job, objects, records, locks, heartbeat, say)
        except KeyboardInterrupt:
            job.interrupted = True
        finally:
            _give_back(seen, locks, heartbeat, say)


# --- locks and tasks -------------------------------------------------------------------


def _lock_years(
    job: Job,
    objects: ObjectStore,
    listing: Listing,
    marked: frozenset[str],
    heartbeat: Heartbeat,
    say: Callable[[str], None],
) -> dict[int, Lock]:
    busy = {task.day.year for task in job.plan.tasks}
    counted = {b.year for b in listing if b.stage in ("detections", "cube")}
    locks: dict[int, Lock] = {}
    silent: set[str] = set()
    for year in sorted(busy | counted | set(job.request.years)):
        if not (
            year in busy
            or year in job.cube
            or (
                marked
                and any(
                    layout.path in marked
                    for layout in stages.layouts(job.campaign, year, job.request.labels)
                )
            )
        ):
            continue
        try:
            locks[year] = acquire(objects, str(year), job.run_id, say, silent)
        except LockHeld as error:
            if year in busy or year in job.request.years:
                job.held[year] = str(error)
            say(str(error))
            continue
        heartbeat.add(locks[year])
    return locks


def _run_tasks(
    job: Job,
    objects: ObjectStore,
    locks: dict[int, Lock],
    tasks: Sequence[Task],
    seen: SeenDays,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> None:
    mend_years(job, objects, {task.day.year for task in tasks}, locks, say)
    warning = open_port_warning(job.request.cluster)
    if warning is not None:
        say(f"warning: {warning}")
    tokens = {year: lock.token for year, lock in locks.items()}
    try:
        imports = ("torch",) if _runtimes(job) else ()
        with open_executor(job.request.cluster, len(tasks), say, imports) as executor:
            execute(
                job.plan, job.campaign, objects, tokens, executor, on_progress, job.run_id,
                job.execution,
            )  # fmt: skip
    finally:
        by_day = {task.day: task for task in tasks}
        for day, result in job.execution.results.items():
            if result.known is not None:
                seen.remember(day, by_day[day].entries, result.known)
        for day, result in job.execution.results.items():
            before = day - timedelta(days=1)
            seen.remember_tails(before, job.catalogue.days.get(before, ()), result.context)


def _give_back(
    seen: SeenDays, locks: dict[int, Lock], heartbeat: Heartbeat, say: Callable[[str], None]
) -> None:
    """Keep the cache and release the locks; neither may hide why a run ended."""
    try:
        seen.save()
    except (OSError, ReprocessError) as error:
        say(f"what the archive hashed to could not be kept ({error}): it will be read again")
    for lock in locks.values():
        heartbeat.give_back(lock, say)


# --- after the run ---------------------------------------------------------------------


def _fill_ledger(job: Job, records: Records, listing: Listing) -> None:
    committed = {b for b in job.plan.committed if b.stage == "frames"}
    committed |= {
        b for r in job.execution.results.values() for b in r.fingerprints if b.stage == "frames"
    }
    for year in job.request.years:
        days = {day: len(e) for day, e in job.catalogue.days.items() if day.year == year}
        job.ledger[year] = year_ledger(
            records, listing, days, committed, job.execution.failures, job.damaged
        )
    for result in job.execution.results.values():
        if result.ledger and result.ledger.get("unreadable"):
            block = day_block("frames", "", result.day)
            job.unreadable |= unreadable_frames(records, block, result.fingerprints[block])


def _check_longest_block(job: Job, objects: ObjectStore) -> None:
    """Refuse a cluster on which the largest day would not end well inside a job's walltime."""
    heavy = [task for task in job.plan.tasks if task.reads_frames]
    if heavy:
        largest = max(heavy, key=lambda task: len(task.entries))
        pace = last_number(objects, "block_s_per_frame", cluster=job.request.cluster)
        check_walltime(job.request.cluster, largest.day, len(largest.entries), pace)


def _check_installed(job: Job) -> None:
    """Refuse before anything is written if the networks to be run here cannot run."""
    if not runs_here(job.request.cluster):
        return
    for runtime, precision in sorted(_runtimes(job)):
        require_runtime(runtime, precision)


def _runtimes(job: Job) -> set[tuple[str, str]]:
    """What the networks that are to be run are run with, and in which precision."""
    labels = {b.label for task in job.plan.tasks for b in task.todo if b.stage == "evidence"}
    detectors = (job.campaign.detectors.get(label) for label in labels)
    return {(d.runtime, d.precision) for d in detectors if isinstance(d, Fcn)}


def _write_settings(records: Records, settings: dict[str, dict[str, Any]]) -> None:
    for name, document in settings.items():
        records.write_settings(name, document)
