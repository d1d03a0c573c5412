"""From `--cluster` to an executor."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date

from reprocess.clusters.executors import Executor, SerialExecutor
from reprocess.clusters.profiles import (
    SERIAL,
    LocalProfile,
    SlurmProfile,
    is_address,
    load_profile,
)
from reprocess.errors import ConfigurationError


def check_cluster(cluster: str) -> None:
    """Refuse a cluster that is not known, or whose profile is wrong, before anything is done.

    Raises
    ------
    ConfigurationError
        Naming what was found and what was expected.
    """
    if is_address(cluster):
        from reprocess.clusters.remote import check_address

        check_address(cluster)
    elif cluster != SERIAL:
        profile = load_profile(cluster)
        if isinstance(profile, LocalProfile) and profile.scratch:
            _check_scratch(cluster, os.path.expandvars(profile.scratch))


def _check_scratch(cluster: str, directory: str) -> None:
    # Dask would make it, and all directories above it, where a name is mistyped.
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"--cluster {cluster}: scratch: found {directory} ({error.strerror}), expected a "
            f"directory that is there and can be written"
        ) from error


def runs_here(cluster: str) -> bool:
    """Whether the tasks run on this machine, with what is installed here."""
    if cluster == SERIAL:
        return True
    return not is_address(cluster) and isinstance(load_profile(cluster), LocalProfile)


def check_walltime(cluster: str, day: date, n_frames: int, s_per_frame: float | None) -> None:
    """Refuse a Slurm profile in whose walltime the largest day would not end well.

    Parameters
    ----------
    n_frames : of the largest day, `day`
    s_per_frame : seconds that a frame took in a block of the last run with this profile;
        None: not known, nothing is refused

    Raises
    ------
    ConfigurationError
        If the day is expected to take more than half of the walltime: a block that does not end
        in its job is begun again and again.
    """
    if s_per_frame is None or cluster == SERIAL or is_address(cluster):
        return
    profile = load_profile(cluster)
    if not isinstance(profile, SlurmProfile):
        return
    wanted_s = n_frames * s_per_frame
    if wanted_s > profile.walltime / 2:
        raise ConfigurationError(
            f"--cluster {cluster}: walltime: found {profile.walltime / 60:.0f} min, but {day} with "
            f"its {n_frames} frames is expected to take {wanted_s / 60:.0f} min (at "
            f"{s_per_frame:.2g} s a frame, as in the last run with this profile); expected a "
            f"walltime of more than {2 * wanted_s / 60:.0f} min, or more cores or a GPU"
        )


@contextlib.contextmanager
def open_executor(
    cluster: str, n_tasks: int, say: Callable[[str], None], imports: Sequence[str] = ()
) -> Iterator[Executor]:
    """Open the executor that `--cluster` names, and close what was started for it.

    Parameters
    ----------
    cluster : `serial`, the name or the file of a profile, or the address of a running scheduler
    n_tasks : tasks to come; no more workers are started than that
    say : told where the dashboard is, and on Slurm what becomes of the jobs
    imports : modules that the tasks need, slow to import; workers on this machine share them

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

        with local_executor(profile, n_tasks, say, imports) as executor:
            yield executor
    else:
        from reprocess.clusters.slurm import slurm_executor

        with slurm_executor(profile, n_tasks, say) as executor:
            yield executor
