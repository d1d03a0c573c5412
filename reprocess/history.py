"""What a run was: in memory while it goes on, and as `runs/<run>/run.json` afterwards."""

from __future__ import annotations

import platform
import re
import statistics
import time
import uuid
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from reprocess.archive.catalogue import Catalogue
from reprocess.campaign import Campaign
from reprocess.cube.publish import Published
from reprocess.detectors.runtimes import available_cores
from reprocess.errors import ConfigurationError, StoreError
from reprocess.execute import Execution
from reprocess.plan import Plan, Reason
from reprocess.request import Request
from reprocess.runlog import RunLog
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Block
from reprocess.stores.sealed import seal, unseal
from reprocess.worker import WHOLE

LIBRARIES = (
    "reprocess", "numpy", "zarr", "xarray", "dask", "distributed", "torch",
    "numba", "opencv-python-headless", "simplejpeg", "pillow", "skyfield", "aacgmv2",
)  # fmt: skip

PACE_FRAMES_MIN = 100
"""Frames of a day below which its seconds a frame tell more of its start than of its pace."""

NOT_FRAMES_KEPT = 100
"""Names of files that are no frames which `run.json` lists; it counts them all."""
RUNS_LOOKED_AT = 20
"""Runs before this one that are read for estimates: each is a request."""


_RUN_KEY = re.compile(r"runs/(?P<run>\d{8}T\d{6}Z-[0-9a-f]+)/run\.json")


@dataclass
class Job:
    """What a run did, for its report.

    Attributes
    ----------
    cube : years of the cube that were planned to be counted, and why
    held : years that another run is writing, and who
    damaged : blocks whose stored bytes are not those of their record
    ledger : frames by column, by year
    error : what stopped the run before its end
    """

    run_id: str
    campaign: Campaign
    request: Request
    catalogue: Catalogue
    plan: Plan
    cube: dict[int, Reason] = field(default_factory=dict)
    execution: Execution = field(default_factory=Execution)
    published: list[Published] = field(default_factory=list)
    held: dict[int, str] = field(default_factory=dict)
    damaged: dict[Block, str] = field(default_factory=dict)
    ledger: dict[int, dict[str, int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    error: str | None = None
    started: float = field(default_factory=time.time)
    expected_frames_per_s: float | None = None

    @property
    def years(self) -> tuple[int, ...]:
        """The years that the run has to do with: the plan's, then others that are only counted."""
        return (*self.plan.years, *sorted(set(self.cube) - set(self.plan.years)))

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is committed."""
        if self.request.dry_run:
            return not (self.plan.tasks or self.cube or self.damaged)
        return not (
            self.execution.failures or self.held or self.damaged or self.interrupted or self.error
        )

    def catalogued(self, year: int) -> int:
        """Frames of a year in the catalogue."""
        return sum(len(e) for day, e in self.catalogue.days.items() if day.year == year)


def new_run_id() -> str:
    """A run's name: its start, UTC, and a few random characters."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}"


def run_key(run_id: str, name: str) -> str:
    """Key of one of a run's objects."""
    return f"runs/{run_id}/{name}"


def write_run(job: Job, objects: ObjectStore) -> None:
    """Keep what a run was; its keys are in docs/stores/records.md."""
    objects.write(run_key(job.run_id, "run.json"), seal(_document(job)))


def log_end(job: Job, run_log: RunLog) -> None:
    """Add to the log what came of a run, beside its tasks."""
    for year, who in job.held.items():
        run_log.add("year held", level="warning", year=year, holder=who)
    for block, text in job.damaged.items():
        run_log.add("block damaged", level="warning", block=str(block), error=text)
    for published in job.published:
        run_log.add("year counted", year=published.year, days=published.n_days)
    run_log.add(
        "run ended", level="info" if job.complete else "warning", complete=job.complete,
        interrupted=job.interrupted, done=len(job.execution.results),
        failed=len(job.execution.failures), frames=job.execution.n_frames,
        seconds=round(job.execution.seconds, 3), ledger=job.ledger,
    )  # fmt: skip


def _document(job: Job) -> dict[str, Any]:
    seconds = job.execution.seconds
    results = sorted(job.execution.results.items())
    unfinished = [t for t in job.plan.tasks if t.day not in job.execution.results]
    return {
        "run": job.run_id,
        "campaign": job.campaign.model_dump(mode="json"),
        "request": {
            "years": job.request.years, "detectors": job.request.labels,
            "cluster": job.request.cluster, "recompute": job.request.recompute,
        },
        "started": _utc(job.started),
        "ended": _utc(time.time()),
        "machine": {"host": platform.node(), "system": platform.platform(),
                    "processor": platform.processor() or platform.machine(),
                    "cores": available_cores()},
        "software": software_versions(),
        "catalogue": {
            "files": job.catalogue.n_files,
            "other_years": job.catalogue.n_other_years,
            "not_frames": len(job.catalogue.ignored),
            "not_frames_listed": job.catalogue.ignored[:NOT_FRAMES_KEPT],
            "frames": {year: job.catalogued(year) for year in job.request.years},
        },
        "plan": {year: job.plan.by_reason(year) for year in job.plan.years},
        "tasks": {"done": len(job.execution.results), "failed": len(job.execution.failures),
                  "skipped": len(job.plan.skipped), "planned": len(job.plan.tasks)},
        "n_frames": job.execution.n_frames,
        "seconds": round(seconds, 3),
        "seconds_by_day": {d.isoformat(): dict(r.seconds) for d, r in results},
        "ledger_by_day": {d.isoformat(): dict(r.ledger) for d, r in results if r.ledger},
        "unfinished": {task.day.isoformat(): len(task.entries) for task in unfinished},
        "frames_per_s": job.execution.frames_per_s,
        "block_s_per_frame": pace(job.execution),
        "failures": {d.isoformat(): text for d, text in sorted(job.execution.failures.items())},
        "published": {p.year: {"fingerprint": p.fingerprint, "days": p.n_days}
                      for p in job.published},
        "held": job.held,
        "damaged": {str(block): text for block, text in job.damaged.items()},
        "interrupted": job.interrupted,
        "error": job.error,
        "complete": job.complete,
        "ledger": job.ledger,
    }  # fmt: skip


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def read_run(objects: ObjectStore, run_id: str) -> dict[str, Any]:
    """Read what a run was.

    Raises
    ------
    ConfigurationError
        If there is no such run.
    StoreError
        If its object is not what a run writes.
    """
    key = run_key(run_id, "run.json")
    try:
        document = unseal(objects.read(key), required=False)
    except FileNotFoundError as error:
        known = ", ".join(list_runs(objects)[-5:]) or "none"
        raise ConfigurationError(
            f"{objects.url}: found no {key}, expected one of its runs (the last: {known})"
        ) from error
    except ValueError as error:
        raise StoreError(f"{key}: found {error}; expected what a run writes at its end") from error
    if "run" not in document:
        raise StoreError(f"{key}: expected the mapping that a run writes at its end")
    return document


def list_runs(objects: ObjectStore) -> list[str]:
    """Names of the runs that a store remembers, oldest first."""
    found = (_RUN_KEY.fullmatch(key) for key in objects.keys("runs"))
    return sorted(match["run"] for match in found if match)


def last_number(objects: ObjectStore, key: str, cluster: str | None = None) -> float | None:
    """A number of the last run (on that cluster) that has it, for estimates."""
    for run_id in list_runs(objects)[: -RUNS_LOOKED_AT - 1 : -1]:
        try:
            run = read_run(objects, run_id)
        except StoreError:
            continue
        request = run.get("request")
        if cluster is not None and (
            not isinstance(request, dict) or request.get("cluster") != cluster
        ):
            continue
        number = run.get(key)
        if isinstance(number, int | float) and 0 < number < 1e9:
            return float(number)
    return None


def pace(execution: Execution) -> float | None:
    """Seconds a frame takes in a block: the median over days large enough to tell.

    A worker's first block holds the loading of its libraries.
    """
    rates = [
        result.seconds[WHOLE] / result.n_frames
        for result in execution.results.values()
        if result.n_frames >= PACE_FRAMES_MIN and WHOLE in result.seconds
    ]
    return statistics.median(rates) if rates else None


def software_versions() -> dict[str, str]:
    """Versions of this package and of what its numbers come from."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
