"""What a run says about itself: tables for people, one JSON line for programs."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tqdm import tqdm

from reprocess.archive.inputs import Column
from reprocess.cube.open import open_stored_cube, rates
from reprocess.execute import Progress
from reprocess.history import Job
from reprocess.runlog import PROGRESS
from reprocess.stores.objects import open_objects

log = logging.getLogger(PROGRESS)
LISTED_MAX = 10


class ProgressLine:
    """A progress bar on a terminal, plain lines in a log."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar: tqdm[Any] | None = None
        self._on_terminal = sys.stderr.isatty() and not quiet

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        rate = _rate(progress)
        if self._on_terminal:
            if self._bar is None:
                self._bar = tqdm(total=progress.total, unit="day", file=sys.stderr)
            self._bar.set_postfix_str(rate)
            self._bar.update(progress.done - self._bar.n)
        else:
            left_s = progress.seconds / progress.done * (progress.total - progress.done)
            log.info(
                "%s %s, day %d of %d, %s, %s left",
                progress.task.day, "failed" if progress.error else "done",
                progress.done, progress.total, rate, _duration(math.ceil(left_s)),
            )  # fmt: skip
        if progress.error:
            log.error("%s failed: %s", progress.task.day, progress.error)


def _rate(progress: Progress) -> str:
    """Frames a second; days a second where no frame was looked at, as where days are derived."""
    n, unit = (progress.frames, "frames") if progress.frames else (progress.done, "days")
    return f"{n / progress.seconds:.1f} {unit}/s" if progress.seconds else f"{n} {unit}"


class CheckLine:
    """Progress of a verification: a bar on a terminal, a line each tenth in a log."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._on_terminal = sys.stderr.isatty()
        self._tenth = 0

    def __enter__(self) -> CheckLine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        if self._on_terminal:
            if self._bar is None:
                self._bar = tqdm(total=total, unit="object", file=sys.stderr)
            self._bar.update(done - self._bar.n)
        elif total and 10 * done // total > self._tenth:
            self._tenth = 10 * done // total
            log.info("%d of %d objects checked", done, total)


def plan_table(job: Job) -> str:
    """The plan by year and why, the time it may take, and the files that are no frames."""
    rows = [("year", "days to do", "up to date", "frames to read", "because", "cube")]
    for year in job.years:
        tasks = job.plan.of_year(year)
        because = ", ".join(f"{n} {reason}" for reason, n in job.plan.by_reason(year).items())
        skipped = sum(day.year == year for day in job.plan.skipped)
        frames = job.plan.frames_to_read(year)
        rows.append(
            (str(year), str(len(tasks)), str(skipped), str(frames), because or "-",
             job.cube.get(year, "-"))
        )  # fmt: skip
    frames = job.plan.frames_to_read()
    if not (job.plan.tasks or job.cube):
        estimate = "nothing to do"
    elif not frames:
        estimate = "no image is read and no network is run"
    elif job.expected_frames_per_s:
        estimate = (
            f"about {_duration(frames / job.expected_frames_per_s)} for {frames} frames at the "
            f"{job.expected_frames_per_s:.1f} frames/s of the last run that read some"
        )
    else:
        estimate = f"{frames} frames; no earlier run in this store to estimate the time from"
    stages: Counter[str] = Counter(b.stage for task in job.plan.tasks for b in task.todo)
    stages.update("cube" for _ in job.cube)
    blocks = ", ".join(f"{n} {stage}" for stage, n in stages.items())
    plan = "\n".join([_table(rows), f"blocks: {blocks or 'none'}", estimate])
    return "\n\n".join([plan, *_no_frames(job)])


def summary(job: Job) -> str:
    """What was done, the ledger, the occurrence of each detector, and what failed."""
    parts = [_ledger_table(job)]
    occurrence = _occurrence_table(job)
    if occurrence:
        parts.append(occurrence)
    parts += _listed("unreadable frames", job.unreadable)
    parts += _no_frames(job)
    failures = {str(day): text for day, text in sorted(job.execution.failures.items())}
    parts += _listed("failed days (run again to retry; details under failures/)", failures)
    parts += _listed("years left alone", {str(y): text for y, text in job.held.items()})
    parts += _listed("damaged blocks, not counted", {str(b): t for b, t in job.damaged.items()})
    if job.interrupted:
        parts.append("interrupted: what is committed stays, run again to go on")
    done = len(job.execution.results)
    pace = ""
    if done:
        rate = job.execution.frames_per_s
        pace = f", {rate:.1f} frames/s over " if rate else ", in "
        pace += _duration(job.execution.seconds)
    parts.append(
        f"{done} days done, {len(job.plan.skipped)} up to date{pace}. Stores: {job.campaign.store}"
    )
    return "\n\n".join(parts)


def json_line(job: Job, page: str | None = None) -> str:
    """The run, and where its page is, as one line of JSON; the keys are in docs/rerun.md."""
    rate = job.execution.frames_per_s
    years: dict[str, Any] = {}
    for year in job.years:
        tasks = job.plan.of_year(year)
        years[str(year)] = {
            "done": sum(task.day in job.execution.results for task in tasks),
            "skipped": sum(day.year == year for day in job.plan.skipped),
            "failed": sum(day.year == year for day in job.execution.failures),
            "to_do": len(tasks),
            "by_reason": job.plan.by_reason(year),
            "cube": job.cube.get(year),
            "ledger": job.ledger.get(year, {}),
            "frames_catalogued": job.catalogued(year),
            **({"held": job.held[year]} if year in job.held else {}),
        }
    store = job.campaign.store.rstrip("/")
    document = {
        "run": job.run_id,
        "years": years,
        "stores": {
            "frames": f"{store}/frames",
            "evidence": {label: f"{store}/evidence/{label}" for label in job.campaign.detectors},
            "detections": {
                label: f"{store}/detections/{label}" for label in job.campaign.detectors
            },
            "occurrence": f"{store}/occurrence.zarr",
        },
        "frames_per_s": None if rate is None else round(rate, 3),
        "archive": {
            "files": job.catalogue.n_files,
            "not_frames": len(job.catalogue.ignored),
            "other_years": job.catalogue.n_other_years,
        },
        "complete": job.complete,
        "report": page,
    }
    return json.dumps(document, sort_keys=True)


def _ledger_table(job: Job) -> str:
    columns = [str(column) for column in Column]
    rows = [("year", "catalogued", *columns)]
    for year in job.request.years:
        ledger = job.ledger.get(year, {})
        total = job.catalogued(year)
        if sum(ledger.values()) != total:
            raise AssertionError(f"ledger of {year}: {ledger} does not add up to {total} frames")
        rows.append((str(year), str(total), *(str(ledger.get(c, 0)) for c in columns)))
    return "Frames\n" + _table(rows)


def _occurrence_table(job: Job) -> str | None:
    if job.interrupted:  # the cube is not counted yet, and may not be there at all
        return None
    if not any(published for published in job.published) and job.execution.n_frames == 0:
        return None
    cube = open_stored_cube(open_objects(job.campaign.store, job.campaign.store_access))
    total = rates(cube)
    simulated = " (simulated sky)" if job.campaign.simulated else ""
    rows = [
        ("detector", "cell-frames observed", "with aurora", "share", "share where all observed")
    ]
    for label in job.campaign.detectors:
        one = total.sel(detector=label)
        observed, aurora = int(one["n_observed"].sum()), int(one["n_aurora"].sum())
        common = int(one["n_observed_common"].sum())
        rows.append(
            (label, str(observed), str(aurora), _share(aurora, observed),
             _share(int(one["n_aurora_common"].sum()), common))
        )  # fmt: skip
    screening = str(cube.attrs.get("cloud_screening", "none"))
    note = f"clouds screened by {screening}"
    if screening == "none":
        note = "clouds are not screened: rates are lower bounds, false detections apart"
    return f"Occurrence over all cells and MLT{simulated}; {note}\n" + _table(rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "not observed"


def _no_frames(job: Job) -> list[str]:
    return _listed("files in the archive that are no frames", dict(job.catalogue.ignored))


def _listed(title: str, items: dict[str, str]) -> list[str]:
    if not items:
        return []
    lines = [f"  {plain(n)}: {plain(reason)}" for n, reason in list(items.items())[:LISTED_MAX]]
    if len(items) > LISTED_MAX:
        lines.append(f"  … and {len(items) - LISTED_MAX} more")
    return ["\n".join([f"{title}: {len(items)}", *lines])]


def plain(text: str) -> str:
    """Text of foreign origin on one line, with what would steer a terminal escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
