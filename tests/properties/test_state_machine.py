"""Whatever happens to an archive, its settings or a run, the next run sets it right.

An archive is built up, changed and damaged, settings change, labels are added,
runs are killed in the middle of a write. After every run that ends, each key
outside `runs/`, `failures/` and `locks/` is what a from-scratch run writes.

`HYPOTHESIS_PROFILE=thorough` tries more.
"""

import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from reprocess.stores import lock as lock_module
from reprocess.stores.objects import LocalObjects

COMMON = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "database": None,
}
PROFILES = {
    "ci": settings(max_examples=50, stateful_step_count=7, **COMMON),
    "thorough": settings(
        max_examples=1000, stateful_step_count=20, **{**COMMON, "derandomize": False}
    ),
}

DAYS = ("2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")
TIMES = ("00:00", "00:10", "12:00", "23:40", "23:50")
LABEL = {"kind": "difference", "lag_s": 1200, "lag_tolerance_s": 60, "sky_shift_max_dn": 100,
         "k_sigma": None, "threshold_dn": 8.0}  # fmt: skip
SETTINGS = [
    ("cube", "mlt_bins", [12, 24, 6]),
    ("detectors.fcn", "threshold", [0.5, 0.4, 0.6]),
    ("detectors.diff", "threshold_dn", [5.0, 9.0]),
]
PLACES = ["", "records/", "/c/", "occurrence.zarr", "zarr.json", "locks/", "runs/", "/cube/"]
"""A killed run dies at an operation on a key that holds one of these."""


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class Guillotine:
    """Lets a run's store change so often, then never again: what a kill leaves."""

    def __init__(self):
        self._lock = threading.Lock()
        self._place, self._left, self._after, self._dead = "", None, False, False

    def set(self, place, left, *, after):
        """Kill at the operation number `left` on such a place, before or after it is done."""
        self._place, self._left, self._after, self._dead = place, left, after, False

    def lift(self):
        self._left, self._dead = None, False

    def around(self, method):
        def guarded(objects, key, *arguments):
            with self._lock:
                if self._dead:
                    raise Killed(key)
                dies = False
                if self._left is not None and self._place in key:
                    self._left -= 1
                    dies = self._dead = self._left < 0
                if dies and not self._after:
                    raise Killed(key)
                result = method(objects, key, *arguments)
                if dies:
                    raise Killed(key)
                return result

        return guarded


class Archives(RuleBasedStateMachine):
    """One archive, one store, and everything that may happen to them."""

    make_tiny = None
    same_keys = None
    frame_bytes = None
    guillotine = None
    oracle = None

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="reprocess-"))
        self.tiny = self.make_tiny(self.directory)
        self.seed = 0
        self.sound = True
        self.add_day(DAYS[1], set(TIMES))

    # --- the archive ---------------------------------------------------------------------

    @property
    def frames(self):
        return sorted(p for p in self.tiny.archive.rglob("*.npy"))

    @rule(day=st.sampled_from(DAYS), times=st.sets(st.sampled_from(TIMES), min_size=1))
    def add_day(self, day, times):
        for time in sorted(times):
            self.tiny.put(day, time)

    @rule(day=st.sampled_from(DAYS), time=st.sampled_from(["00:04", "00:16", "23:54"]),
          suffix=st.sampled_from(["", "_b"]))  # fmt: skip
    def add_late_frame(self, day, time, suffix):
        self.tiny.put(day, time, self._content(), suffix)

    @rule(data=st.data())
    def change_frame(self, data):
        data.draw(st.sampled_from(self.frames)).write_bytes(self._content())

    @rule(data=st.data(), cut=st.sampled_from([0, 100]))
    def corrupt_frame(self, data, cut):
        frame = data.draw(st.sampled_from(self.frames))
        frame.write_bytes(frame.read_bytes()[:cut])

    @precondition(lambda self: len(self.frames) > 1)
    @rule(data=st.data())
    def remove_frame(self, data):
        data.draw(st.sampled_from(self.frames)).unlink()

    @precondition(lambda self: len({p.parent for p in self.frames}) > 1)
    @rule(data=st.data())
    def remove_day(self, data):
        shutil.rmtree(data.draw(st.sampled_from(sorted({p.parent for p in self.frames}))))

    @rule(ago_s=st.integers(1, 10**8))
    def touch(self, ago_s):
        for frame in self.frames:
            os.utime(frame, (0, frame.stat().st_mtime - ago_s))

    # --- the settings --------------------------------------------------------------------

    @rule(data=st.data(), where=st.sampled_from(SETTINGS))
    def change_setting(self, data, where):
        section, key, values = where
        node = self.tiny.document
        for part in section.split("."):
            node = node[part]
        node[key] = data.draw(st.sampled_from(values))

    @precondition(lambda self: "diff-v2" not in self.tiny.document["detectors"])
    @rule()
    def add_label(self):
        self.tiny.document["detectors"]["diff-v2"] = dict(LABEL)

    # --- runs ----------------------------------------------------------------------------

    @rule(place=st.sampled_from(PLACES), left=st.integers(0, 30), after=st.booleans())
    def kill(self, place, left, after):
        self.guillotine.set(place, left, after=after)
        try:
            self.tiny.run()
        except Killed:
            event(f"killed at {place or 'any key'}")
            # The dead run's process is another one than the next run's.
            self.guillotine.incarnation += 1
        finally:
            self.guillotine.lift()

    @rule(arguments=st.sampled_from(["--years 2021", "--years 2022", "--detectors diff"]))
    def run_a_part(self, arguments):
        outcome = self.tiny.run(*arguments.split())
        # A year that lost its frames is refused alone: its archive may not be mounted.
        assert outcome.code == 0 or "found no frames" in outcome.err, outcome.err

    @rule(what=st.sampled_from(["frames", "diff", "detections", "cube"]))
    def recompute(self, what):
        self._run_and_check("--recompute", what)

    @rule()
    def run(self):
        self._run_and_check()

    def _run_and_check(self, *arguments):
        self.sound = False
        outcome = self.tiny.run(*arguments)
        assert outcome.code == 0, outcome.err + outcome.out
        for year, entry in outcome.report["years"].items():
            n_files = len(list(self.tiny.archive.glob(f"{year}/**/*.npy")))
            assert sum(entry["ledger"].values()) == entry["frames_catalogued"] == n_files
            assert not {"failed", "not_yet_run"} & set(entry["ledger"])
        self.same_keys(self.tiny.keys(), self._wanted())
        assert self.tiny.run().done == 0
        self.sound = True

    def _wanted(self):
        """What a from-scratch run leaves; kept, because many histories lead to one archive."""
        state = repr(
            [
                [(p.relative_to(self.tiny.archive), p.read_bytes()) for p in self.frames],
                {k: v for k, v in self.tiny.document.items() if k not in ("archive", "store")},
            ]
        )
        if state not in self.oracle:
            self.oracle[state] = self.tiny.from_scratch()
            for fresh in self.directory.glob("fresh-*"):
                shutil.rmtree(fresh)
        return self.oracle[state]

    def _content(self):
        self.seed += 1
        return self.frame_bytes(self.seed)

    def teardown(self):
        try:
            if self.sound:  # else a failure is being reported already
                self._run_and_check()
        finally:
            shutil.rmtree(self.directory)


@pytest.fixture
def machine(make_tiny, same_keys, frame_bytes, monkeypatch, unsynced):  # noqa: ARG001
    """The state machine, with a store that can be made to die under it."""
    guillotine = Guillotine()
    guillotine.incarnation = 0
    for name in ("write", "create", "delete"):
        monkeypatch.setattr(LocalObjects, name, guillotine.around(getattr(LocalObjects, name)))
    # Dead and living runs share this process's number; they differ in when it started, which
    # is how a number that was given again is told apart.
    monkeypatch.setattr(
        lock_module, "_process_started",
        lambda pid: str(guillotine.incarnation) if pid == os.getpid() else None,
    )  # fmt: skip
    return type(
        "TinyArchives",
        (Archives,),
        {
            "make_tiny": staticmethod(make_tiny),
            "same_keys": staticmethod(same_keys),
            "frame_bytes": staticmethod(frame_bytes),
            "guillotine": guillotine,
            "oracle": {},
        },
    )


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_every_history_ends_in_the_bytes_of_a_first_run(machine):
    profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
    run_state_machine_as_test(machine, settings=profile)
