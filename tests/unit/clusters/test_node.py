"""What a job does on its node: devices, names, leaving."""

import signal
import subprocess
import sys

import pytest

from reprocess.clusters import node
from reprocess.clusters.node import DEVICES, ENDS, EXIT_WRONG_NODE, fits, main, worker_environments
from reprocess.errors import ClusterError


def devices(environment, processes, gpus, found, *, cpu_fallback=False):
    environments = worker_environments(
        environment, processes, gpus, found, cpu_fallback=cpu_fallback
    )
    return [each[DEVICES] for each in environments]


@pytest.mark.parametrize(
    ("given", "gpus", "wanted"),
    [
        ("0", 1, ["0"]),
        ("2,3", 2, ["2", "3"]),
        ("GPU-5f,MIG-a1", 2, ["GPU-5f", "MIG-a1"]),
        ("4,5,6", 2, ["4", "5"]),
    ],
)
def test_each_process_has_one_of_the_devices_that_slurm_gave(given, gpus, wanted):
    assert devices({DEVICES: given}, gpus, gpus, len(given.split(","))) == wanted


def test_devices_are_counted_where_slurm_names_none():
    assert devices({}, 2, 2, 2) == ["0", "1"]


def test_a_job_without_gpus_takes_none_that_it_can_see():
    assert devices({DEVICES: "0,1"}, 3, 0, 0) == ["", "", ""]


def test_a_gpu_job_without_its_devices_is_an_error_that_says_what_to_do():
    environment = {DEVICES: "0", "SLURMD_NODENAME": "n7"}
    with pytest.raises(ClusterError, match=r"n7: found 1 CUDA devices \(.*=0\).*gpus: 2.*fallback"):
        worker_environments(environment, 2, 2, 1, cpu_fallback=False)
    with pytest.raises(ClusterError, match=r"=not set"):
        worker_environments({}, 1, 1, 0, cpu_fallback=False)


def test_the_cores_take_over_only_if_asked_to():
    assert devices({DEVICES: "0,1"}, 2, 2, 0, cpu_fallback=True) == ["", ""]
    assert devices({DEVICES: "0,1"}, 2, 2, 2, cpu_fallback=True) == ["0", "1"]


def test_the_environment_is_otherwise_that_of_the_job():
    (environment,) = worker_environments({"A": "b"}, 1, 0, 0, cpu_fallback=False)
    assert environment == {"A": "b", DEVICES: ""}


@pytest.mark.parametrize(
    ("now", "longest_s", "wanted"),
    [
        (0, 0, True),
        (999, 0, True),
        (0, 800, True),
        (40, 800, True),
        (41, 800, False),
        (2000, 1, False),
    ],
)
def test_a_block_is_begun_if_the_longest_so_far_fits(now, longest_s, wanted):
    # 1.2 x 800 s = 960 s; the job ends at 1000.
    assert fits(now, longest_s, {ENDS: "1000"}) is wanted
    assert fits(now, longest_s, {})


# Takes the place of `dask worker`: says with what it was started, then waits for its end.
WORKER = r"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
os.write(1, f"{sys.argv[1:]} {os.environ['CUDA_VISIBLE_DEVICES']}\n".encode())
time.sleep(600)
"""

JOB = """
import subprocess, sys
from reprocess.clusters import node
whole = subprocess.Popen

def popen(command, **keywords):
    assert command[1:3] == ["-m", "distributed.cli.dask_worker"], command
    return whole([sys.executable, "-c", sys.argv[1], *command[3:]], **keywords)

subprocess.Popen = popen
node.cuda_devices = lambda: 2
sys.exit(node.main(sys.argv[2:]))
"""


def test_workers_have_names_of_their_own_and_end_with_the_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    monkeypatch.setenv(DEVICES, "4,7")
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, WORKER, "tls://10.0.0.1:1", "--name", "x", "--gpus", "2",
         "--processes", "2", "--memory-limit", "0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = sorted(job.stdout.readline().strip() for _ in range(2))
    arguments = ["tls://10.0.0.1:1", "--memory-limit", "0", "--name"]
    assert said == [f"{[*arguments, '17.2.0']} 4", f"{[*arguments, '17.2.1']} 7"]
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 0
    job.stdout.close()


def test_a_wrong_node_is_left_with_a_status_and_a_line(monkeypatch, capsys):
    monkeypatch.setattr(node, "cuda_devices", lambda: 0)
    assert main(["tls://10.0.0.1:1", "--gpus", "1"]) == EXIT_WRONG_NODE
    assert "found 0 CUDA devices" in capsys.readouterr().err


def test_a_node_without_pytorch_is_named(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "Traceback …\nModuleNotFoundError: torch")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ClusterError, match=r"ModuleNotFoundError: torch; .*reprocess\[torch\]"):
        node.cuda_devices()
