"""The log of a run: lines of JSON in segments, kept without ever stopping the run."""

import errno
import json
import logging

import pytest

from reprocess import runlog
from reprocess.errors import ConfigurationError
from reprocess.runlog import PROGRESS, RunLog, read_log
from reprocess.stores.objects import MemoryObjects

RUN = "20260101T000000Z-abcdef"


def test_it_holds_events_and_the_lines_of_the_package_but_no_repeated_ones(caplog):
    caplog.set_level(logging.INFO, "reprocess")
    objects = MemoryObjects()
    with RunLog(objects, RUN) as log:
        log.add("day done", day="2021-06-01", frames=3)
        logging.getLogger("reprocess").info("cube: %d counted", 2021)
        logging.getLogger(PROGRESS).info("2021-06-01 done")
        logging.getLogger("elsewhere").warning("not ours")
    logging.getLogger("reprocess").info("after the run")

    events = list(read_log(objects, RUN))
    assert [(e["event"], e["level"], e["run"]) for e in events] == [
        ("day done", "info", RUN),
        ("message", "info", RUN),
    ]
    assert events[0]["day"] == "2021-06-01"
    assert events[1]["message"] == "cube: 2021 counted"


def test_an_error_that_ends_the_run_is_its_last_line():
    objects = MemoryObjects()
    with pytest.raises(ValueError, match="gone"), RunLog(objects, RUN):
        raise ValueError("gone")
    assert [(e["event"], e["level"], e["error"]) for e in read_log(objects, RUN)] == [
        ("run stopped", "error", "ValueError: gone")
    ]


def test_nothing_is_written_before_its_time_and_segments_are_not_written_twice(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(runlog.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(runlog, "SEGMENT_BYTES", 2000)
    objects = MemoryObjects()
    with RunLog(objects, RUN) as log:
        for number in range(100):
            log.add("tick", number=number)
            if number == 50:
                assert objects.data == {}
            now[0] += 0.18
        first = objects.data[f"runs/{RUN}/log/0001.jsonl"]
        now[0] += 11
        log.add("tick", number=100)
    assert len(objects.data) == 2
    assert objects.data[f"runs/{RUN}/log/0001.jsonl"] == first
    assert [event["number"] for event in read_log(objects, RUN)] == list(range(101))


@pytest.mark.parametrize(
    "refusal", [OSError(errno.ENOSPC, "No space left"), ConfigurationError("HTTP 403 ExpiredToken")]
)
def test_a_log_that_cannot_be_kept_is_said_once_and_stops_nothing(caplog, monkeypatch, refusal):
    class Refuses(MemoryObjects):
        def write(self, _key, _data):
            raise refusal

    monkeypatch.setattr(runlog, "KEEP_EVERY_S", -1.0)
    with RunLog(Refuses(), RUN) as log:
        for number in range(3):
            log.add("tick", number=number)
    said = [r.getMessage() for r in caplog.records if "cannot be kept" in r.getMessage()]
    assert len(said) == 1
    assert str(refusal) in said[0]


def test_a_torn_line_is_left_out():
    objects = MemoryObjects()
    whole = json.dumps({"event": "tick"}).encode()
    objects.write(f"runs/{RUN}/log/0001.jsonl", whole + b"\n" + whole[:-4])
    assert list(read_log(objects, RUN)) == [{"event": "tick"}]
