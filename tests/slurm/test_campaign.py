"""A campaign on a real Slurm leaves what a serial run leaves, whatever happens to its jobs."""

import os
import re
import signal
import time

import pytest

from reprocess.stores.records import OVERWRITTEN

from .conftest import DAYS, ROOT, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def done(report):
    return sum(year["done"] for year in report["years"].values())


def test_slurm_equals_the_serial_run_and_a_second_run_does_nothing(
    campaign, serial_keys, same_keys
):
    campaign.profile |= {"jobs": 1, "cores": 2, "processes": 2, "memory": "4G"}
    campaign.hold(DAYS[0])
    driver = campaign.start()
    campaign.held(DAYS[0])
    address = re.search(r"scheduler tls://([\d.]+:\d+)", driver.log.read_text())
    assert address, driver.log.read_text()
    strangers_are_refused(address[1])
    campaign.let_go(DAYS[0])

    code, report, log = driver.finish()
    assert code == 0, log
    assert done(report) == len(DAYS)
    same_keys(campaign.tiny.keys(), serial_keys)
    assert not list((campaign.root / "logs").glob(".dask-jobqueue*")), "certificates are left"

    code, report, log = campaign.run()
    assert code == 0, log
    assert done(report) == 0
    assert "submitted" not in log
    same_keys(campaign.tiny.keys(), serial_keys)


def strangers_are_refused(address):
    """Neither plain TCP nor somebody else's certificate gets in."""
    from distributed import Client
    from distributed.security import Security

    with pytest.raises(OSError, match=r"Timed out|closed|handshake"):
        Client(f"tcp://{address}", timeout="2s", set_as_default=False)
    with pytest.raises(OSError, match=r"Timed out|certificate|SSL"):
        Client(
            f"tls://{address}", timeout="2s", set_as_default=False, security=Security.temporary()
        )


@pytest.mark.slow
def test_a_job_cancelled_one_requeued_and_one_preempted(campaign, serial_keys, same_keys, slurm):
    campaign.profile["jobs"] = 3
    for day in DAYS[:3]:
        campaign.hold(day)
    driver = campaign.start()
    cancelled, requeued, preempted = (campaign.held(day) for day in DAYS[:3])
    assert len({cancelled, requeued, preempted}) == 3

    slurm.command("scancel", cancelled)
    wait_for("the end of the cancelled job", lambda: cancelled in slurm.ended())
    slurm.command("scontrol", "requeue", requeued)
    node = slurm.command("squeue", "--noheader", "--jobs", preempted, "--format", "%N")
    urgent = slurm.command(
        "sbatch", "--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive",
        f"--output={os.devnull}", "--wrap", "sleep 600",
    )  # fmt: skip
    wait_for("the urgent job", lambda: slurm.jobs().get(urgent) == "RUNNING")
    assert slurm.jobs().get(preempted) in ("PENDING", "CONFIGURING", "RUNNING")
    slurm.command("scancel", urgent)

    code, report, log = driver.finish()
    assert code == 0, log
    assert done(report) == len(DAYS)
    same_keys(campaign.tiny.keys(), serial_keys)
    assert f"job {cancelled} left (CANCELLED" in log
    assert "submitted in their place" in log
    restarts = slurm.restarts()
    assert restarts[requeued] >= 1
    assert restarts[preempted] >= 1


@pytest.mark.slow
def test_a_walltime_shorter_than_the_campaign(campaign, serial_keys, same_keys, slurm):
    # Every worker believes that its walltime is over: it leaves after its first block.
    campaign.profile["prologue"] = ["export REPROCESS_JOB_ENDS=1"]
    campaign.hold(DAYS[1])
    driver = campaign.start()
    job = campaign.held(DAYS[1])
    slurm.command("scontrol", "update", f"JobId={job}", f"EndTime={clock(time.time() + 3)}")
    code, report, log = driver.finish()
    assert code == 0, log
    assert done(report) == len(DAYS)
    same_keys(campaign.tiny.keys(), serial_keys)
    ended = slurm.ended()
    assert ended[job] == "TIMEOUT"
    left = set(re.findall(r"job (\d+) left \(COMPLETED", log))
    assert len(left) >= 3, log


def clock(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def test_workers_of_a_killed_driver_leave_nothing_false_and_the_next_run_goes_on(
    campaign, serial_keys, same_keys, slurm
):
    campaign.profile["jobs"] = 1
    campaign.hold(DAYS[0])
    driver = campaign.start()
    job = campaign.held(DAYS[0])
    driver.process.send_signal(signal.SIGKILL)
    driver.process.communicate()
    campaign.started.remove(driver)
    wait_for("the orphan's end", lambda: job not in slurm.jobs())
    records = sorted(path.name for path in (campaign.tiny.store / "records").rglob(f"{DAYS[0]}*"))
    assert len(records) == 1, "frames were committed, nothing below them"

    code, report, log = campaign.run()
    assert code == 0, log
    assert f"its process {driver.process.pid} is gone" in log
    assert done(report) == len(DAYS)
    same_keys(campaign.tiny.keys(), serial_keys)


def test_an_orphan_that_wakes_after_another_run_took_over_leaves_a_mark_at_most(
    campaign, serial_keys, same_keys, slurm
):
    campaign.profile["jobs"] = 1
    campaign.hold(DAYS[0])
    driver = campaign.start()
    orphan = campaign.held(DAYS[0])
    slurm.command("scontrol", "suspend", orphan)  # as a node does that hangs
    driver.process.send_signal(signal.SIGKILL)
    driver.process.communicate()
    campaign.started.remove(driver)

    code, _, log = campaign.run()
    assert code == 0, log
    assert "took over 2021 from run" in log
    same_keys(campaign.tiny.keys(), serial_keys)
    written = campaign.written()

    campaign.let_go(DAYS[0])
    slurm.command("scontrol", "resume", orphan)
    wait_for("the orphan's end", lambda: orphan not in slurm.jobs())
    found = campaign.written()
    assert {path: found[path] for path in written} == written
    # The block that it was writing is marked, so that the next run does it again.
    assert {path.name.split(".")[1] for path in set(found) - set(written)} <= {OVERWRITTEN}
    assert campaign.run()[0] == 0
    same_keys(campaign.tiny.keys(), serial_keys)


def test_the_driver_in_a_job_of_its_own_resumes_when_its_time_is_over(
    campaign, serial_keys, same_keys, slurm
):
    campaign.profile["jobs"] = 1
    campaign.hold(DAYS[1])
    log = campaign.root / "driver.log"
    job = slurm.command(
        "sbatch", "--parsable", f"--output={log}", f"--chdir={campaign.root}",
        str(ROOT / "cluster" / "driver.sbatch"), str(campaign.tiny.file), "--cluster",
        str(campaign.file), environ=campaign.environ,
    )  # fmt: skip
    campaign.held(DAYS[1])
    slurm.command("scancel", "--batch", "--signal=USR1", job)  # as Slurm does before the time limit
    wait_for("the end of the driver's job", lambda: job in slurm.ended())
    text = log.read_text()
    assert slurm.ended()[job] == "COMPLETED", text
    assert "interrupted: what is committed stays" in text
    assert slurm.restarts()[job] == 1
    assert "took over" not in text, "the locks were given back"
    same_keys(campaign.tiny.keys(), serial_keys)
