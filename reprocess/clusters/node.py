"""What happens on a compute node: one worker process a GPU, and leaving between two blocks.

`python -m reprocess.clusters.node SCHEDULER …` is what a Slurm job runs. It starts the job's
worker processes, each with its own device, hands signals on to them and ends when they have
ended. Everything that it does not know is handed on to `dask worker`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from reprocess.errors import ClusterError

if TYPE_CHECKING:
    from reprocess.plan import Task
    from reprocess.worker import TaskResult

ENDS = "REPROCESS_JOB_ENDS"
"""Environment: seconds since 1970 at which the job's walltime is over."""

SPARE = 1.2
"""A block is begun if this many times the longest one so far still fits into the walltime."""

LEAVE_S = 1.0
"""A leaving worker waits so long, in which its last result is fetched from it."""

DEVICES = "CUDA_VISIBLE_DEVICES"
EXIT_WRONG_NODE = 78


class WorkerLeaving(Exception):
    """This worker's walltime is nearly over: the block was not begun, another worker does it."""


# --- in a worker process ---------------------------------------------------------------

_longest_s = 0.0


def on_node(call: Callable[[Task, int], TaskResult], task: Task, threads: int) -> TaskResult:
    """Do one task in a worker process, or leave if too little of the walltime is left.

    Raises
    ------
    WorkerLeaving
        If the longest block of this process so far would not end in time. The worker is then
        on its way out.
    """
    global _longest_s
    if not fits(time.time(), _longest_s, os.environ):
        _leave()
        raise WorkerLeaving(f"{task.day}: too little walltime left")
    started = time.monotonic()
    try:
        return call(task, threads)
    finally:
        _longest_s = max(_longest_s, time.monotonic() - started)


def fits(now: float, longest_s: float, environment: Mapping[str, str]) -> bool:
    """Whether a block as long as the longest so far ends before the job does.

    Parameters
    ----------
    now : seconds since 1970
    longest_s : 0 before the first block, which is always begun
    environment : without `REPROCESS_JOB_ENDS` there is no end
    """
    ends = environment.get(ENDS)
    return not ends or not longest_s or now + SPARE * longest_s <= float(ends)


def _leave() -> None:
    from distributed import get_worker

    worker = get_worker()
    # This thread holds the worker's only place: nothing else is begun here meanwhile, and the
    # result of the last block is fetched before the worker goes.
    time.sleep(LEAVE_S)
    worker.loop.add_callback(worker.close_gracefully, reason="walltime nearly over")


# --- the job's own process ---------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a job's worker processes and wait for them.

    Returns
    -------
    int
        0, or the first exit status of a worker process that was not 0; 78 where the node
        has not the GPUs that the profile asks for.
    """
    parser = argparse.ArgumentParser(prog="reprocess.clusters.node", allow_abbrev=False)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--cpu-fallback", action="store_true")
    parser.add_argument("--name", default="worker")
    options, passed_on = parser.parse_known_args(arguments)
    # Of this job and this start of it: a job that Slurm starts again must not meet its own name.
    job = os.environ.get("SLURM_JOB_ID")
    restart = os.environ.get("SLURM_RESTART_COUNT", "0")
    name = f"{job}.{restart}" if job else options.name
    try:
        environments = worker_environments(
            os.environ, options.processes, options.gpus,
            cuda_devices() if options.gpus else 0, cpu_fallback=options.cpu_fallback,
        )  # fmt: skip
    except ClusterError as error:
        sys.stderr.write(f"reprocess: {error}\n")
        return EXIT_WRONG_NODE
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_worker", *passed_on,
             "--name", f"{name}.{index}"],
            env=environment,
        )
        for index, environment in enumerate(environments)
    ]  # fmt: skip

    def hand_on(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    signal.signal(signal.SIGTERM, hand_on)
    signal.signal(signal.SIGINT, hand_on)
    codes = [process.wait() for process in processes]
    return next((code if code > 0 else 128 - code for code in codes if code), 0)


def worker_environments(
    environment: Mapping[str, str], processes: int, gpus: int, found: int, *, cpu_fallback: bool
) -> list[dict[str, str]]:
    """The environment of each worker process of a job: one GPU each, or none.

    Parameters
    ----------
    environment : of the job; `CUDA_VISIBLE_DEVICES` as Slurm gives it (numbers or UUIDs)
    gpus : that the profile asks for; one process each
    found : devices that CUDA can use here
    cpu_fallback : whether a node without its GPUs may compute on its cores

    Raises
    ------
    ClusterError
        If there are fewer devices than asked for and no fallback is allowed.
    """
    if not gpus or (found < gpus and cpu_fallback):
        # A job that asked for no GPU must not take one that it can see: it is somebody else's.
        return [{**environment, DEVICES: ""} for _ in range(processes)]
    given = environment.get(DEVICES)
    if found < gpus:
        raise ClusterError(
            f"{environment.get('SLURMD_NODENAME', 'this node')}: found {found} CUDA devices "
            f"({DEVICES}={'not set' if given is None else given or 'empty'}), the profile asks "
            f"for gpus: {gpus}; expected a PyTorch built for CUDA, a driver that is new enough, "
            f"and a job that was given its GPUs (gpu_option, gpu_type). "
            f"cpu_fallback: true computes on the cores instead"
        )
    devices = [d for d in given.split(",") if d] if given else [str(i) for i in range(found)]
    return [{**environment, DEVICES: device} for device in devices[:processes]]


def cuda_devices() -> int:
    """CUDA devices that PyTorch can use in this environment; asked in a process of its own.

    A process that has once touched CUDA cannot be given other devices, nor its memory back.
    """
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ClusterError(
            f"PyTorch does not start on this node: {last}; install it there: "
            f"pip install 'reprocess[torch]'"
        )
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
