"""Execute a plan: submit its tasks, keep what comes back, list what failed."""

from __future__ import annotations

import functools
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from reprocess.campaign import Campaign
from reprocess.clusters.executors import Executor
from reprocess.errors import ServiceUnavailable
from reprocess.plan import Plan, Task
from reprocess.stores.lock import LockToken
from reprocess.stores.objects import ObjectStore
from reprocess.stores.sealed import seal
from reprocess.worker import TaskResult, process_block


@dataclass
class Execution:
    """What happened to the tasks of a plan.

    Attributes
    ----------
    results : of the tasks that finished
    failures : the last error of the others, by day
    seconds : wall time
    """

    results: dict[date, TaskResult] = field(default_factory=dict)
    failures: dict[date, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def n_frames(self) -> int:
        return sum(result.n_frames for result in self.results.values())

    @property
    def frames_per_s(self) -> float | None:
        """Frames over wall time; None if none was processed, since deriving has no such rate."""
        return self.n_frames / self.seconds if self.n_frames and self.seconds else None


@dataclass(frozen=True)
class Progress:
    """One task ended: what a progress bar or a log line shows.

    Attributes
    ----------
    result, error : one of them is None
    done, total : tasks that ended, and all
    frames, seconds : of the whole execution so far
    """

    task: Task
    result: TaskResult | None
    error: str | None
    done: int
    total: int
    frames: int
    seconds: float


def do_task(
    task: Task,
    threads: int,
    *,
    campaign: Campaign,
    store_url: str,
    locks: Mapping[int, LockToken],
    run_id: str,
) -> TaskResult:
    """Do one task: what is sent to a worker. Its errors say which run, day and process."""
    try:
        return process_block(task, campaign, store_url, locks[task.day.year], threads)
    except Exception as error:
        error.add_note(f"run {run_id}, {task.day}, on {platform.node()}, process {os.getpid()}")
        raise


def execute(
    plan: Plan,
    campaign: Campaign,
    objects: ObjectStore,
    locks: Mapping[int, LockToken],
    executor: Executor,
    on_progress: Callable[[Progress], None],
    run_id: str,
    execution: Execution,
) -> None:
    """Run the tasks of the years that are locked by this run.

    Parameters
    ----------
    locks : the locks this run holds, by year; tasks of other years are left alone
    on_progress : told after every task
    execution : filled as results come, so that an interrupt loses nothing that was finished
    """
    tasks = [task for task in plan.tasks if task.day.year in locks]
    call = functools.partial(
        do_task, campaign=campaign, store_url=objects.url, locks=locks, run_id=run_id
    )
    started = time.monotonic()
    for task, outcome in executor.run(call, tasks):
        error = None
        if isinstance(outcome, TaskResult):
            execution.results[task.day] = outcome
            objects.delete(_failure_key(task.day))
        else:
            error = f"{type(outcome).__name__}: {outcome}"
            execution.failures[task.day] = error
            _keep_failure(objects, task, outcome, run_id)
            if isinstance(outcome, ServiceUnavailable):
                raise outcome  # each following day would wait as long, for the same
        execution.seconds = time.monotonic() - started
        on_progress(
            Progress(
                task,
                None if error else execution.results[task.day],
                error,
                len(execution.results) + len(execution.failures),
                len(tasks),
                execution.n_frames,
                execution.seconds,
            )
        )


def _failure_key(day: date) -> str:
    return f"failures/{day.year:04d}/{day.isoformat()}.json"


def _keep_failure(objects: ObjectStore, task: Task, error: BaseException, run_id: str) -> None:
    document = {
        "day": task.day.isoformat(),
        "blocks": [str(block) for block in task.todo],
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "run": run_id,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    objects.write(_failure_key(task.day), seal(document))
