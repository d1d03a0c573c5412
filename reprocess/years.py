"""The stores of years: laid out for a run's tasks, mended, and removed when they hold no day.

A year whose layout changes has a mark until every task of that year is done: should the run die and
what was wanted of it be taken back, nothing else tells the next run that the layout is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.history import Job
from reprocess.plan import Task
from reprocess.request import recomputed
from reprocess.stores.layout import YearLayout
from reprocess.stores.lock import Lock, guard
from reprocess.stores.metadata import finish_layout, lay_out, mend
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import UNFINISHED, Records, layout_mark_key, mark_layout


def lay_out_years(
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
        if lay_out(objects, layout, replace=again, guard=guard(objects, locks[layout.year]))
    ]


def finish_years(
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
            finish_layout(objects, layout, guard(objects, locks[layout.year]))


def mend_years(
    job: Job,
    objects: ObjectStore,
    years: Iterable[int],
    locks: Mapping[int, Lock],
    say: Callable[[str], None],
) -> None:
    """Write damaged metadata of what is about to be read again, so that no block is blamed."""
    for year in sorted(years):
        for layout in stages.layouts(job.campaign, year):
            for key in mend(objects, layout, guard(objects, locks[year])):
                say(f"{key} was damaged: written again")


def remove_empty_years(objects: ObjectStore, records: Records, locks: dict[int, Lock]) -> None:
    """Remove the stores of years that hold no day any more, under a mark on their frames."""
    kept = {block.year for block in records.list() if block.stage != "cube"}
    for year in sorted(set(locks) - kept):
        check = guard(objects, locks[year])
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
        check()
        mark_layout(objects, frames, UNFINISHED)
        for key in [*doomed, mark]:
            check()
            objects.delete(key)


def _layouts(campaign: Campaign, tasks: Sequence[Task]) -> list[YearLayout]:
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
