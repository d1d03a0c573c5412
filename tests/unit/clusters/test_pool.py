"""The pool of jobs: who is replaced, who is not, and what is said."""

from itertools import count

import pytest

from reprocess.clusters.pool import BLIND_S, SAY_S, START_FAILURES_MAX, Pool
from reprocess.errors import ClusterError


class FakeQueue:
    """A batch system in a dictionary."""

    def __init__(self):
        self.ids = map(str, count(1))
        self.now = {}
        self.answers = True
        self.refuses = False
        self.forgotten = []
        self.end = "TIMEOUT"

    def submit(self, n):
        if self.refuses:
            raise ClusterError("Slurm refused the job: too many")
        new = [next(self.ids) for _ in range(n)]
        self.now |= dict.fromkeys(new, "PENDING (Priority)")
        return new

    def states(self):
        return dict(self.now) if self.answers else None

    def ended(self, job):
        return f"{self.end} on n{job}"

    def forget(self, job):
        self.forgotten.append(job)

    def last_words(self, job):
        return f"  the log of {job}"


class Site:
    """A pool of two jobs on a fake queue, and what it said."""

    def __init__(self, wanted=2):
        self.queue = FakeQueue()
        self.joined = set()
        self.workers = 0
        self.said = []
        self.time = 0.0
        self.pool = Pool(
            self.queue, wanted, 10.0, self.joined, lambda: self.workers, self.said.append,
            clock=lambda: self.time,
        )  # fmt: skip
        self.pool.open()

    def join(self, *jobs):
        for job in jobs:
            self.queue.now[job] = "RUNNING"
            self.joined.add(job)
        self.workers += len(jobs)

    def tend(self, after=10.0):
        self.time += after
        self.pool.tend()


@pytest.fixture
def site():
    return Site()


def test_the_queue_is_looked_at_only_now_and_then(site):
    del site.queue.now["1"]
    site.tend(after=9.9)
    assert site.pool.jobs == ["1", "2"]
    site.tend(after=0.1)
    assert site.pool.jobs == ["2", "3"]


def test_a_job_that_left_is_replaced_and_forgotten(site):
    site.join("1", "2")
    del site.queue.now["1"]
    site.tend()
    assert site.pool.jobs == ["2", "3"]
    assert site.queue.forgotten == ["1"]
    assert site.said == ["job 1 left (TIMEOUT on n1)", "submitted in their place: 3"]


def test_why_a_job_failed_is_said(site):
    site.join("1", "2")
    site.queue.end = "OUT_OF_MEMORY"
    del site.queue.now["1"]
    site.tend()
    assert site.said[0] == "job 1 left (OUT_OF_MEMORY on n1)\n  the log of 1"


def test_a_requeued_job_is_left_to_slurm(site):
    site.join("1", "2")
    site.queue.now["1"] = "PENDING (BeginTime)"
    site.workers = 1
    site.tend()
    assert site.pool.jobs == ["1", "2"]
    assert site.said == []


def test_a_queue_that_does_not_answer_loses_no_job(site):
    site.join("1", "2")
    site.queue.answers = False
    for _ in range(4):
        site.tend()
    assert site.pool.jobs == ["1", "2"]
    assert site.said == []
    site.tend(after=BLIND_S)
    assert site.said == ["the queue does not answer; the workers that run go on"]


def test_what_is_awaited_is_said_when_it_changes_and_now_and_then(site):
    site.tend()
    site.tend()
    assert site.said == ["waiting for a worker; jobs: 2 PENDING (Priority)"]
    site.queue.now["1"] = "RUNNING"
    site.tend()
    assert site.said[1:] == ["waiting for a worker; jobs: 1 PENDING (Priority), 1 RUNNING"]
    site.tend(after=SAY_S + 1)
    assert len(site.said) == 3
    site.join("1")
    site.tend(after=SAY_S + 1)
    assert len(site.said) == 3


def test_jobs_that_die_at_the_start_end_the_run_with_the_log(site):
    for n in range(START_FAILURES_MAX):
        assert site.pool.jobs
        site.queue.now.clear()
        if n < START_FAILURES_MAX - 2:
            site.tend()
    with pytest.raises(ClusterError, match=r"jobs in a row ended .* job 4:\n  the log of 4\nMend"):
        site.tend()


def test_one_bad_node_does_not_end_a_run_that_has_workers(site):
    site.join("1")
    for _ in range(10):
        for job in set(site.queue.now) - {"1"}:
            del site.queue.now[job]
        site.tend()
    assert site.pool.jobs == ["1"]
    assert sum("ended before a worker came" in text for text in site.said) == 1
    assert f"{START_FAILURES_MAX} jobs in a row" in site.said[-1]
    # The last good job ends by its walltime: nothing is left to go on with.
    site.queue.now.clear()
    site.workers = 0
    with pytest.raises(ClusterError, match="jobs in a row"):
        site.tend()


def test_a_worker_that_comes_clears_the_count():
    site = Site(wanted=1)
    for job in ("1", "2"):
        del site.queue.now[job]
        site.tend()
    site.join("3")
    site.tend()
    del site.queue.now["3"]
    site.workers = 0
    for job in ("4", "5"):
        site.tend()
        del site.queue.now[job]
    site.tend()
    assert site.pool.jobs == ["6"]


def test_a_refusal_while_others_run_is_said_and_asked_again_later(site):
    site.join("1", "2")
    site.queue.refuses = True
    del site.queue.now["1"]
    for _ in range(3):
        site.tend()
    assert site.pool.jobs == ["2"]
    assert [text for text in site.said if "too many" in text] == [
        "Slurm refused the job: too many. 1 jobs go on; asked again in 5 min"
    ]
    site.queue.refuses = False
    site.tend(after=SAY_S)
    assert site.pool.jobs == ["2", "3"]
    site.queue.refuses = True
    site.queue.now.clear()
    with pytest.raises(ClusterError, match="too many"):
        site.tend(after=SAY_S)
