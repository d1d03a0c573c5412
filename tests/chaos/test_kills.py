"""Workers, nannies, the scheduler and the driver are killed, and no block is lost or wrong.

A Dask scheduler and workers of their own processes do a campaign of a month of
days through the command line. Something is killed all the time, by SIGKILL or
SIGTERM: from outside at random moments, and workers by themselves at chosen
writes (`on_worker.py`). What died is started again. At the end every key equals
a serial run's. REPROCESS_CHAOS=all kills a hundred times or more.
"""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import psutil
import pytest

from reprocess.stores.records import OVERWRITTEN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * 3600)]

N_WORKERS = 2
VICTIMS = ("worker", "worker", "worker", "nanny", "driver", "worker", "scheduler")
"""Who is killed next, in turn; workers most often, as there are most of them."""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """A scheduler, nannies with a worker each, and a driver, all to be killed."""

    def __init__(self, tiny, directory, environment):
        self.tiny, self.directory = tiny, directory
        self.log = directory / "chaos.log"
        self.log.touch()
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = {
            **os.environ, "CHAOS_LOG": str(self.log), "PYTHONUNBUFFERED": "1",
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "6", **environment,
        }  # fmt: skip
        self.running = {}
        self.codes = Counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            for one in [*self._children(process), process]:
                _signal(one, signal.SIGKILL)
        for process in self.running.values():
            process.wait()

    def keep_up(self):
        """Start what is not running."""
        self._start("scheduler", "-m", "distributed.cli.dask_scheduler", "--host",
                    f"tcp://{self.address}", "--no-dashboard", "--no-jupyter")  # fmt: skip
        for i in range(N_WORKERS):
            self._start(f"nanny-{i}", "-m", "distributed.cli.dask_worker",
                        f"tcp://{self.address}", "--nthreads", "1", "--nworkers", "1",
                        "--host", "127.0.0.1", "--no-dashboard", "--memory-limit", "0",
                        "--death-timeout", "60", "--local-directory", str(self.directory),
                        "--preload", str(Path(__file__).with_name("on_worker.py")))  # fmt: skip

    def drive(self):
        """Start the driver if it does not run; the code of the one that ended, else None."""
        driver = self.running.get("driver")
        code = None if driver is None else driver.poll()
        if code is not None:
            self.codes[code] += 1
        if code != 0:
            self._start("driver", "-m", "reprocess.run", str(self.tiny.file),
                        "--cluster", f"tcp://{self.address}")  # fmt: skip
        return code

    def _start(self, name, *command):
        process = self.running.get(name)
        if process is not None and process.poll() is None:
            return
        with open(self.directory / f"{name}.txt", "ab") as output:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command], env=self.environment, stdout=output, stderr=output,
                stdin=subprocess.DEVNULL, cwd=self.directory,
            )  # fmt: skip

    def victim(self, kind, chance):
        """A living process of a kind, or None."""
        if kind in ("driver", "scheduler"):
            found = [self.running.get(kind)]
        else:
            found = [p for n, p in self.running.items() if n.startswith("nanny")]
            if kind == "worker":
                found = [c for p in found for c in self._children(p)]
        found = [p for p in found if p is not None and (not hasattr(p, "poll") or p.poll() is None)]
        return chance.choice(found) if found else None

    def _children(self, process):
        try:
            found = psutil.Process(process.pid).children(recursive=True)
            return [c for c in found if "resource_tracker" not in " ".join(c.cmdline())]
        except psutil.Error:
            return []

    def lines(self, what):
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [w for w in words if w and w[0] == what]


def _signal(process, number):
    try:
        process.send_signal(number)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    return True


@pytest.fixture
def month(make_tiny, unsynced, tmp_path, in_memory):  # noqa: ARG001
    """Make so many days before a new year and after it, with the difference method twice."""

    def make(n_days):
        tiny = make_tiny(tmp_path / "tiny")
        del tiny.document["detectors"]["fcn"]  # a worker's life would be spent on loading torch
        tiny.document["detectors"]["diff-v2"] = {
            **tiny.document["detectors"]["diff"], "threshold_dn": 9.0,
        }  # fmt: skip
        tiny.document["store"] = str(in_memory / "store")
        first = date(2022, 1, 1) - timedelta(days=n_days // 2)
        tiny.put_days(*((first + timedelta(days=i)).isoformat() for i in range(n_days)))
        tiny.put(first.isoformat(), "00:10", b"")
        return tiny

    return make


def test_killed_a_hundred_times(month, same_keys, in_memory, tmp_path, chaos_all):
    n_days, n_outside, n_inside = (120, 100, 40) if chaos_all else (12, 6, 4)
    tiny = month(n_days)
    assert tiny.run(store=in_memory / "serial").code == 0
    chance = random.Random(20211231)
    kills = Counter()
    seconds = 1.5 if chaos_all else 1.0
    with Cluster(
        tiny, tmp_path, {"CHAOS_SECONDS": str(seconds), "CHAOS_DEATHS": str(n_inside)}
    ) as cluster:
        cluster.keep_up()
        cluster.drive()
        n_seen = 0
        while True:
            cluster.keep_up()
            if cluster.drive() == 0:
                break
            time.sleep(0.1)
            # One kill for so many begun days, so that the campaign gets on between them.
            if kills.total() >= n_outside or len(cluster.lines("begin")) < n_seen:
                continue
            kind = VICTIMS[kills.total() % len(VICTIMS)]
            process = cluster.victim(kind, chance)
            number = chance.choice([signal.SIGKILL, signal.SIGTERM])
            if process is not None and _signal(process, number):
                kills[f"{kind} {number.name}"] += 1
                n_seen = len(cluster.lines("begin")) + 1
        begun = Counter(day for _, day, *_ in cluster.lines("begin"))
        ended = Counter(day for _, day, *_ in cluster.lines("end"))
        died = len(cluster.lines("died"))
        logging.getLogger("chaos").info(
            "%d days, %d kills from outside %s, %d workers dead at chosen writes, drivers ended "
            "with %s; executions begun %d, ended %d, days that ended more than once %d",
            n_days, kills.total(), dict(kills), died, dict(cluster.codes), begun.total(),
            ended.total(), sum(n > 1 for n in ended.values()),
        )  # fmt: skip
    assert kills.total() >= (n_outside if chaos_all else n_outside // 2)
    assert len(begun) == n_days
    outcome = tiny.run()
    assert (outcome.code, outcome.done) == (0, 0), outcome.err
    same_keys(tiny.keys(in_memory / "store"), tiny.keys(in_memory / "serial"))


def test_a_worker_that_outlives_its_run_leaves_no_record_that_lies(month, same_keys, tmp_path):
    """It wakes up before a write that it had leave to do; a run with other settings is done."""
    tiny = month(2)
    store = Path(tiny.document["store"])
    write = "detections/diff/2021.zarr/fraction/c/"
    with Cluster(tiny, tmp_path, {"CHAOS_WAIT_AT": write}) as cluster:
        cluster.keep_up()
        cluster.drive()
        wait_for(lambda: cluster.lines("waits"))
        driver = cluster.running.pop("driver")
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        tiny.document["detectors"]["diff"]["threshold_dn"] = 7.0
        assert tiny.run().code == 0

        Path(f"{cluster.log}.go").touch()
        wait_for(lambda: list(store.glob(f"records/2021/detections/diff/*.{OVERWRITTEN}.json")))

    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    assert outcome.report["years"]["2021"]["by_reason"] == {"interrupted": 1}
    assert tiny.run(store=tmp_path / "fresh").code == 0
    same_keys(tiny.keys(store), tiny.keys(tmp_path / "fresh"))


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
