"""A run is taken over between any two of its writes, and goes on with one more.

The most that an orphan can do: it had looked at its lock, another run with other
settings took over and finished, then comes the orphan's write. With
REPROCESS_CHAOS=all before and after every write of a day's work.
"""

import itertools
import logging
from types import SimpleNamespace

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * 3600)]

WORK = ("frames/", "evidence/", "detections/", "/frames/", "/evidence/", "/detections/", "/counts/",
        "/n_days")  # fmt: skip
"""What a day's work and the counting write; years are laid out before, by the driver."""


class TakenOver:
    """Objects under which another run takes over at change number `number` of a day's work."""

    def __init__(self, inner, moment):
        self._inner, self._moment, self.url = inner, moment, inner.url

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in ("write", "delete"):
            return method

        def change(key, *arguments):
            if not self._moment.is_now(key):
                return method(key, *arguments)
            if self._moment.after:
                method(key, *arguments)
                return self._moment.take_over()
            self._moment.take_over()
            return method(key, *arguments)

        return change


class Moment:
    """Some write of a day's work, or of the counting, on a key that holds some texts."""

    def __init__(self, number, after, take_over, *texts):
        self.left, self.after, self.take_over = number, after, take_over
        self.texts = texts
        self.key = None

    def is_now(self, key):
        if not all(text in key for text in self.texts):
            return False
        chunk_or_record = "/c/" in key or key.startswith("records/2")
        if self.key is not None or not chunk_or_record or not any(w in key for w in WORK):
            return False
        if key.split("/c/")[0].endswith(("time", "statistic", "channel")) or "cell" in key:
            return False
        self.left -= 1
        if self.left >= 0:
            return False
        self.key = key
        return True


class LayingOut(Moment):
    """Some write of a year's metadata or coordinates, by the driver."""

    def is_now(self, key):
        laid_out = key.endswith("zarr.json") or key.startswith("records/layout/")
        if self.key is not None or not laid_out or "occurrence" in key:
            return False
        self.left -= 1
        if self.left >= 0:
            return False
        self.key = key
        return True


@pytest.fixture
def scenario(make_scenario, in_memory, monkeypatch):
    """A run after changes, that can be begun in a thread."""
    # The run that takes over is begun in a worker's thread, where Python lets no one set signals.
    monkeypatch.setattr("reprocess.run.signal", SimpleNamespace(SIGTERM=0, signal=lambda *_: None))
    return make_scenario("a run after changes", str(in_memory / "store"))


@pytest.mark.parametrize("after", [False, True])
def test_a_driver_taken_over_while_it_lays_years_out_leaves_nothing_wrong(
    after, scenario, chaos_all
):
    lens = scenario.tiny.document["camera"][0]["lens"]
    changed = (lens, "north_deg", 40.0, 0.0)
    orphans = 0
    for moment, outcome in taken_over(scenario, changed, LayingOut, 1 if chaos_all else 4, after):
        orphans += 1
        assert outcome.code == 1, moment.key
        assert "another run has taken over" in outcome.err
        left = scenario.keys()
        marks = [key for key in left if "layout" in key and "f" * 48 in key]
        assert len(marks) == 1, moment.key
    assert orphans > 1


def test_a_run_taken_over_at_a_write_that_differs_leaves_nothing_wrong(scenario):
    """The chunks that the two runs make differently; of any write, a sample may miss them."""
    codes = exit_codes(scenario, 1, False, "detections/fcn/", "/fraction/")
    assert set(codes) == {1}


@pytest.mark.parametrize("after", [False, True])
def test_a_run_taken_over_at_any_write_leaves_nothing_wrong(after, scenario, chaos_all):
    codes = exit_codes(scenario, 1 if chaos_all else 19, after)
    assert codes.count(1) > 1


def exit_codes(scenario, step, after, *texts):
    """Take a run over at every `step`-th write of a day's work on a key that holds some texts."""
    changed = (scenario.tiny.document["detectors"]["fcn"], "threshold", 0.6, 0.5)
    codes = []
    for _, outcome in taken_over(scenario, changed, Moment, step, after, *texts):
        assert outcome.code in (0, 1), outcome.err
        codes.append(outcome.code)
    return codes


def taken_over(scenario, changed, moment_class, step, after, *texts):
    """Take a run over at every `step`-th moment; yields moment and outcome of each orphan.

    `changed` is a section of the campaign, a key, the orphan's value and that of the run that takes
    over. After the caller has looked, one more run must leave what is wanted.
    """
    section, key, orphans, final = changed
    codes = []

    def take_over():
        section[key] = final
        outcome = scenario.run()
        assert outcome.code == 0, outcome.err

    for number in itertools.count(step=step):
        scenario.fill()
        section[key] = orphans
        moment = moment_class(number, after, take_over, *texts)
        outcome = scenario.run(wrap=lambda objects: TakenOver(objects, moment))  # noqa: B023
        if moment.key is None:
            break
        codes.append(outcome.code)
        yield moment, outcome
        scenario.check_next_run(f"taken over at {moment.key}")
    logging.getLogger("chaos").info(
        "%s: taken over %s %d of %d writes; the orphan ended with 1 in %d, 0 in %d",
        moment_class.__name__, "after" if after else "before", len(codes), number,
        codes.count(1), codes.count(0),
    )  # fmt: skip
