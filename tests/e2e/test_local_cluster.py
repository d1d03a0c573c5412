"""Worker processes, and a Ctrl-C, leave what a serial run leaves."""

import os
import signal
import subprocess
import sys
import time

import pytest

DAYS = ("2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")

pytestmark = pytest.mark.slow


@pytest.fixture
def tiny(tiny):
    """Four days around a new year, one frame of them unreadable."""
    tiny.put_days(*DAYS)
    tiny.put("2021-12-30", "00:10", b"")
    return tiny


@pytest.fixture(scope="module")
def serial_keys(make_tiny, tmp_path_factory):
    """What a serial run leaves of it."""
    tiny = make_tiny(tmp_path_factory.mktemp("serial") / "tiny")
    tiny.put_days(*DAYS)
    tiny.put("2021-12-30", "00:10", b"")
    assert tiny.run().code == 0
    return tiny.keys()


def test_a_local_cluster_equals_the_serial_run(tiny, serial_keys, same_keys, monkeypatch):
    monkeypatch.setattr("reprocess.clusters.local.available_cores", lambda: 2)

    outcome = tiny.run("--cluster", "local")

    assert outcome.code == 0, outcome.err
    assert outcome.done == 4
    same_keys(tiny.keys(), serial_keys)


# Lets the first days through, then waits, so that the signal always meets a run in the middle.
SLOWLY = """
import os, signal, sys, time
from reprocess import run, worker
# A shell's background job, such as CI may be, has Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
whole = worker.process_block

def process_block(task, *arguments):
    result = whole(task, *arguments)
    print("DAY DONE", flush=True)
    time.sleep(1.0)
    return result

import reprocess.execute
reprocess.execute.process_block = process_block
sys.exit(run.main(sys.argv[1:]))
"""


def test_an_interrupted_run_goes_on(tiny, serial_keys, same_keys):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(tiny.file), "--cluster", "serial", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "DAY DONE\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "interrupted" in out
    assert "Traceback" not in err
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    assert 0 < outcome.done < 4
    same_keys(tiny.keys(), serial_keys)


# Ends a run like Ctrl-C, once its first day is done and known to the driver.
ONE_DAY = """
import sys
from reprocess import report, run
whole = report.ProgressLine.__call__

def one_day(self, progress):
    whole(self, progress)
    raise KeyboardInterrupt

report.ProgressLine.__call__ = one_day
sys.exit(run.main(sys.argv[1:]))
"""


def test_a_first_run_interrupted_after_a_day_says_so(tiny):
    done = subprocess.run(
        [sys.executable, "-c", ONE_DAY, str(tiny.file), "--cluster", "serial", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "interrupted: what is committed stays" in done.stdout
    assert not (tiny.store / "occurrence.zarr").exists()


def test_a_killed_run_is_taken_over(tiny, serial_keys, same_keys, caplog):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(tiny.file), "--cluster", "serial"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "DAY DONE\n"
    process.kill()
    process.communicate(timeout=60)

    caplog.set_level("INFO")
    outcome = tiny.run()

    assert outcome.code == 0, outcome.err
    assert f"its process {process.pid} is gone" in caplog.text
    assert 0 < outcome.done < 4
    same_keys(tiny.keys(), serial_keys)


def test_an_interrupt_stops_a_local_cluster(tiny, serial_keys, same_keys):
    process = subprocess.Popen(
        [sys.executable, "-m", "reprocess.run", str(tiny.file), "--cluster", "local"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, process_group=0,
    )  # fmt: skip
    for line in process.stderr:
        if "workers on this machine" in line:
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    _, err = process.communicate(timeout=60)

    assert process.returncode in (130, 0), err
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    same_keys(tiny.keys(), serial_keys)
