"""Workers of a Dask scheduler that somebody else started."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from reprocess.clusters.executors import DaskExecutor
from reprocess.errors import ClusterError


@contextlib.contextmanager
def remote_executor(address: str, say: Callable[[str], None]) -> Iterator[DaskExecutor]:
    """Open an executor on a running scheduler.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached or has no worker.
    """
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
