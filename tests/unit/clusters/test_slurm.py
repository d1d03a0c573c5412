"""The job script's text, and the scheduler that jobs talk to; no Slurm needed."""

import re
import signal

import pytest

from reprocess.clusters.profiles import load_profile, shipped_text
from reprocess.clusters.slurm import SlurmQueue, open_cluster, slurm_executor
from reprocess.errors import ClusterError, ConfigurationError


@pytest.fixture
def profile(tmp_path):
    """Make a profile from the shipped one and other values."""

    def make(name="slurm", **values):
        path = tmp_path / "mine.yaml"
        text = shipped_text(name)
        for key, value in values.items():
            if re.search(rf"^{key}:", text, flags=re.MULTILINE):
                text = re.sub(rf"^{key}:.*$", f"{key}: {value}", text, flags=re.MULTILINE)
            else:
                text += f"{key}: {value}\n"
        path.write_text(text)
        return load_profile(str(path))

    return make


@pytest.fixture
def script(profile, tmp_path):
    """The job script of a profile, as lines."""

    def script(name="slurm", **values):
        cluster = open_cluster(profile(name, **values), "reprocess-test", tmp_path / "logs")
        try:
            return cluster.job_script().splitlines()
        finally:
            cluster.close()

    return script


def test_the_whole_script_of_a_cpu_profile(script, tmp_path):
    lines = script(
        account="physics", partition="long", qos="low", constraint="avx512",
        options='["--exclude=n7"]', interface="lo", scratch="$TMPDIR", python="/env/bin/python",
        prologue='["module load gcc", "source env"]',
    )  # fmt: skip
    logs = tmp_path / "logs"
    assert lines[:-1] == [
        "#!/usr/bin/env bash",
        "",
        "#SBATCH -J reprocess-test",
        f"#SBATCH -e {logs}/reprocess-test-%J.err",
        f"#SBATCH -o {logs}/reprocess-test-%J.out",
        "#SBATCH -p long",
        "#SBATCH -A physics",
        "#SBATCH -n 1",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=24576M",
        "#SBATCH -t 04:00:00",
        "#SBATCH --qos=low",
        "#SBATCH --constraint=avx512",
        "#SBATCH --exclude=n7",
        "export REPROCESS_JOB_ENDS=$(( $(date +%s) + 14400 ))",
        "export MALLOC_TRIM_THRESHOLD_=268435456",
        "export MALLOC_MMAP_THRESHOLD_=33554432",
        "export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=60s",
        "module load gcc",
        "source env",
    ]
    worker = re.sub(r"tls://127.0.0.1:\d+", "ADDRESS", lines[-1])
    worker = re.sub(rf"{logs}/\.dask-jobqueue\.worker\.\w+\.\w+", "PEM", worker)
    assert worker == (
        "/env/bin/python -m reprocess.clusters.node ADDRESS --name dummy-name --nthreads 8 "
        "--memory-limit 24.00GiB --death-timeout 120 --local-directory $TMPDIR --nthreads 1 "
        "--memory-limit 0 --no-dashboard --dashboard-address 127.0.0.1:0 --processes 8 --gpus 0 "
        "--interface lo --protocol tls:// --tls-ca-file PEM --tls-cert PEM --tls-key PEM"
    )


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({}, "#SBATCH --gres=gpu:1"),
        ({"gpu_type": "h100", "gpus": 4}, "#SBATCH --gres=gpu:h100:4"),
        ({"gpu_option": "gpus", "gpus": 2}, "#SBATCH --gpus=2"),
        ({"gpu_option": "gpus-per-node", "gpu_type": "a100"}, "#SBATCH --gpus-per-node=a100:1"),
    ],
)
def test_gpus_are_asked_for_as_the_cluster_wants(script, values, option):
    lines = script("slurm-gpu", interface="lo", **values)
    assert option in lines
    assert f"--processes {values.get('gpus', 1)} --gpus {values.get('gpus', 1)} " in lines[-1] + " "
    assert "--cpu-fallback" not in lines[-1]


def test_a_fallback_is_handed_on(script):
    assert "--cpu-fallback" in script("slurm-gpu", interface="lo", cpu_fallback="true")[-1]


@pytest.mark.parametrize(
    ("walltime", "wanted"), [("1-06:30:00", "1-06:30:00"), ("00:10:00", "00:10:00")]
)
def test_walltime_is_written_as_slurm_reads_it(script, walltime, wanted):
    assert f"#SBATCH -t {wanted}" in script(interface="lo", walltime=walltime)


def test_the_scheduler_is_encrypted_and_its_dashboard_on_loopback(profile, tmp_path):
    cluster = open_cluster(profile(), "reprocess-test", tmp_path / "logs")
    try:
        assert cluster.scheduler_address.startswith("tls://")
        (socket,) = cluster.scheduler.http_server._sockets.values()
        assert socket.getsockname()[0] == "127.0.0.1"
        keys = list((tmp_path / "logs").iterdir())
        assert len(keys) == 3
        assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    finally:
        cluster.close()
        del cluster


def test_encryption_can_be_left_off(script):
    line = script(interface="lo", encrypt="false")[-1]
    assert "tcp://" in line
    assert "--tls" not in line


def test_the_interrupt_handler_is_kept(script):
    before = signal.getsignal(signal.SIGINT)
    script(interface="lo")
    assert signal.getsignal(signal.SIGINT) is before


def test_without_slurm_it_is_said(profile, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ClusterError, match=r"sbatch: not found here; .*login node"),
        slurm_executor(profile(), 1, lambda _: None),
    ):
        pass


def program(directory, name, text):
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_refused_job_is_an_error_in_slurms_words(profile, monkeypatch, tmp_path):
    program(tmp_path, "sbatch", "echo 'sbatch: error: invalid partition: lang' >&2; exit 1")
    program(tmp_path, "scancel", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wanted = profile(interface="lo", logs=tmp_path / "logs")
    with (
        pytest.raises(
            ClusterError, match=r"Slurm refused the job: .*invalid partition: lang; mend"
        ),
        slurm_executor(wanted, 1, lambda _: None),
    ):
        pass


def test_jobs_that_are_taken_are_kept_where_others_are_refused(profile, monkeypatch, tmp_path):
    program(
        tmp_path, "sbatch",
        f"mkdir {tmp_path}/first 2>/dev/null || {{ echo 'error: limit' >&2; exit 1; }}\n"
        "echo Submitted batch job 7",
    )  # fmt: skip
    program(tmp_path, "scancel", f"echo $1 >> {tmp_path}/cancelled")
    program(tmp_path, "squeue", "echo '7|PENDING|Priority'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said = []
    with slurm_executor(profile(interface="lo", logs=tmp_path / "logs"), 99, said.append):
        assert "submitted to Slurm: 7 (" in said[0]
    assert (tmp_path / "cancelled").read_text().split() == ["7"]


def test_a_network_that_is_not_there_is_named(profile, tmp_path):
    with pytest.raises(ConfigurationError, match=r"interface ib9: .*'ib9' is not a valid network"):
        open_cluster(profile(interface="ib9"), "reprocess-test", tmp_path / "logs")


def test_logs_that_cannot_be_kept_are_named(profile, monkeypatch, tmp_path):
    program(tmp_path, "sbatch", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigurationError, match=r"logs: .*file/logs: cannot be made"),
        slurm_executor(profile(logs=tmp_path / "file" / "logs"), 1, lambda _: None),
    ):
        pass


def test_a_path_that_a_job_script_cannot_name_is_refused(profile, tmp_path):
    with pytest.raises(ConfigurationError, match=r"logs: found .*a b/logs', expected .* spaces"):
        open_cluster(profile(), "reprocess-test", tmp_path / "a b" / "logs")


def test_the_queue_is_read_from_slurms_commands(monkeypatch, tmp_path):
    program(tmp_path, "squeue", "echo '7|RUNNING|None'; echo '8|PENDING|Resources (a|b)'")
    program(tmp_path, "scontrol", "echo 'JobId=7 JobState=TIMEOUT Reason=TimeLimit NodeList=n3'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "r-7.err").write_text("\n".join(f"line {n}" for n in range(40)))
    queue = SlurmQueue(None, "r", tmp_path)
    assert queue.states() == {"7": "RUNNING", "8": "PENDING (Resources (a|b))"}
    assert queue.ended("7") == "TIMEOUT on n3"
    assert queue.last_words("7").splitlines()[0] == "  line 25"
    assert "do the nodes see this directory?" in queue.last_words("8")
    program(tmp_path, "squeue", "exit 1")
    program(tmp_path, "scontrol", "exit 1")
    assert queue.states() is None
    assert queue.ended("7") == "no longer known to Slurm"
