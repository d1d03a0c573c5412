"""Workers on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from reprocess.clusters.executors import DaskExecutor
from reprocess.clusters.malloc import MALLOC
from reprocess.clusters.profiles import LocalProfile
from reprocess.detectors.runtimes import available_cores

WORKER_MEMORY_BYTES = 2 << 30


@contextlib.contextmanager
def local_executor(
    profile: LocalProfile, n_tasks: int, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    """Open an executor on this machine's cores: no more workers than tasks."""
    import dask

    # Read when distributed is first imported: its own log lines are for its developers.
    dask.config.set({"logging.distributed": "error"})
    from distributed import Client, LocalCluster

    cores = available_cores()
    memory = profile.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = profile.processes or min(cores, memory // WORKER_MEMORY_BYTES)
    workers = max(1, min(most, n_tasks))
    settings = {
        # Blocks are counted by us; a death must not blame the innocent block queued behind it.
        "distributed.scheduler.allowed-failures": 6,
        **{f"distributed.nanny.pre-spawn-environ.{key}": size for key, size in MALLOC.items()},
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
            local_directory=os.path.expandvars(profile.scratch) if profile.scratch else None,
            silence_logs=40,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        say(f"{workers} workers on this machine, dashboard {client.dashboard_link}")
        yield DaskExecutor(client, threads=max(1, cores // workers))
