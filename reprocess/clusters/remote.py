"""Workers of a Dask scheduler that somebody else started."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from reprocess.clusters.executors import DaskExecutor
from reprocess.errors import ClusterError, ConfigurationError


def check_address(address: str) -> None:
    """Refuse a scheduler's address that Dask here could never connect to.

    A client that fails at this leaves threads behind, which say so for forty seconds.

    Raises
    ------
    ConfigurationError
        If it has no port, Dask does not know its protocol, or TLS is not set up.
    """
    if not re.fullmatch(r"\w+://[^/]+:\d+(/.*)?", address):
        raise ConfigurationError(
            f"--cluster {address}: expected tcp://HOST:PORT or tls://HOST:PORT"
        )
    if not address.startswith(("tls://", "wss://")):
        return
    from distributed.security import Security

    try:
        context = Security().get_connection_args("client").get("ssl_context")
        why = "no certificates are set"
    except OSError as error:  # also what ssl raises
        context, why = None, str(error)
    if context is None:
        raise ConfigurationError(
            f"--cluster {address}: Dask's TLS settings do not do ({why}); expected "
            f"distributed.comm.tls.ca-file, .client.cert and .client.key in ~/.config/dask/*.yaml, "
            f"or DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY in the "
            f"environment: the files that the scheduler was started with"
        )


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
