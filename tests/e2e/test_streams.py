"""What is printed never ends the work: readers that go, missing characters, closed streams."""

import os
import subprocess
import sys
import types

import pytest

from reprocess.__main__ import main

RUN = [sys.executable, "-m", "reprocess.run"]


@pytest.fixture
def one_day(tiny):
    del tiny.document["detectors"]["fcn"]
    tiny.document["years"] = [2021]
    tiny.put_days("2021-12-30")
    return [*RUN, str(tiny.file), "--cluster", "serial"]


def report_of(tiny):
    return list(tiny.store.glob("runs/*/report.html"))


def test_a_reader_that_has_gone(tiny, one_day):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(one_day, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert "pipe" not in done.stderr.lower()
    assert report_of(tiny)


def test_streams_that_are_closed(tiny, one_day):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *one_day]
    assert subprocess.run(closed).returncode == 0
    assert report_of(tiny)


def test_characters_that_the_terminal_lacks():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*RUN, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "anonymous \\u2026" in done.stdout


def test_an_interrupt_while_modules_load(monkeypatch, capsys):
    def interrupted(_arguments=None):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "reprocess.cli", types.SimpleNamespace(main=interrupted))
    assert main() == 130
    assert capsys.readouterr().err == "interrupted\n"
