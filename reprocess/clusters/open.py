"""From `--cluster` to an executor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from reprocess.clusters.executors import Executor, SerialExecutor
from reprocess.clusters.profiles import (
    SERIAL,
    LocalProfile,
    is_address,
    load_profile,
)


def check_cluster(cluster: str) -> None:
    """Refuse a cluster that is not known, or whose profile is wrong, before anything is done.

    Raises
    ------
    ConfigurationError
        Naming what was found and what was expected.
    """
    if cluster != SERIAL and not is_address(cluster):
        load_profile(cluster)


@contextlib.contextmanager
def open_executor(cluster: str, n_tasks: int, say: Callable[[str], None]) -> Iterator[Executor]:
    """Open the executor that `--cluster` names, and close what was started for it.

    Parameters
    ----------
    cluster : `serial`, the name or the file of a profile, or the address of a running scheduler
    n_tasks : tasks to come; no more workers are started than that
    say : told where the dashboard is, and on Slurm what becomes of the jobs

    Raises
    ------
    ConfigurationError
        If nothing is known under that name, or its profile is wrong.
    ClusterError
        If the scheduler cannot be reached or has no worker, or Slurm refuses.
    """
    if cluster == SERIAL:
        yield SerialExecutor()
        return
    if is_address(cluster):
        from reprocess.clusters.remote import remote_executor

        with remote_executor(cluster, say) as executor:
            yield executor
        return
    profile = load_profile(cluster)
    if isinstance(profile, LocalProfile):
        from reprocess.clusters.local import local_executor

        with local_executor(profile, n_tasks, say) as executor:
            yield executor
    else:
        from reprocess.clusters.slurm import slurm_executor

        with slurm_executor(profile, n_tasks, say) as executor:
            yield executor
