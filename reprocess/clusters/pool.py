"""A pool of Slurm jobs: jobs that leave are replaced, and it is said what is awaited.

dask-jobqueue submits a job and never looks at it again. Here the queue is looked at every
`poll_s` seconds: jobs that are gone (walltime, cancelled, failed) are replaced while blocks are
left; those that Slurm itself starts again (requeued, preempted) are left to it. Jobs that die
before a worker has come from them are replaced a few times only.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

from reprocess.errors import ClusterError

START_FAILURES_MAX = 3
"""Jobs in a row that may die before their worker has come."""

SAY_S = 300.0
"""An unchanged queue is spoken of again after this time."""

BLIND_S = 300.0
"""A queue that does not answer for so long is spoken of."""

SELF_MADE_ENDS = ("FAILED", "OUT_OF_MEMORY")
"""Ends of which the job's log tells the reason, such as the memory limit."""

LAST_LINES = 4


class Queue(Protocol):
    """What is asked of a batch system."""

    def submit(self, n: int) -> list[str]:
        """Submit jobs and return the ids of those taken; `ClusterError` if none is."""
        ...

    def states(self) -> dict[str, str] | None:
        """Id to state of this run's jobs that wait or run; None if the queue does not answer.

        A state is Slurm's word, for waiting jobs with its reason: `PENDING (Priority)`.
        """
        ...

    def ended(self, job: str) -> str:
        """Say how a job that is gone ended, such as `TIMEOUT on n7`."""
        ...

    def forget(self, job: str) -> None:
        """Release what is kept for a job that is gone."""
        ...

    def last_words(self, job: str) -> str:
        """Return the last lines of a job's log."""
        ...


class Pool:
    """Keeps a number of jobs in a queue.

    Parameters
    ----------
    wanted : jobs at one time
    joined : ids of the jobs that a worker has come from, ever; grows by itself
    alive : tells how many workers there are now
    say : told what happens, a line at a time
    """

    def __init__(
        self,
        queue: Queue,
        wanted: int,
        poll_s: float,
        joined: Collection[str],
        alive: Callable[[], int],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = queue
        self.wanted = wanted
        self.jobs: list[str] = []
        self._poll_s = poll_s
        self._joined = joined
        self._alive = alive
        self._say = say
        self._clock = clock
        self._looked = clock()
        self._answered = clock()
        self._said = ("", clock())
        self._failed_starts: list[str] = []
        self._n_joined = 0
        self._given_up = False
        self._refused = -SAY_S

    def open(self) -> None:
        """Submit the first jobs."""
        self.jobs = self.queue.submit(self.wanted)

    def tend(self) -> None:
        """Look at the queue if it is time to, and replace the jobs that are gone.

        Raises
        ------
        ClusterError
            If no job can start, with the last lines of one's log; or if the queue refuses more.
        """
        now = self._clock()
        if now - self._looked < self._poll_s:
            return
        self._looked = now
        states = self.queue.states()
        if states is None:
            if now - self._answered > BLIND_S:
                self._answered = now
                self._say("the queue does not answer; the workers that run go on")
            return
        self._answered = now
        if len(self._joined) > self._n_joined:
            self._n_joined = len(self._joined)
            self._failed_starts.clear()
        gone = [job for job in self.jobs if job not in states]
        for job in gone:
            self.jobs.remove(job)
            self._note_end(job)
        self._replace()
        self._tell(states, now)

    def _note_end(self, job: str) -> None:
        how = self.queue.ended(job)
        self.queue.forget(job)
        if job in self._joined:
            words = ""
            if how.startswith(SELF_MADE_ENDS):
                words = "\n" + "\n".join(self.queue.last_words(job).splitlines()[-LAST_LINES:])
            self._say(f"job {job} left ({how}){words}")
        else:
            self._failed_starts.append(job)
            self._say(f"job {job} left before a worker came from it ({how})")

    def _replace(self) -> None:
        missing = self.wanted - len(self.jobs)
        if len(self._failed_starts) < START_FAILURES_MAX:
            if missing and self._clock() - self._refused >= SAY_S:
                self._submit(missing)
            return
        if not self.jobs and not self._alive():
            n = len(self._failed_starts)
            raise ClusterError(
                f"{n} jobs in a row ended before a worker came from them; the last lines of job "
                f"{self._failed_starts[-1]}:\n{self.queue.last_words(self._failed_starts[-1])}\n"
                f"Mend the profile (`reprocess cluster check` tries it with one job) and run "
                f"again: what is committed stays"
            )
        if missing and not self._given_up:
            self._given_up = True
            self._say(
                f"{len(self._failed_starts)} jobs in a row ended before a worker came from them; "
                f"no more are submitted while {len(self.jobs)} are left. The last lines of job "
                f"{self._failed_starts[-1]}:\n{self.queue.last_words(self._failed_starts[-1])}"
            )

    def _submit(self, n: int) -> None:
        try:
            new = self.queue.submit(n)
        except ClusterError as error:
            if not self.jobs:
                raise
            # A limit on one's jobs, perhaps; those that are left go on.
            self._refused = self._clock()
            self._say(f"{error}. {len(self.jobs)} jobs go on; asked again in {SAY_S / 60:.0f} min")
            return
        self.jobs += new
        self._given_up = False
        self._say(f"submitted in their place: {', '.join(new)}")

    def _tell(self, states: dict[str, str], now: float) -> None:
        """Say what is awaited while there is no worker, when it changes and now and then."""
        if self._alive() or not self.jobs:
            self._said = ("", now)
            return
        counts = Counter(states[job] for job in self.jobs if job in states)
        text = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        before, when = self._said
        if text and (text != before or now - when > SAY_S):
            self._said = (text, now)
            self._say(f"waiting for a worker; jobs: {text}")
