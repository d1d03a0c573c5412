"""Workers in Slurm jobs, by dask-jobqueue: the job's script, encryption, and the pool.

dask_jobqueue is imported here only, and only when Slurm is asked for: importing it replaces
the process's SIGINT handler, which is put back.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reprocess.clusters.executors import DaskExecutor
from reprocess.clusters.malloc import MALLOC
from reprocess.clusters.node import ENDS
from reprocess.clusters.pool import Pool
from reprocess.clusters.profiles import SlurmProfile
from reprocess.errors import ClusterError, ConfigurationError
from reprocess.extras import require

DEATH_TIMEOUT_S = 120
"""A worker that has not reached its scheduler for so long ends, and its job with it."""

ALLOWED_DEATHS = 10
"""Workers that may die on one block before that counts as one of its failed attempts."""

COMMAND_S = 60
LAST_LINES = 15


@contextlib.contextmanager
def slurm_executor(
    profile: SlurmProfile, n_tasks: int, say: Callable[[str], None]
) -> Iterator[DaskExecutor]:
    """Open an executor whose workers are Slurm jobs; on leaving they are cancelled.

    The first task begins with the first worker.

    Raises
    ------
    ConfigurationError
        If dask-jobqueue is not installed.
    ClusterError
        If Slurm is not there or refuses the jobs.
    """
    require("dask_jobqueue", "slurm", "--cluster with a Slurm profile")
    if profile.encrypt:
        require("cryptography", "slurm", "encrypt: true")
    if shutil.which("sbatch") is None:
        raise ClusterError(
            "sbatch: not found here; a Slurm profile needs Slurm's commands, as on a login node "
            "(module load slurm?)"
        )
    import dask

    # Read when distributed is first imported: its own log lines are for its developers.
    dask.config.set({"logging.distributed": "error"})
    name = f"reprocess-{uuid.uuid4().hex[:8]}"
    logs = Path(profile.logs).expanduser().absolute()
    with dask.config.set(scheduler_settings()):
        from distributed import Client

        cluster = open_cluster(profile, name, logs)
        try:
            with Client(cluster, set_as_default=False) as client:
                joined = _watch_joins(cluster)
                wanted = min(profile.jobs, -(-n_tasks // profile.n_processes))
                pool = Pool(
                    SlurmQueue(cluster, name, logs),
                    wanted,
                    profile.poll_s,
                    joined,
                    lambda: len(cluster.scheduler_info["workers"]),
                    say,
                )
                pool.open()
                where = f"partition {profile.partition}" if profile.partition else "Slurm"
                say(
                    f"submitted to {where}: {', '.join(pool.jobs)} (job name {name}, logs in "
                    f"{logs}); scheduler {cluster.scheduler_address}, dashboard "
                    f"{client.dashboard_link}"
                )
                yield DaskExecutor(client, profile.threads, pool.tend)
        finally:
            cluster.close()


def scheduler_settings() -> dict[str, Any]:
    """Settings of Dask's scheduler and client in the driver."""
    return {
        # Jobs are cancelled, preempted and end by walltime: that is nobody's fault.
        "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
        "distributed.comm.timeouts.connect": "60s",
    }


def job_settings(profile: SlurmProfile, name: str, logs: Path) -> dict[str, Any]:
    """Arguments for dask-jobqueue's SLURMCluster that make a profile's job script.

    Parameters
    ----------
    name : of the jobs
    logs : absolute path of the directory for logs and certificates

    Notes
    -----
    Pure, so that the script's text can be tested without a Slurm. No memory limit of Dask's own:
    the job's is the one that counts, and a day of frames in memory is no leak.
    """
    options = [
        f"--{key}={value}"
        for key, value in [("qos", profile.qos), ("constraint", profile.constraint)]
        if value
    ]
    if profile.gpus:
        kind = f"{profile.gpu_type}:" if profile.gpu_type else ""
        ask = f"gpu:{kind}{profile.gpus}"
        options.append(
            f"--gres={ask}" if profile.gpu_option == "gres"
            else f"--{profile.gpu_option}={kind}{profile.gpus}"
        )  # fmt: skip
    arguments = ["--memory-limit", "0", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    arguments += ["--processes", str(profile.n_processes), "--gpus", str(profile.gpus)]
    if profile.cpu_fallback:
        arguments.append("--cpu-fallback")
    return {
        "queue": profile.partition,
        "account": profile.account,
        "job_name": name,
        "cores": profile.cores,
        "processes": 1,  # of dask-jobqueue: how many there are is the business of our own command
        "memory": f"{profile.memory}B",
        "job_mem": f"{-(-profile.memory // (1 << 20))}M",
        "walltime": _slurm_time(profile.walltime),
        "job_extra_directives": [*options, *profile.options],
        "job_script_prologue": [
            f"export {ENDS}=$(( $(date +%s) + {profile.walltime} ))",
            *(f"export {key}={size}" for key, size in MALLOC.items()),
            "export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=60s",
            *profile.prologue,
        ],
        "worker_command": "reprocess.clusters.node",
        "worker_extra_args": ["--nthreads", "1", *arguments],
        "death_timeout": DEATH_TIMEOUT_S,
        "local_directory": profile.scratch,
        "log_directory": str(logs),
        "interface": profile.interface,
        "python": profile.python,
        "nanny": True,
    }


def open_cluster(profile: SlurmProfile, name: str, logs: Path) -> Any:
    """Start the scheduler in this process; no job is submitted yet."""
    slurm_cluster, job = _jobqueue()
    if any(character.isspace() for character in str(logs)):
        raise ConfigurationError(
            f"logs: found {str(logs)!r}, expected a path without spaces: Slurm's job scripts "
            f"cannot name it"
        )
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"logs: {logs}: cannot be made ({error.strerror}); expected a directory that login "
            f"and compute nodes share"
        ) from error
    security = None
    if profile.encrypt:
        from distributed.security import Security

        security = Security.temporary()
    try:
        return slurm_cluster(
            job_cls=job,
            name=name,
            security=security,
            shared_temp_directory=str(logs),
            scheduler_options={"dashboard_address": "127.0.0.1:0"},
            silence_logs="error",
            **job_settings(profile, name, logs),
        )
    except RuntimeError as error:
        raise ConfigurationError(
            f"the scheduler cannot start on interface {profile.interface}: {error}"
        ) from error


def _jobqueue() -> tuple[Any, Any]:
    interrupt = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    from distributed.core import Status

    signal.signal(signal.SIGINT, interrupt)

    class Job(SLURMJob):
        """A job that, closed, says that it is: a refused one would else stop the closing."""

        async def close(self) -> None:
            await super().close()  # type: ignore[no-untyped-call]
            self.status = Status.closed

    return SLURMCluster, Job


def _watch_joins(cluster: Any) -> set[str]:
    """Ids of the jobs that workers come from, kept up by the scheduler."""
    from distributed.diagnostics.plugin import SchedulerPlugin

    joined: set[str] = set()

    class Joins(SchedulerPlugin):  # type: ignore[misc]
        def add_worker(self, scheduler: Any, worker: str) -> None:
            # The name is job.restart.process, see `node.main`.
            joined.add(str(scheduler.workers[worker].name).partition(".")[0])

    async def add() -> None:
        cluster.scheduler.add_plugin(Joins())

    cluster.sync(add)
    return joined


class SlurmQueue:
    """One run's jobs, through dask-jobqueue and Slurm's own commands."""

    def __init__(self, cluster: Any, name: str, logs: Path) -> None:
        self._cluster = cluster
        self._name = name
        self._logs = logs

    def submit(self, n: int) -> list[str]:
        before = set(self._cluster.workers)

        async def submit() -> None:
            for _ in range(n):
                self._cluster.worker_spec.update(self._cluster.new_worker_spec())
            await self._cluster

        refused = None
        try:
            with _sbatch_errors():
                self._cluster.sync(submit)
        except ClusterError as error:
            refused = error
        new = [w.job_id for key, w in self._cluster.workers.items() if key not in before]
        taken = sorted((job for job in new if job is not None), key=int)
        if len(taken) < len(new):
            self.forget(None)
        if refused is not None and not taken:
            raise refused
        return taken

    def forget(self, job: str | None) -> None:
        async def forget() -> None:
            for key, worker in list(self._cluster.workers.items()):
                if worker.job_id == job:
                    self._cluster.worker_spec.pop(key, None)
            await self._cluster

        self._cluster.sync(forget)

    def states(self) -> dict[str, str] | None:
        out = _slurm("squeue", "--noheader", "--name", self._name, "--format", "%i|%T|%r")
        if out is None:
            return None
        states = {}
        for line in out.splitlines():
            job, state, reason = line.split("|", 2)
            states[job] = f"{state} ({reason})" if state == "PENDING" else state
        return states

    def ended(self, job: str) -> str:
        out = _slurm("scontrol", "--oneliner", "show", "job", job) or ""
        facts = dict(item.split("=", 1) for item in out.split() if "=" in item)
        state = facts.get("JobState", "no longer known to Slurm")
        node = facts.get("NodeList", "(null)")
        return state if node == "(null)" else f"{state} on {node}"

    def last_words(self, job: str) -> str:
        path = self._logs / f"{self._name}-{job}.err"
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError as error:
            return f"  ({path}: {error.strerror}; do the nodes see this directory?)"
        shown = [f"  {line}" for line in lines[-LAST_LINES:]]
        return "\n".join([*shown, f"  (all of it: {path})"])


def _slurm(*command: str) -> str | None:
    """What a Slurm command prints; None if it fails or does not answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@contextlib.contextmanager
def _sbatch_errors() -> Iterator[None]:
    """Turn what dask-jobqueue raises about sbatch into an error that says what to do."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        said = text.rpartition("stderr:")[2].strip() or text
        raise ClusterError(
            f"Slurm refused the job: {said}; mend the profile (account, partition, cores, "
            f"memory, walltime, GPUs) and run again: what is committed stays"
        ) from None


def _slurm_time(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
