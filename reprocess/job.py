"""One run, from a campaign to its cube: scan, plan, lock, execute, count, publish."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from reprocess import stages
from reprocess.archive.catalogue import Catalogue, scan
from reprocess.archive.headers import HeaderTimes
from reprocess.archive.seen import Known, SeenDays
from reprocess.campaign import Campaign, Fcn
from reprocess.clusters.open import check_walltime, open_executor, runs_here
from reprocess.cube.publish import CUBE_PATH, publish_year, shape_cube
from reprocess.detectors.runtimes import require_runtime
from reprocess.errors import LockHeld, ReprocessError, ServiceUnavailable, StoreError
from reprocess.execute import Execution, Progress, execute
from reprocess.geometry.calibration import epoch_geometry
from reprocess.history import Job, last_number, log_end, new_run_id, write_run
from reprocess.ledger import ledger_of_day, unreadable_frames, year_ledger
from reprocess.plan import Plan, Task, only_days, plan_archive
from reprocess.request import (
    Request,
    check_settings,
    open_port_warning,
    recomputed,
    refuse_an_empty_archive,
    year_ranges,
)
from reprocess.runlog import RunLog
from reprocess.stores.layout import YearLayout, damaged_metadata, finish_layout, lay_out, mend
from reprocess.stores.lock import Heartbeat, Lock, acquire
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import (
    UNFINISHED,
    Block,
    Listing,
    Records,
    cube_block,
    day_block,
    layout_mark_key,
    mark_layout,
    marked_layouts,
    read_layout,
)

CUBE_LOCK_WAIT_S = 120.0


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
    say(f"archive {campaign.archive.url}: listing {year_ranges(request.years)}")
    headers = HeaderTimes(campaign.archive, objects)
    catalogue = Catalogue()
    if request.years:
        catalogue = scan(campaign.archive, request.years, campaign.camera, headers)
    n_frames = sum(len(e) for d, e in catalogue.days.items() if d.year in request.years)
    say(f"{n_frames} frames on {len(catalogue.days)} days")
    listing = records.list()
    refuse_an_empty_archive(campaign, request, n_frames, listing)
    seen = SeenDays(objects, campaign)
    plan = plan_archive(
        campaign, request.years, request.labels, catalogue.days, seen, listing, recomputed(request)
    )  # fmt: skip
    if request.days is not None:
        plan = only_days(plan, request.days, listing)
    job = Job(run_id or new_run_id(), campaign, request, catalogue, plan)
    job.expected_frames_per_s = last_number(objects, "frames_per_s")
    _check_longest_block(job, objects)
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
                _guard(objects, locks)()
                _write_settings(records, settings)
            tasks = [task for task in job.plan.tasks if task.day.year in locks]
            laid_out = _lay_out(job, objects, locks, tasks, marked, say)
            if tasks:
                _run_tasks(job, objects, locks, tasks, seen, on_progress, say)
            _finish_layouts(job, objects, locks, tasks, laid_out)
            _remove_empty_years(objects, records, locks)
            _publish(job, objects, records, locks, heartbeat, say)
        except KeyboardInterrupt:
            job.interrupted = True
        finally:
            _give_back(seen, locks, heartbeat, say)


# --- locks, tasks, cube ----------------------------------------------------------------


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
    for year in sorted(busy | counted | set(job.request.years)):
        if not (
            year in busy
            or _cube_is_stale(
                job,
                objects,
                listing,
                year,
                _committed_days(job.campaign, job.plan, None, year),
            )
            or any(
                layout.path in marked
                for layout in stages.layouts(job.campaign, year, job.request.labels)
            )
        ):
            continue
        try:
            locks[year] = acquire(objects, str(year), job.run_id, say)
        except LockHeld as error:
            if year in busy or year in job.request.years:
                job.held[year] = str(error)
            say(str(error))
            continue
        heartbeat.add(locks[year])
    return locks


def _lay_out(
    job: Job,
    objects: ObjectStore,
    locks: Mapping[int, Lock],
    tasks: Sequence[Task],
    marked: frozenset[str],
    say: Callable[[str], None],
) -> list[YearLayout]:
    """Lay out the years for their tasks, and those that have a mark; returns what has one now."""
    wanted = {layout.path: layout for layout in _layouts(job.campaign, tasks)}
    for year in locks if marked else ():
        for layout in stages.layouts(job.campaign, year, job.request.labels):
            if layout.path in marked:
                wanted[layout.path] = layout
                say(f"{layout.path}: a run ended while it laid that out; laid out again")
    again = "frames" in recomputed(job.request)
    return [
        layout
        for layout in wanted.values()
        if lay_out(objects, layout, replace=again, guard=_guard(objects, {0: locks[layout.year]}))
    ]


def _finish_layouts(
    job: Job,
    objects: ObjectStore,
    locks: Mapping[int, Lock],
    tasks: Sequence[Task],
    laid_out: Sequence[YearLayout],
) -> None:
    """Take the marks off the years of which every task was done."""
    failed = {task.day.year for task in tasks if task.day not in job.execution.results}
    for layout in laid_out:
        if layout.year not in failed:
            finish_layout(objects, layout, _guard(objects, {0: locks[layout.year]}))


def _run_tasks(
    job: Job,
    objects: ObjectStore,
    locks: dict[int, Lock],
    tasks: Sequence[Task],
    seen: SeenDays,
    on_progress: Callable[[Progress], None],
    say: Callable[[str], None],
) -> None:
    _mend(job, objects, {task.day.year for task in tasks}, locks, say)
    warning = open_port_warning(job.request.cluster)
    if warning is not None:
        say(f"warning: {warning}")
    tokens = {year: lock.token for year, lock in locks.items()}
    try:
        with open_executor(job.request.cluster, len(tasks), say) as executor:
            execute(
                job.plan, job.campaign, objects, tokens, executor, on_progress, job.run_id,
                job.execution,
            )  # fmt: skip
    finally:
        by_day = {task.day: task for task in tasks}
        for day, result in job.execution.results.items():
            if result.inputs is not None:
                seen.remember(day, by_day[day].entries, Known(result.inputs, result.tails))
        for day, result in job.execution.results.items():
            before = day - timedelta(days=1)
            seen.remember_tails(before, job.catalogue.days.get(before, ()), result.context)


def _guard(objects: ObjectStore, locks: Mapping[Any, Lock]) -> Callable[[], None]:
    """What raises `LockLost` once another run has taken one of these locks over."""

    def check() -> None:
        for lock in locks.values():
            lock.token.check(objects)

    return check


def _remove_empty_years(objects: ObjectStore, records: Records, locks: dict[int, Lock]) -> None:
    """Remove the stores of years that hold no day any more, under a mark on their frames."""
    kept = {block.year for block in records.list() if block.stage != "cube"}
    for year in sorted(set(locks) - kept):
        guard = _guard(objects, {year: locks[year]})
        frames = stages.frames_path(year)
        mark = layout_mark_key(frames, UNFINISHED)
        doomed = [
            key
            for stage in ("detections", "evidence", "frames")
            for area in (f"records/layout/{stage}", stage)
            for key in objects.keys(area)
            if (f"/{year:04d}.zarr." in key or f"/{year:04d}.zarr/" in key) and key != mark
        ]
        if not doomed:
            continue
        guard()
        mark_layout(objects, frames, UNFINISHED)
        for key in [*doomed, mark]:
            guard()
            objects.delete(key)


def _mend(
    job: Job,
    objects: ObjectStore,
    years: Iterable[int],
    locks: Mapping[int, Lock],
    say: Callable[[str], None],
) -> None:
    """Write damaged metadata of what is about to be read again, so that no block is blamed."""
    for year in sorted(years):
        for layout in stages.layouts(job.campaign, year):
            for key in mend(objects, layout, _guard(objects, {year: locks[year]})):
                say(f"{key} was damaged: written again")


def _layouts(campaign: Campaign, tasks: Sequence[Any]) -> list[YearLayout]:
    wanted: dict[tuple[str, str, int], None] = {}
    for task in tasks:
        for block in () if task.erase else task.todo:
            wanted[block.stage, block.label, block.year] = None
    layouts = []
    for stage, label, year in sorted(wanted, key=lambda w: (stages.STAGES.index(w[0]), w)):
        if label and label not in campaign.detectors:
            continue
        if stage == "frames":
            layouts.append(stages.frames_layout(campaign, year))
        elif stage == "evidence":
            layouts.append(stages.evidence_layout(campaign, label, year))
        else:
            layouts.append(stages.detections_layout(campaign, label, year))
    return layouts


def _committed_days(
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


def _publish(
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
        if _cube_is_stale(
            job,
            objects,
            listing,
            year,
            days := _committed_days(campaign, job.plan, job.execution, year),
        )
    }
    if not stale and not (locks and _cube_is_damaged(objects)):
        return
    _mend(job, objects, stale, locks, say)
    cube_lock = _acquire_cube(objects, job.run_id, say)
    heartbeat.add(cube_lock)

    try:
        years = {b.year for b in listing if b.stage == "detections"}
        last_year = max({stages.first_year(campaign)} | years)
        facts = {year: _day_facts(job, records, listing, days) for year, days in stale.items()}
        for year in stale:  # before the cube is laid out for it
            _guard(objects, {year: locks[year], 0: cube_lock})()
            records.begin(cube_block(year))
        if shape_cube(objects, campaign, last_year, _guard(objects, {**locks, 0: cube_lock})):
            say("the cube has another shape or selection: every committed year is counted again")
            for year in sorted((years & set(locks)) - set(stale)):
                stale[year] = _committed_days(campaign, job.plan, job.execution, year)
                facts[year] = _day_facts(job, records, listing, stale[year])
        for year, days in sorted(stale.items()):
            guard = _guard(objects, {year: locks[year], 0: cube_lock})
            if year <= last_year:
                done = publish_year(objects, campaign, year, days, facts[year], guard)
                job.published.append(done)
                job.damaged |= dict(done.damaged)
                say(f"cube: {year} counted from {done.n_days} days")
            if not days:  # all its counts are 0, and objects of zeros are not stored
                guard()
                records.delete_all(cube_block(year))
    finally:
        heartbeat.remove(cube_lock)
        cube_lock.release()


def _cube_is_stale(
    job: Job, objects: ObjectStore, listing: Listing, year: int, days: dict[str, dict[str, str]]
) -> bool:
    block = cube_block(year)
    found = listing.get(block, [])
    if not days and not found:
        return False
    asked = "cube" in job.request.recompute and year in job.request.years
    if asked or found != [stages.cube_fingerprint(job.campaign, days)]:
        return True
    try:
        Records(objects).read(block, found[0])
    except StoreError:
        return True  # it says what was counted: without it the counts are not vouched for
    return False


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
        found = listing.get(block, [])
        if len(found) != 1:
            continue
        result = job.execution.results.get(day)
        if result is not None and result.ledger is not None:
            ledger = dict(result.ledger)
        else:
            ledger = ledger_of_day(records, listing, block, found[0], known)
        facts[name] = {"frames": found[0], "ledger": ledger}
    return facts


def _give_back(
    seen: SeenDays, locks: dict[int, Lock], heartbeat: Heartbeat, say: Callable[[str], None]
) -> None:
    """Keep the cache and release the locks; a store that refuses must not hide why a run ended."""
    try:
        seen.save()
    except OSError as error:
        say(f"what the archive hashed to could not be kept ({error}): it will be read again")
    for year, lock in locks.items():
        heartbeat.remove(lock)
        try:
            lock.release()
        except OSError as error:
            say(f"{year} could not be given back ({error}): the next run takes it over")


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
    heavy = [t for t in job.plan.tasks if any(b.stage in ("frames", "evidence") for b in t.todo)]
    if heavy:
        largest = max(heavy, key=lambda task: len(task.entries))
        pace = last_number(objects, "block_s_per_frame", cluster=job.request.cluster)
        check_walltime(job.request.cluster, largest.day, len(largest.entries), pace)


def _check_installed(job: Job) -> None:
    """Refuse before anything is written if the networks to be run here cannot run."""
    if not runs_here(job.request.cluster):
        return
    labels = {b.label for task in job.plan.tasks for b in task.todo if b.stage == "evidence"}
    for label in sorted(labels & set(job.campaign.detectors)):
        settings = job.campaign.detectors[label]
        if isinstance(settings, Fcn):
            require_runtime(settings.runtime)


def _write_settings(records: Records, settings: dict[str, dict[str, Any]]) -> None:
    for name, document in settings.items():
        records.write_settings(name, document)
