"""A Slurm on this machine, and the tiny campaign run on it through the command line."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SLURM_HERE = ROOT / "cluster" / "slurm-here.sh"
HOLD = Path(__file__).parent / "hold"
DAYS = ("2021-12-28", "2021-12-29", "2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")
WAIT_S = 400.0


def wait_for(what, found):
    """Wait until `found()` is true; the limit only ends a test that hangs."""
    end = time.monotonic() + WAIT_S
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {WAIT_S:.0f} s"
        time.sleep(0.1)


@dataclass
class Slurm:
    """The Slurm of this session; `command` runs one of its commands."""

    directory: Path

    def command(self, *words, check=True, environ=None):
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=environ or self.environ
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    @property
    def environ(self):
        return os.environ | {"SLURM_CONF": str(self.directory / "etc" / "slurm.conf")}

    def jobs(self, *options):
        """Id to state of the jobs in the queue."""
        out = self.command("squeue", "--noheader", "--format", "%i %T", *options)
        return dict(line.split() for line in out.splitlines())

    def restarts(self):
        """Id to the number of times that Slurm started a job again; of the last minutes' jobs."""
        out = self.command("scontrol", "--oneliner", "show", "jobs")
        rows = [
            dict(i.split("=", 1) for i in line.split() if "=" in i) for line in out.splitlines()
        ]
        return {row["JobId"]: int(row["Restarts"]) for row in rows}

    def ended(self):
        """Id to state of all jobs that have ended for good, as Slurm's accounting file has it."""
        log = self.directory / "log" / "jobcomp.log"
        lines = log.read_text().splitlines() if log.exists() else []
        rows = [dict(item.split("=", 1) for item in line.split() if "=" in item) for line in lines]
        return {row["JobId"]: row["JobState"] for row in rows if row["JobState"] != "PENDING"}


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """Two nodes with pretended GPUs, or a visible skip."""
    directory = tmp_path_factory.mktemp("slurm")
    done = subprocess.run(
        [SLURM_HERE, "start", directory], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no Slurm on this machine: {done.stderr.strip()}")
    pids = [int(path.read_text()) for path in (directory / "run").glob("*.pid")]
    try:
        yield Slurm(directory)
    finally:
        subprocess.run([SLURM_HERE, "stop", directory], check=True, capture_output=True)
    assert len(pids) == 4
    assert not [pid for pid in pids if alive(pid)], "a daemon of this Slurm outlives its stop"


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Driver:
    """One run of the command line as a process of its own."""

    process: subprocess.Popen
    log: Path

    def said(self, text):
        return text in self.log.read_text()

    def finish(self):
        """Wait for it: exit code, report, what it said."""
        out, _ = self.process.communicate(timeout=800)
        text = self.log.read_text()
        last = (out.strip().splitlines() or [""])[-1]
        return self.process.returncode, json.loads(last) if last.startswith("{") else {}, text


class OnSlurm:
    """The tiny campaign in a directory, with a profile for the Slurm of this session."""

    def __init__(self, tiny, slurm, root):
        self.tiny = tiny
        self.slurm = slurm
        self.root = root
        self.holds = root / "hold"
        self.holds.mkdir()
        self.gates = {}
        self.profile = {
            "kind": "slurm", "jobs": 2, "cores": 1, "memory": "2G", "walltime": "00:10:00",
            "interface": "lo", "logs": str(root / "logs"), "poll_s": 1, "scratch": str(root),
        }  # fmt: skip
        self.started = []

    @property
    def file(self):
        path = self.root / "here.yaml"
        path.write_text(yaml.safe_dump(self.profile, sort_keys=False))
        return path

    @property
    def environ(self):
        path = os.pathsep.join([str(HOLD), str(ROOT), os.environ.get("PYTHONPATH", "")])
        return self.slurm.environ | {
            "REPROCESS_TEST_HOLD": str(self.holds),
            "PYTHONPATH": path,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        }

    def hold(self, day):
        """Let the first worker on a day wait in the middle of its block."""
        path = self.holds / f"{day}.new"
        gate = path.open("w")
        fcntl.flock(gate, fcntl.LOCK_EX)
        path.rename(self.holds / f"{day}.hold")
        self.gates[day] = gate

    def held(self, day):
        """Wait until a worker waits there; the id of its job."""
        path = self.holds / f"{day}.held"

        def there():
            for driver in self.started:
                assert driver.process.poll() is None, driver.log.read_text()
            return path.exists()

        wait_for(f"a worker on {day}", there)
        return path.read_text().split()[0]

    def let_go(self, day):
        self.gates.pop(day).close()

    def written(self):
        """When each object of the store was written: an equal one written again differs."""
        files = (path for path in self.tiny.store.rglob("*") if path.is_file())
        stats = {path: path.stat() for path in files if "runs" not in path.parts}
        return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}

    def start(self, *arguments, module="reprocess.run", cluster=None):
        log = self.root / f"driver-{time.time_ns()}.log"
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.tiny.file), "--cluster",
             str(cluster or self.file), "--json", *arguments],
            stdout=subprocess.PIPE, stderr=log.open("w"), text=True, env=self.environ,
            cwd=self.root,
        )  # fmt: skip
        driver = Driver(process, log)
        self.started.append(driver)
        return driver

    def run(self, *arguments, **keywords):
        return self.start(*arguments, **keywords).finish()

    def close(self):
        for gate in self.gates.values():
            gate.close()
        for driver in self.started:
            if driver.process.poll() is None:
                driver.process.send_signal(signal.SIGKILL)
                driver.process.communicate()


@pytest.fixture(scope="session")
def serial_keys(make_tiny, tmp_path_factory):
    """What a serial run on this machine leaves of the campaign."""
    tiny = make_tiny(tmp_path_factory.mktemp("serial") / "tiny")
    tiny.put_days(*DAYS)
    assert tiny.run().code == 0
    return tiny.keys()


@pytest.fixture
def campaign(slurm, make_tiny, tmp_path):
    """Six days around a new year, to be run on Slurm."""
    tiny = make_tiny(tmp_path / "tiny")
    tiny.put_days(*DAYS)
    on_slurm = OnSlurm(tiny, slurm, tmp_path)
    yield on_slurm
    on_slurm.close()
    slurm.command("scancel", "--user=root", check=False)
    wait_for("an empty queue", lambda: not slurm.jobs())
