"""Several runs, and readers, on one store at one time.

REPROCESS_CHAOS=all reads ten thousand times.
"""

import itertools
import json
import logging
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr

import reprocess
from reprocess.campaign import load_campaign
from reprocess.cube.publish import publish_year
from reprocess.stores.lock import acquire
from reprocess.stores.objects import LocalObjects
from reprocess.stores.records import Records

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * 3600)]

DAYS = ("2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")

# Tells when the first day is done, then waits for a line before it goes on.
PAUSED = """
import sys
from reprocess import execute, run
whole = execute.process_block

def process_block(*arguments):
    result = whole(*arguments)
    print("DAY DONE", flush=True)
    sys.stdin.readline()
    return result

execute.process_block = process_block
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.fixture
def tiny(tiny):
    tiny.put_days(*DAYS)
    del tiny.document["detectors"]["fcn"]
    return tiny


@pytest.fixture
def wanted(tiny):
    """What one undisturbed run leaves."""
    return tiny.from_scratch()


@pytest.fixture
def start(tiny):
    """Start a run in a process of its own; ended with the test."""
    started = []

    def begin(*arguments, paused=False):
        program = ["-c", PAUSED] if paused else ["-m", "reprocess.run"]
        process = subprocess.Popen(
            [sys.executable, *program, str(tiny.file), "--cluster", "serial", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        if paused:
            assert process.stdout.readline() == "DAY DONE\n", process.stderr.read()
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_of_two_runs_on_one_year_one_wins_and_the_other_says_who(tiny, start, wanted, same_keys):
    first = start("--years", "2021", paused=True)

    second = tiny.run("--years", "2021")

    assert second.code == 1
    held = second.report["years"]["2021"]["held"]
    assert f"(process {first.pid})" in held
    assert json.loads((tiny.store / "locks/2021/1").read_text())["run"] in held
    assert second.done == 0
    first.communicate("\n\n", timeout=120)
    assert first.returncode == 0
    assert tiny.run().code == 0
    same_keys(tiny.keys(), wanted)


def test_two_runs_on_two_years_both_finish_and_the_cube_is_right(tiny, start, wanted, same_keys):
    runs = [start("--years", year, paused=True) for year in ("2021", "2022")]
    outputs = [None, None]

    def finish(i):
        outputs[i] = runs[i].communicate("\n\n", timeout=240)

    threads = [threading.Thread(target=finish, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [run.returncode for run in runs] == [0, 0], outputs
    outcome = tiny.run()
    assert (outcome.code, outcome.done) == (0, 0)
    same_keys(tiny.keys(), wanted)


def test_the_lock_of_a_dead_run_is_taken_over_and_said_so(tiny, start, wanted, same_keys):
    first = start("--years", "2021", paused=True)
    first.send_signal(signal.SIGKILL)
    first.wait()

    second = start()
    _, said = second.communicate(timeout=240)

    assert second.returncode == 0, said
    run = json.loads((tiny.store / "locks/2021/1").read_text())["run"]
    assert f"took over 2021 from run {run}" in said
    assert f"its process {first.pid} is gone" in said
    same_keys(tiny.keys(), wanted)


def test_a_run_that_was_stopped_and_not_dead_keeps_its_lock(tiny, start, wanted, same_keys):
    first = start("--years", "2021", paused=True)
    first.send_signal(signal.SIGSTOP)

    assert tiny.run("--years", "2021").code == 1

    first.send_signal(signal.SIGCONT)
    first.communicate("\n\n", timeout=120)
    assert first.returncode == 0
    assert tiny.run().code == 0
    same_keys(tiny.keys(), wanted)


# --- readers -----------------------------------------------------------------------------------

PUBLISHER = """
import json, sys, time
from pathlib import Path
from reprocess.campaign import load_campaign
from reprocess.cube.publish import publish_year
from reprocess.stores.lock import acquire
from reprocess.stores.objects import LocalObjects

campaign = load_campaign(sys.argv[1])
versions = json.loads(sys.argv[2])
objects = LocalObjects(campaign.store)
n = 0
print("READY", flush=True)
while not Path(sys.argv[3]).exists():
    n += 1
    started = time.monotonic()
    lock = acquire(objects, "cube", f"publisher-{n}", lambda _: None)
    publish_year(objects, campaign, 2021, versions[n % 2], {}, lambda: lock.token.check(objects))
    lock.release()
    if n > 50:  # its lock numbers only grow, and each look at them is a listing
        for key in list(objects.keys("locks/cube")):
            number = int(key.split("/")[-1].split(".")[0])
            if number < lock.token.number:
                objects.delete(key)
    if sys.argv[4] == "with rests":  # as runs do; a reader finds none of its own between them
        time.sleep(2 * (time.monotonic() - started))
print(n, flush=True)
"""


@pytest.fixture(params=["with rests"])
def republished(request, tiny, tmp_path):
    """A cube whose year 2021 goes to and fro between two states; gives the two of `counts`."""
    assert tiny.run().code == 0
    campaign = load_campaign(tiny.file)
    objects = LocalObjects(campaign.store)
    listing = Records(objects).list([2021])
    days = {}
    for block, found in listing.items():
        if block.stage == "detections":
            days.setdefault(block.day, {})[block.label] = found[0]
    versions = [days, {DAYS[0]: days[DAYS[0]]}]
    states = []
    for version in versions:
        lock = acquire(objects, "cube", "test", lambda _: None)
        publish_year(objects, campaign, 2021, version, {}, lambda: None)
        lock.release()
        cube = reprocess.open_cube(campaign.store)
        states.append({n: cube[n].to_numpy() for n in ("counts", "n_days", "n_days_committed")})
    assert all((states[0][n] != states[1][n]).any() for n in states[0])
    stop = tmp_path / "stop"
    publisher = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, str(tiny.file), json.dumps(versions), str(stop),
         request.param],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert publisher.stdout.readline() == "READY\n"
    yield tiny.store, states
    stop.touch()
    out, err = publisher.communicate(timeout=120)
    assert publisher.returncode == 0, err
    logging.getLogger("chaos").info("published %s times", out.strip())
    assert int(out) > 0


def which(states, name, values):
    """0 or 1, the state that an array is of; None if it is a mix."""
    found = [i for i in (0, 1) if np.array_equal(states[i][name], values)]
    return found[0] if found else None


@pytest.mark.parametrize("republished", ["without a rest"], indirect=True)
def test_plain_xarray_reads_each_variable_of_a_year_old_or_new(republished, chaos_all):
    store, states = republished
    seen = {0: 0, 1: 0}
    dataset = xr.open_dataset(
        store / "occurrence.zarr", engine="zarr", chunks=None, consolidated=True, cache=False
    )
    for n in itertools.count():
        if n >= (10_000 if chaos_all else 200) and min(seen.values()) > 0:
            break
        for name in ("counts", "n_days", "n_days_committed"):
            found = which(states, name, dataset[name].to_numpy())
            assert found is not None, f"read {n}: {name} is of two states"
        seen[found] += 1
    logging.getLogger("chaos").info("plain xarray: %d reads, of each state %s", n, seen)


def test_open_cube_reads_a_year_old_or_new_in_all_its_variables(republished, chaos_all):
    store, states = republished
    seen = {0: 0, 1: 0}
    for n in itertools.count():
        if n >= (1_000 if chaos_all else 20) and min(seen.values()) > 0:
            break
        cube = reprocess.open_cube(str(store))
        found = {name: which(states, name, cube[name].to_numpy()) for name in states[0]}
        assert len(set(found.values())) == 1, f"read {n}: {found}"
        assert None not in found.values(), f"read {n}: {found}"
        seen[found["counts"]] += 1
    logging.getLogger("chaos").info("open_cube: %d reads, of each state %s", n, seen)
