"""Whatever happens to an archive, its settings or a run, the next run sets it right.

An archive is built up, changed, damaged and moved, settings change, labels are
added, runs are killed at any change of the store, changes are taken back after
such a kill, and workers outlive their run. After every run that ends,

- each key outside `runs/`, `failures/` and `locks/` is what a from-scratch run
  over the same archive and settings writes;
- the ledger adds up to the files there are;
- no image was read, and none passed through the network, that did not have to
  be: `Bookkeeper` works that out from the writes it saw and from nothing that
  the package says about itself.

`HYPOTHESIS_PROFILE=thorough` tries more; `docs/reliability.md` keeps its last result.
"""

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from reprocess.archive.files import ArchiveBytes
from reprocess.stores import lock as lock_module
from reprocess.stores.objects import LocalObjects

COMMON = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}
EXAMPLES = os.environ.get("REPROCESS_EXAMPLES", "1000")
PROFILES = {
    "ci": settings(
        max_examples=50,
        stateful_step_count=8,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink],
        **COMMON,
    ),
    "thorough": settings(
        max_examples=int(EXAMPLES),
        stateful_step_count=8,
        phases=[Phase.generate],
        derandomize=False,
        print_blob=True,
        **COMMON,
    ),
    "mutants": settings(
        max_examples=int(EXAMPLES), stateful_step_count=8, phases=[Phase.generate], **COMMON
    ),
}

DAYS = ("2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")
TIMES = ("00:00", "00:10", "12:00", "23:40", "23:50")
LATE_TIMES = ("00:04", "00:16", "23:34", "23:54")
LABEL = {"kind": "difference", "lag_s": 1200, "lag_tolerance_s": 60, "sky_shift_max_dn": 100,
         "k_sigma": None, "threshold_dn": 8.0}  # fmt: skip
SETTINGS = [
    ("cube", "mlt_bins", [12, 24, 6]),
    ("cube", "sun_elevation_max_deg", [90, -20]),
    ("detectors.fcn", "threshold", [0.5, 0.4, 0.6]),
    ("detectors.diff", "threshold_dn", [5.0, 9.0]),
    ("camera.0.lens", "north_deg", [0.0, 40.0]),
    ("camera.0.crop", "left_px", [0, 2]),
]
CADENCE_S = 600
UNFINISHED, OVERWRITTEN, ANY = "0" * 48, "f" * 48, "any"
MARKS = {UNFINISHED, OVERWRITTEN}
RECORD = re.compile(
    r"records/\d{4}/(frames|evidence|detections)/(?:([^/]+)/)?([\d-]+)\.(\w+)\.json"
)

PLACES = [
    "", "frames/", "/image/c/", "evidence/", "detections/", "records/", UNFINISHED, "/detections/",
    "occurrence.zarr", "zarr.json", "locks/", "runs/", "/cube/",
]  # fmt: skip
"""A killed run dies at an operation on a key that holds one of these."""

WORK = ("/c/", "/frames/", "/evidence/", "/detections/", "records/layout/", "zarr.json")
"""What a worker or a driver writes: an orphan may do so once after its run was taken over."""


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class Guillotine:
    """Stands before every change of a store: counts, kills, or lets another run go first."""

    def __init__(self):
        self._lock = threading.RLock()
        self.incarnation = 0
        self.witness = None
        self.lift()

    def set(self, place, left, *, after):
        """Kill at the operation number `left` on such a place, before or after it is done."""
        self._place, self._left, self._after, self._dead = place, left, after, False

    def let_another_go_first(self, place, left, another, *, after):
        """At such an operation, do `another` before (or after) it is done, then go on."""
        self.set(place, left, after=after)
        self._another = another

    def lift(self):
        self._place, self._left, self._after, self._dead = "", None, False, False
        self._another = None

    def around(self, method):
        @functools.wraps(method)
        def guarded(objects, key, *arguments):
            with self._lock:
                if self._dead:
                    raise Killed(key)
                reached = False
                if self._left is not None and self._place in key:
                    self._left -= 1
                    reached = self._left < 0
                if reached and self._another is None:
                    self._dead = True
                if not reached:
                    return self._do(method, objects, key, *arguments)
                another, after = self._another, self._after
                if another is not None:
                    self.lift()
            # Another run writes from other threads, so this one must not hold the lock.
            if after:
                result = self._do(method, objects, key, *arguments)
            if another is None:
                raise Killed(key)
            another()
            return result if after else self._do(method, objects, key, *arguments)

        return guarded

    def _do(self, method, objects, key, *arguments):
        result = method(objects, key, *arguments)
        if self.witness is not None:
            self.witness(method.__name__, objects, key)
        return result


class Bookkeeper:
    """What the store holds and what a run may therefore read: a second opinion.

    It sees the archive, the settings and every change of the store. A record
    that is written commits the block as the archive and the settings are then;
    one that is deleted takes it back. A block with two of them, or with a mark,
    is not committed: a run that was killed between the mark and the record's
    removal looks like one that was killed before the mark was taken off, or like
    an orphan's, so that its day has to be read again though nothing of it changed.
    """

    def __init__(self, tiny):
        self.tiny = tiny
        self.records = {}
        self.hashed = {}
        self.now = {}
        self.reads = Counter()
        self.passes = 0
        self.unknown = False

    def files(self, day):
        return sorted((self.tiny.archive / day[:4] / (day[5:7] + day[8:])).glob("*.npy"))

    def listing(self, day):
        found = ((p.name, p.stat()) for p in self.files(day))
        return [(name, s.st_size, s.st_mtime_ns) for name, s in found]

    def block(self, stage, label, day):
        """Everything that a block's result depends on, as plain values."""
        document = self.tiny.document
        if stage == "frames":
            contents = [
                (p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in self.files(day)
            ]
            return repr((contents, document["camera"][0]["crop"]))
        own = {k: v for k, v in document["detectors"][label].items() if k != "weights"}
        geometry = document["camera"][0]["lens"]
        if stage == "evidence":
            thresholds = ("threshold", "threshold_dn", "k_sigma")
            measured = {k: v for k, v in own.items() if k not in thresholds}
            window = self.window_s(label)
            context = [p.read_bytes() for p in self.tail(day, window)]
            names = [p.name for p in self.tail(day, window)]
            uses = geometry if own["kind"] == "difference" else None
            return repr((self.block("frames", "", day), measured, uses, names,
                         [hashlib.sha256(c).hexdigest() for c in context]))  # fmt: skip
        return repr((self.block("evidence", label, day), own, geometry))

    def window_s(self, label):
        """How far before midnight a label looks: its lag, and two slots that frames may move."""
        own = self.tiny.document["detectors"][label]
        return own["lag_s"] + own["lag_tolerance_s"] + 2 * CADENCE_S if "lag_s" in own else 0

    def tail(self, day, window_s):
        """Files of the day before, at most so long before its end."""
        if not window_s:
            return []
        found = []
        for path in self.files((date.fromisoformat(day) - timedelta(days=1)).isoformat()):
            clock = path.stem.split("_")[1]
            at = int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:6])
            if at >= 86400 - window_s:
                found.append(path)
        return found

    def begin(self, recompute=()):
        """Look at archive and settings; work out what a run may read."""
        self.reads.clear()
        self.passes = 0
        labels = list(self.tiny.document["detectors"])
        days = [day for day in DAYS if self.files(day)]
        self.now = {}
        for day in days:
            self.now["frames", "", day] = self.block("frames", "", day)
            for label in labels:
                for stage in ("evidence", "detections"):
                    self.now[stage, label, day] = self.block(stage, label, day)
        self.may_read = Counter()
        self.may_pass = 0
        longest_s = max(self.window_s(label) for label in labels)
        for day in DAYS:
            if self.listing(day) != self.hashed.get(day):
                # Only what a committed block was made from is read to see whether it changed, and
                # after a whole run only those files whose size or time did.
                known = {name for name, *_ in
                         {*self.hashed.pop(day, ())} & {*self.listing(day)}}  # fmt: skip
                after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
                if self._to_compare(day, recompute):
                    self.may_read.update(p.name for p in self.files(day) if p.name not in known)
                elif self._to_compare(after, recompute):
                    self.may_read.update(p.name for p in self.tail(after, longest_s))
        for day in days:
            frames = "frames" in recompute or self._stale("frames", "", day)
            if frames:
                self.may_read.update(p.name for p in self.files(day))
            stale = {
                label
                for label in labels
                if frames or label in recompute or self._stale("evidence", label, day)
            }
            for window in {self.window_s(label) for label in stale}:
                self.may_read.update(p.name for p in self.tail(day, window))
            if "fcn" in stale:
                self.may_pass += len(self.files(day))

    def _to_compare(self, day, recompute):
        """Tell whether a day's frames are committed, and not asked for whatever they hold."""
        found = self.records.get(("frames", "", day), {})
        return len(found) == 1 and not MARKS & set(found) and "frames" not in recompute

    def _stale(self, stage, label, day):
        block = stage, label, day
        return list(self.records.get(block, {}).values()) != [self.now[block]]

    def witness(self, change, objects, key):
        """See one change of a store."""
        match = RECORD.fullmatch(key)
        if objects.root != self.tiny.store or not match:
            return
        *block, fingerprint = match.groups()
        block = (block[0], block[1] or "", block[2])
        found = self.records.setdefault(block, {})
        if change != "delete":
            found[fingerprint] = None if fingerprint in MARKS else self.now.get(block)
        elif fingerprint in found:
            del found[fingerprint]
        elif fingerprint not in MARKS:
            found.pop(ANY, None)

    def end(self, *, complete):
        """Check what was read; after a complete run every day's listing has been hashed."""
        too_often = {n: (c, self.may_read[n]) for n, c in self.reads.items()
                     if c > self.may_read[n]}  # fmt: skip
        assert not too_often, f"files read more often than needed: {too_often}"
        assert self.passes <= self.may_pass, "frames passed through the network again"
        if complete and self.unknown:
            self.records = {block: {ANY: state} for block, state in self.now.items()}
            self.unknown = False
        if complete:
            self.hashed = {day: self.listing(day) for day in DAYS if self.files(day)}


class Archives(RuleBasedStateMachine):
    """One archive, one store, and everything that may happen to them."""

    make_tiny = None
    same_keys = None
    frame_bytes = None
    guillotine = None
    oracle = None
    counts = None
    scratch = None

    def __init__(self):
        super().__init__()
        self.counts["examples"] += 1
        self.directory = Path(tempfile.mkdtemp(prefix="reprocess-", dir=self.scratch))
        self.tiny = self.make_tiny(self.directory)
        (self.directory / "mirror").symlink_to(self.tiny.archive)
        self.books = Bookkeeper(self.tiny)
        self.seed = 0
        self.sound = True
        self.add_day(DAYS[1], set(TIMES))
        self.good = self._snapshot()

    # --- the archive ---------------------------------------------------------------------

    @property
    def frames(self):
        return sorted(p for p in self.tiny.archive.rglob("*.npy"))

    @rule(day=st.sampled_from(DAYS), times=st.sets(st.sampled_from(TIMES), min_size=1))
    def add_day(self, day, times):
        for time_ in sorted(times):
            self.tiny.put(day, time_)

    @rule(day=st.sampled_from(DAYS), time_=st.sampled_from(LATE_TIMES),
          suffix=st.sampled_from(["", "_b"]))  # fmt: skip
    def add_late_frame(self, day, time_, suffix):
        self.tiny.put(day, time_, self._content(), suffix)

    @rule(data=st.data(), late=st.booleans())
    def replace_frame(self, data, late):
        self._some_frame(data, late).write_bytes(self._content())

    @rule(data=st.data(), cut=st.sampled_from([0, 100]))
    def corrupt_frame(self, data, cut):
        frame = data.draw(st.sampled_from(self.frames))
        frame.write_bytes(frame.read_bytes()[:cut])

    @precondition(lambda self: len(self.frames) > 1)
    @rule(data=st.data(), late=st.booleans())
    def remove_frame(self, data, late):
        self._some_frame(data, late).unlink()

    @precondition(lambda self: len({p.parent for p in self.frames}) > 1)
    @rule(data=st.data())
    def remove_day(self, data):
        shutil.rmtree(data.draw(st.sampled_from(sorted({p.parent for p in self.frames}))))

    def _some_frame(self, data, late):
        """Any frame, or one that the next day's difference looks back at."""
        found = [p for p in self.frames if p.stem.split("_")[1] >= "23"] if late else []
        return data.draw(st.sampled_from(found or self.frames))

    # --- the settings --------------------------------------------------------------------

    @rule(ago_s=st.integers(1, 10**8), mirror=st.booleans(), cores=st.integers(1, 3))
    def change_what_does_not_count(self, ago_s, mirror, cores):
        """File times, the archive's path, the number of cores: settings of a run."""
        for frame in self.frames:
            os.utime(frame, ns=(0, frame.stat().st_mtime_ns - ago_s * 10**9))
        place = self.directory / "mirror" if mirror else self.tiny.archive
        self.tiny.document["archive"]["url"] = str(place)
        self.guillotine.cores = cores

    @rule(data=st.data(), where=st.sampled_from(SETTINGS))
    def change_science(self, data, where):
        self._set(where, data.draw(st.sampled_from(where[2])))

    def _set(self, where, value):
        section, key, _ = where
        node = self.tiny.document
        for part in section.split("."):
            node = node[int(part) if part.isdigit() else part]
        node[key] = value

    @precondition(lambda self: "diff-v2" not in self.tiny.document["detectors"])
    @rule()
    def add_label(self):
        self.tiny.document["detectors"]["diff-v2"] = dict(LABEL)

    @rule(lag_s=st.sampled_from([600, 1200]))
    def change_evidence_settings(self, lag_s):
        """Refused where the label has results, and done when it is asked for."""
        before = self.tiny.keys()
        changed = self.tiny.document["detectors"]["diff"]["lag_s"] != lag_s
        self.tiny.document["detectors"]["diff"]["lag_s"] = lag_s
        if changed and "records/settings/diff.json" in before:
            outcome = self.tiny.run(give_up=True)
            # A killed run may have bound these very settings before it died.
            assert outcome.code in (0, 2), outcome.err
            if outcome.code == 2:
                assert "--recompute diff" in outcome.err
                assert self.tiny.keys() == before
        self._run_and_check("--recompute", "diff")

    # --- runs ----------------------------------------------------------------------------

    @rule(data=st.data(), place=st.sampled_from(PLACES), left=st.integers(0, 8),
          after=st.booleans())  # fmt: skip
    def regret(self, data, place, left, after):
        """A change, a run over it that is killed, and the change is taken back."""
        self.kill(data, place, left, after)
        self._restore()

    @rule(data=st.data(), place=st.sampled_from(PLACES), left=st.integers(0, 8),
          after=st.booleans())  # fmt: skip
    def kill(self, data, place, left, after):
        """A change, and a run over it that is killed."""
        self.counts["kills tried"] += 1
        self._change(data)
        self._kill(place, left if place else 5 * left, after)

    def _change(self, data):
        many = len({p.parent for p in self.frames}) > 1
        what = data.draw(
            st.sampled_from(
                ["replace", "late", "day", "science"] + many * ["remove frame", "remove day"]
            )
        )
        if what == "replace":
            self.replace_frame(data, data.draw(st.booleans()))
        elif what == "late":
            late = data.draw(st.sampled_from(LATE_TIMES))
            self.add_late_frame(data.draw(st.sampled_from(DAYS)), late, "")
        elif what == "day":
            self.add_day(data.draw(st.sampled_from(DAYS)), set(TIMES))
        elif what == "science":
            self.change_science(data, data.draw(st.sampled_from(SETTINGS)))
        elif what == "remove frame":
            self.remove_frame(data, data.draw(st.booleans()))
        else:
            self.remove_day(data)

    def _kill(self, place, left, after):
        self.books.begin()
        self.guillotine.set(place, left, after=after)
        try:
            self._watched()
        except Killed:
            self.counts["kills"] += 1
            # The dead run's process is another one than the next run's.
            self.guillotine.incarnation += 1
        finally:
            self.guillotine.lift()
        self.books.end(complete=False)

    @rule(data=st.data(), place=st.sampled_from(WORK), left=st.integers(0, 8),
          after=st.booleans(), where=st.sampled_from(SETTINGS))  # fmt: skip
    def outlive(self, data, place, left, after, where):
        """A run is taken over, with other settings, while its worker writes; the worker goes on."""

        self.counts["orphans tried"] += 1
        self._change(data)
        value = data.draw(st.sampled_from(where[2]))  # here, as another thread must not draw

        def another():
            self.counts["orphans"] += 1
            self.guillotine.incarnation += 1
            self._set(where, value)
            outcome = self.tiny.run(give_up=True)
            finished.append(outcome.code == 0 or outcome.err + outcome.out)

        finished = []
        self.guillotine.let_another_go_first(place, left, another, after=after)
        try:
            outcome = self._watched()
            assert outcome.code in (0, 1), outcome.err
            assert finished in ([], [True])
        finally:
            self.guillotine.lift()
            self.guillotine.incarnation += 1
        self.books.records.clear()  # whose settings a record was written with is not known here
        self.books.hashed.clear()
        self.books.unknown = True
        self._run_and_check()

    @rule(arguments=st.sampled_from(["--years 2021", "--years 2022", "--detectors diff"]))
    def run_a_part(self, arguments):
        self.books.begin()
        outcome = self._watched(*arguments.split())
        # A year that has lost its frames, or has none yet in an empty store, is refused alone: its
        # archive may not be mounted.
        refused = ("found no frames", "are committed with the old settings")
        assert outcome.code == 0 or any(text in outcome.err for text in refused), outcome.err
        self.books.end(complete=False)

    @rule(what=st.sampled_from(["frames", "diff", "fcn", "detections", "cube"]))
    def recompute(self, what):
        self._run_and_check("--recompute", what)

    @rule()
    def run(self):
        self._run_and_check()

    def _watched(self, *arguments):
        self.counts["runs"] += 1
        self.guillotine.witness = self.books.witness
        self.guillotine.reads = self.books
        try:
            return self.tiny.run(*arguments, give_up="--years" not in arguments)
        finally:
            self.guillotine.witness = self.guillotine.reads = None

    def _run_and_check(self, *arguments):
        self.sound = False
        self.books.begin(arguments)
        outcome = self._watched(*arguments)
        assert outcome.code == 0, outcome.err + outcome.out
        self.books.end(complete=True)
        for year, entry in outcome.report["years"].items():
            n_files = len(list(self.tiny.archive.glob(f"{year}/**/*.npy")))
            assert sum(entry["ledger"].values()) == entry["frames_catalogued"] == n_files
            assert not {"failed", "not_yet_run"} & set(entry["ledger"])
        self.same_keys(self.tiny.keys(), self._wanted())
        self.books.begin()
        assert not self.books.may_read, "the bookkeeper and the run disagree on what is done"
        assert self._watched().done == 0
        self.books.end(complete=True)
        self.sound = True
        self.good = self._snapshot()

    def _wanted(self):
        """What a from-scratch run leaves; kept, because many histories lead to one archive."""
        self.counts["checks"] += 1
        state = repr(
            [
                [(str(p.relative_to(self.tiny.archive)), hashlib.sha256(p.read_bytes()).digest())
                 for p in self.frames],
                {k: v for k, v in self.tiny.document.items() if k not in ("archive", "store")},
            ]
        )  # fmt: skip
        if state not in self.oracle:
            self.counts["oracles"] += 1
            self.oracle[state] = self.tiny.from_scratch()
            for fresh in self.directory.glob("tiny/fresh-*"):
                shutil.rmtree(fresh)
        return self.oracle[state]

    # --- what is taken back --------------------------------------------------------------

    def _snapshot(self):
        frames = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in self.frames}
        return frames, pickle.dumps(self.tiny.document)

    def _restore(self):
        frames, document = self.good
        for path in set(self.frames) - set(frames):
            path.unlink()
        for path, (data, mtime_ns) in frames.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, ns=(mtime_ns, mtime_ns))
        labels = self.tiny.document["detectors"]
        self.tiny.document.clear()
        self.tiny.document.update(pickle.loads(document))
        # What a label left stays when the label is taken out of a campaign: nobody asked for more.
        for label, own in labels.items():
            self.tiny.document["detectors"].setdefault(label, own)

    def _content(self):
        self.seed += 1
        return self.frame_bytes(self.seed)

    def teardown(self):
        self.counts["examples ended"] += 1
        logging.getLogger("machine").info("%s", dict(self.counts))
        try:
            if self.sound:  # else a failure is being reported already
                self._run_and_check()
        finally:
            shutil.rmtree(self.directory)


@pytest.fixture
def machine(make_tiny, same_keys, frame_bytes, monkeypatch, swift, tmp_path):  # noqa: ARG001
    """The state machine, with a store that can be made to die under it."""
    guillotine = Guillotine()
    guillotine.cores, guillotine.reads = 2, None
    for name in ("write", "create", "delete"):
        monkeypatch.setattr(LocalObjects, name, guillotine.around(getattr(LocalObjects, name)))
    # Dead and living runs share this process's number; they differ in when it started, which
    # is how a number that was given again is told apart.
    monkeypatch.setattr(
        lock_module, "_process_started",
        lambda pid: str(guillotine.incarnation) if pid == os.getpid() else None,
    )  # fmt: skip
    # The run that takes an orphan's place is begun in a thread, where Python lets no one
    # set signals.
    monkeypatch.setattr("reprocess.run.signal", SimpleNamespace(SIGTERM=0, signal=lambda *_: None))
    for module in ("plan", "clusters.executors"):
        monkeypatch.setattr(f"reprocess.{module}.available_cores", lambda: guillotine.cores)
    _count_reads(guillotine, monkeypatch)
    memory = Path("/dev/shm")
    counts = Counter()
    yield type(
        "TinyArchives",
        (Archives,),
        {
            "make_tiny": staticmethod(make_tiny),
            "same_keys": staticmethod(same_keys),
            "frame_bytes": staticmethod(frame_bytes),
            "guillotine": guillotine,
            "oracle": {},
            "counts": counts,
            "scratch": memory if os.access(memory, os.W_OK) else tmp_path,
        },
    )
    logging.getLogger("machine").info("%s", dict(counts))


def _count_reads(guillotine, monkeypatch):
    """Tell the bookkeeper of every file that is read and every frame the network sees."""
    from reprocess.detectors import fcn

    read, open_runtime = ArchiveBytes.read, fcn.open_runtime
    seen = {}  # a network's answer is a function of the frame (tested on its own)
    lock = threading.Lock()

    def counted_read(source, name):
        with lock:
            if guillotine.reads is not None:
                guillotine.reads.reads[Path(name).name] += 1
        return read(source, name)

    class CountedRuntime:
        def __init__(self, *opened):
            self.opened = opened

        def logits(self, images, threads):
            with lock:
                if guillotine.reads is not None:
                    guillotine.reads.passes += len(images)
            key = self.opened, images.shape, images.tobytes()
            if key not in seen:
                seen[key] = open_runtime(*self.opened).logits(images, threads)
            return seen[key].copy()

    monkeypatch.setattr(ArchiveBytes, "read", counted_read)
    monkeypatch.setattr(fcn, "open_runtime", CountedRuntime)


@pytest.mark.slow
@pytest.mark.timeout(6 * 3600)
def test_every_history_ends_in_the_bytes_of_a_first_run(machine):
    profile = PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "ci")]
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.callback(
            lambda: logging.getLogger("machine").info("%.0f s", time.monotonic() - started)
        )
        run_state_machine_as_test(machine, settings=profile)


class Chosen:
    """Draws what a history drew."""

    def __init__(self, *values):
        self._values = iter(values)

    def draw(self, _strategy):
        return next(self._values)


def marked_twice(state):
    """A day is left with its record and its mark, twice, and both runs are taken back."""
    state.regret(Chosen("day", DAYS[1]), place=UNFINISHED, left=1, after=False)
    state.tiny.path(DAYS[1], "23:50").unlink()
    state.regret(Chosen("day", DAYS[0]), place="records/", left=8, after=False)
    state.add_label()


def marked_under_another_crop(state):
    """A day whose frames did not change is left with its record and a mark."""
    state.run()
    state.regret(Chosen("science", SETTINGS[-1], 2), place=UNFINISHED, left=0, after=True)


def touched_and_asked_for_again(state):
    """Frames that are done again in any case need not be compared first."""
    state.run()
    state.change_what_does_not_count(1, mirror=False, cores=2)
    state.recompute("frames")


def taken_back_half_way(state):
    """A day is overwritten in part, and its frames are then as they were."""
    state.run()
    frame = state.tiny.path(DAYS[1], "00:00")  # in the first chunk that is written
    state.regret(Chosen("replace", False, frame), place="/image/c/", left=0, after=True)


def killed_while_it_counted(state):
    """A year's counts are those of before, and its record must not say otherwise."""
    state.run()
    state.change_science(Chosen(9.0), SETTINGS[3])
    state.kill(Chosen("replace", False, state.tiny.path(DAYS[1], "12:00")), "counts/c/", 0, False)


def counted_again(state):
    """Counting again needs neither the archive nor the network."""
    state.run()
    state.recompute("cube")


def lost_while_it_was_counted(state):
    """A year whose record is taken back to count it again, and which then loses all its frames."""
    state.kill(Chosen("day", DAYS[2]), place="runs/", left=0, after=False)
    state._restore()
    state.regret(Chosen("late", "00:16", DAYS[2]), place="occurrence.zarr", left=2, after=False)


def laid_out_for_a_change_that_was_taken_back(state):
    """The cube is laid out for a count that never comes: its layout's record must come back."""
    state.regret(Chosen("late", "00:04", DAYS[1]), place="locks/", left=1, after=False)
    state.regret(Chosen("day", DAYS[1]), place="occurrence.zarr", left=3, after=True)
    state.run_a_part("--detectors diff")
    state.regret(Chosen("day", DAYS[2]), place="/cube/", left=3, after=False)
    state.replace_frame(Chosen(state.tiny.path(DAYS[1], "23:50")), late=False)
    state.kill(Chosen("science", SETTINGS[0], 12), place="records/", left=3, after=False)
    state.kill(Chosen("science", SETTINGS[1], 90), place="occurrence.zarr", left=5, after=True)
    state.kill(Chosen("day", DAYS[1]), place="runs/", left=0, after=False)


@pytest.mark.parametrize(
    "history",
    [marked_twice, marked_under_another_crop, touched_and_asked_for_again, taken_back_half_way,
     killed_while_it_counted, counted_again,
     lost_while_it_was_counted, laid_out_for_a_change_that_was_taken_back],
)  # fmt: skip
def test_a_history(machine, history):
    """Histories that once failed, or that a planted fault fails (`workflows/mutants.py`)."""
    state = machine()
    history(state)
    state.teardown()
