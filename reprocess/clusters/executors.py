"""How tasks are run one after the other, or on a Dask client."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from reprocess.clusters.node import WorkerLeaving, on_node
from reprocess.detectors.runtimes import available_cores
from reprocess.errors import ClusterError, LockLost
from reprocess.plan import Task
from reprocess.worker import TaskResult

ATTEMPTS = 3
"""Times a block is tried before it counts as failed."""

TEND_S = 1.0
"""How often the pool of workers is looked after while blocks are awaited."""

Call = Callable[[Task, int], TaskResult]
"""Does one task with a number of threads."""

Outcome = tuple[Task, TaskResult | BaseException]


class Executor(Protocol):
    """Runs tasks and yields each with its result, or with what stopped it."""

    def run(self, call: Call, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do all tasks, in any order; only `LockLost` and cluster trouble are raised."""
        ...


def is_transient(error: BaseException) -> bool:
    """Whether doing the block again may help: input and output, yes; a wrong value, no."""
    return isinstance(error, OSError)


class SerialExecutor:
    """One task after the other in this process: the oracle for every other executor."""

    def run(self, call: Call, tasks: Iterable[Task]) -> Iterator[Outcome]:
        for task in tasks:
            yield task, self._attempt(call, task)

    def _attempt(self, call: Call, task: Task) -> TaskResult | BaseException:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call(task, available_cores())
            except LockLost:
                raise
            except Exception as error:  # noqa: BLE001 - one bad block must not stop the others
                if attempt == ATTEMPTS or not is_transient(error):
                    return error
                time.sleep(0.2 * attempt)
        raise AssertionError("unreachable")


class DaskExecutor:
    """Tasks on a Dask client: a bounded window, no future kept longer than its result.

    Parameters
    ----------
    client : `distributed.Client`
    threads : given to each task
    tend : looks after the pool of workers; called about once a second from the thread that
        runs, and may raise `ClusterError`
    """

    def __init__(self, client: Any, threads: int, tend: Callable[[], None] = lambda: None) -> None:
        self.client = client
        self.threads = threads
        self.tend = tend

    def run(self, call: Call, tasks: Iterable[Task]) -> Iterator[Outcome]:
        waiting = iter(tasks)
        running: dict[Any, tuple[Task, int]] = {}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def submit(task: Task, attempt: int) -> None:
            # pure=False: a block done again is a new task; its record, not Dask, says it is done.
            future = self.client.submit(
                on_node, call, task, self.threads, pure=False,
                key=f"{task.day}-{attempt}-{time.time_ns()}",
            )  # fmt: skip
            running[future] = (task, attempt)
            future.add_done_callback(ended.put)

        def fill() -> None:
            # Workers come and go: the window follows them. One block in work and one behind it.
            window = 2 * max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))
            while len(running) < window and (task := next(waiting, None)) is not None:
                submit(task, 1)

        fill()
        try:
            while running:
                future = self._next(ended, fill)
                task, attempt = running.pop(future)
                error = self._error(future)
                if isinstance(error, WorkerLeaving):
                    submit(task, attempt)  # nothing was begun
                    continue
                if error is not None and attempt < ATTEMPTS and self._again(error):
                    submit(task, attempt + 1)
                    continue
                outcome = self._result(future) if error is None else self._told(task, error)
                future.release()
                following = next(waiting, None)
                if following is not None:
                    submit(following, 1)
                yield task, outcome
        finally:
            if running:
                self.client.cancel(list(running), force=True)

    def _next(self, ended: queue.SimpleQueue[Any], fill: Callable[[], None]) -> Any:
        while True:
            try:
                return ended.get(timeout=TEND_S)
            except queue.Empty:
                self.tend()
                fill()

    def _result(self, future: Any) -> TaskResult:
        while True:
            try:
                result: TaskResult = future.result(timeout=TEND_S)
            except TimeoutError:
                # Its worker died before the result was fetched: another does the block again.
                self.tend()
            else:
                return result

    def _error(self, future: Any) -> BaseException | None:
        if future.status in ("cancelled", "lost"):
            raise ClusterError(
                f"the scheduler dropped {future.key} ({future.status}): it was restarted or the "
                f"connection was lost; what is committed stays, run again to go on"
            )
        if future.status != "error":
            return None
        error: BaseException = future.exception()
        if isinstance(error, LockLost):
            raise error
        return error

    def _told(self, task: Task, error: BaseException) -> BaseException:
        from distributed import KilledWorker

        if not isinstance(error, KilledWorker):
            return error
        told = ClusterError(
            f"{task.day}: each worker that did it died, and none said why: most often a worker's "
            f"memory does not suffice (it wants 2 to 3 GB, more with large image.size_px)"
        )
        told.__cause__ = error
        return told

    def _again(self, error: BaseException) -> bool:
        from distributed import KilledWorker

        return is_transient(error) or isinstance(error, KilledWorker)
