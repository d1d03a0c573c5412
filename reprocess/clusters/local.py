"""Workers on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from reprocess.clusters.executors import DaskExecutor
from reprocess.clusters.malloc import MALLOC
from reprocess.clusters.profiles import PROCESS_BYTES_MIN, LocalProfile
from reprocess.detectors.runtimes import available_cores

WORKER_MEMORY_BYTES = 2 << 30
WANTED = (
    "a worker wants 2 to 3 GB, more with large image.size_px: give the profile more memory or "
    "fewer processes"
)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
"""Environment of a worker: cores are shared out by us, as Dask's nanny has it too."""


@contextlib.contextmanager
def local_executor(
    profile: LocalProfile, n_tasks: int, say: Callable[[str], None], imports: Sequence[str] = ()
) -> Iterator[DaskExecutor]:
    """Open an executor on this machine's cores: no more workers than tasks.

    Parameters
    ----------
    imports : modules that the tasks need, slow to import
    """
    import dask

    method = _start_method(("distributed", "reprocess.worker", *imports))
    # Read when distributed is first imported: its own log lines are for its developers.
    dask.config.set({"logging.distributed": "error"})
    from distributed import Client, LocalCluster

    cores = available_cores()
    memory = profile.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = profile.processes or min(cores, memory // WORKER_MEMORY_BYTES)
    workers = max(1, min(most, n_tasks))
    limit = memory // workers
    if limit < PROCESS_BYTES_MIN:
        say(f"{limit / 2**30:.1f} GiB for each of {workers} workers; {WANTED}")
    settings = {
        # Blocks are counted by us; a death must not blame the innocent block queued behind it.
        "distributed.scheduler.allowed-failures": 6,
        **{f"distributed.nanny.pre-spawn-environ.{key}": size for key, size in MALLOC.items()},
        # A worker that holds a day of frames is not leaking: no pausing, the limit is the limit.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.comm.timeouts.connect": "60s",
        "distributed.worker.multiprocessing-method": method,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            memory_limit=limit,
            env=dict(os.environ),  # as it is now, not as it was when the server began
            local_directory=os.path.expandvars(profile.scratch) if profile.scratch else None,
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        _telling_of_memory(say, limit),
    ):
        say(f"{workers} workers on this machine, dashboard {client.dashboard_link}")
        yield DaskExecutor(client, threads=max(1, cores // workers))


@contextlib.contextmanager
def _telling_of_memory(say: Callable[[str], None], limit: int) -> Iterator[None]:
    """Say it when a worker is ended for its memory, the first time: else its day just takes long.

    Only the nanny knows why it ended a worker, and only its log says so.
    """

    class Told(logging.Handler):
        told = False

        def emit(self, record: logging.LogRecord) -> None:
            if not self.told and "memory budget" in record.getMessage():
                self.told = True
                say(
                    f"a worker was ended since it needed more than its {limit / 2**30:.1f} GiB, "
                    f"and is started again; {WANTED}"
                )

    log, handler = logging.getLogger("distributed.nanny.memory"), Told()
    level, propagate = log.level, log.propagate
    log.setLevel(logging.WARNING)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _start_method(modules: Sequence[str]) -> str:
    """How workers are started: forked, where that can be, from a process that has their modules.

    It imports them while this process goes on, once for all workers, who share the memory. What
    glibc and OpenMP read when a process begins must stand in its environment then.
    """
    if sys.platform != "linux":  # system libraries do not bear a fork
        return "spawn"
    from multiprocessing import forkserver

    before = dict(os.environ)
    for key, value in {**MALLOC, **ONE_THREAD}.items():
        os.environ.setdefault(key, str(value))
    try:
        forkserver.set_forkserver_preload(list(modules))
        with _ignoring_interrupts():
            forkserver.ensure_running()
    except OSError:  # its socket: a TMPDIR with too long a name, or on a disk that has none
        return "spawn"
    finally:
        for key in os.environ.keys() - before.keys():
            del os.environ[key]
    return "forkserver"


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """What is started here ignores Ctrl-C, and so do its workers.

    A terminal sends it to all processes of the command. The driver alone acts on it; workers that
    did would each show where they were.
    """
    if threading.current_thread() is not threading.main_thread():  # Python sets no signals there
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
