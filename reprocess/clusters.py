"""Where tasks run: this process, this machine's cores, or a Dask scheduler elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from reprocess.detectors.runtimes import available_cores
from reprocess.errors import ClusterError, ConfigurationError, LockLost
from reprocess.plan import Task
from reprocess.worker import TaskResult

ATTEMPTS = 3
"""Times a block is tried before it counts as failed."""

WORKER_MEMORY_BYTES = 2 << 30
KNOWN = "serial, local, tcp://HOST:PORT or tls://HOST:PORT"

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
    """Tasks on a Dask client: a bounded window, no future kept longer than its result."""

    def __init__(self, client: Any, threads: int) -> None:
        self.client = client
        self.threads = threads

    def run(self, call: Call, tasks: Iterable[Task]) -> Iterator[Outcome]:
        from distributed import as_completed

        waiting = iter(tasks)
        running: dict[Any, tuple[Task, int]] = {}
        completed = as_completed(loop=self.client.loop)

        def submit(task: Task, attempt: int) -> None:
            # pure=False: a block done again is a new task; its record, not Dask, says it is done.
            future = self.client.submit(
                call, task, self.threads, pure=False, key=f"{task.day}-{attempt}-{time.time_ns()}"
            )
            running[future] = (task, attempt)
            completed.add(future)

        window = 2 * max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))
        for task in waiting:
            submit(task, 1)
            if len(running) >= window:
                break
        try:
            while running:
                future = next(completed)
                task, attempt = running.pop(future)
                error = self._error(future)
                if error is not None and attempt < ATTEMPTS and self._again(error):
                    submit(task, attempt + 1)
                    continue
                outcome = future.result() if error is None else error
                future.release()
                following = next(waiting, None)
                if following is not None:
                    submit(following, 1)
                yield task, outcome
        finally:
            if running:
                self.client.cancel(list(running), force=True)

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

    def _again(self, error: BaseException) -> bool:
        from distributed import KilledWorker

        return is_transient(error) or isinstance(error, KilledWorker)


ADDRESSES = ("tcp://", "tls://", "ucx://", "ws://", "wss://")


def check_cluster(cluster: str) -> None:
    """Refuse the name of a cluster that is not known, before anything is done."""
    if cluster not in ("serial", "local") and not cluster.startswith(ADDRESSES):
        raise ConfigurationError(f"--cluster {cluster}: no such cluster; expected {KNOWN}")


@contextlib.contextmanager
def open_executor(cluster: str, n_tasks: int, say: Callable[[str], None]) -> Iterator[Executor]:
    """Open the executor that `--cluster` names, and close what was started for it.

    Parameters
    ----------
    cluster : `serial`, `local`, or the address of a running scheduler
    n_tasks : tasks to come; a local cluster starts no more workers than that
    say : told where the dashboard is

    Raises
    ------
    ConfigurationError
        If nothing is known under that name.
    ClusterError
        If the scheduler cannot be reached or has no worker.
    """
    check_cluster(cluster)
    if cluster == "serial":
        yield SerialExecutor()
    elif cluster == "local":
        with _local(n_tasks, say) as executor:
            yield executor
    else:
        with _remote(cluster, say) as executor:
            yield executor


@contextlib.contextmanager
def _local(n_tasks: int, say: Callable[[str], None]) -> Iterator[Executor]:
    import dask

    # Read when distributed is first imported: its own log lines are for its developers.
    dask.config.set({"logging.distributed": "error"})
    from distributed import Client, LocalCluster

    cores = available_cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    workers = max(1, min(cores, n_tasks, memory // WORKER_MEMORY_BYTES))
    settings = {
        # Blocks are counted by us; a death must not blame the innocent block queued behind it.
        "distributed.scheduler.allowed-failures": 6,
        # The nanny's default gives memory back after every free; a quarter of the speed (measured).
        "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 << 20,
        # A worker that holds a day of frames is not leaking: no pausing, the limit is the limit.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.comm.timeouts.connect": "60s",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            memory_limit=memory // workers,
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        say(f"{workers} workers on this machine, dashboard {client.dashboard_link}")
        yield DaskExecutor(client, threads=max(1, cores // workers))


@contextlib.contextmanager
def _remote(address: str, say: Callable[[str], None]) -> Iterator[Executor]:
    from distributed import Client

    try:
        client = Client(address, timeout="20s", set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(
            f"{address}: no scheduler answers ({error}); start one, or use --cluster local"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=120)
        except TimeoutError as error:
            raise ClusterError(
                f"{address}: found no worker within 120 s; start workers with this package in "
                f"their environment"
            ) from error
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threads = min(int(worker["nthreads"]) for worker in workers.values())
        say(f"{len(workers)} workers at {address}, dashboard {client.dashboard_link}")
        # Dask's threads already run tasks side by side; inside a task one thread each.
        yield DaskExecutor(client, threads=1 if threads > 1 else 2)
