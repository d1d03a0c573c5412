"""README's first command: the sample campaign, drawn, run, counted, scored and run again."""

import json
import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def run_sample(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "reprocess.run", "--json", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        # As on a machine where matplotlib has never drawn, which it tells at length.
        env={**os.environ, "MPLCONFIGDIR": str(folder / "matplotlib")},
    )


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("newcomer")
    done = run_sample(folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def score(text, method):
    """Precision, recall and F1 of the first row of a method."""
    numbers = re.search(rf"^ *{method} +t +([\d.]+) +([\d.]+) +([\d.]+)", text, re.M)
    assert numbers, text
    return tuple(float(number) for number in numbers.groups())


def recalls(text, aurora):
    """Recall at an equal false-cell rate for the numbered detectors of a row."""
    row = re.search(rf"^ *{re.escape(aurora)}.*?\d+((?: +[\d.]+){{6}})$", text, re.M)
    assert row, text
    return [float(number) for number in row[1].split()]


def test_it_ends_with_a_cube_a_table_and_a_picture(sample):
    folder, done = sample
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["complete"]
    for year in report["years"].values():
        assert sum(year["ledger"].values()) == year["frames_catalogued"] > 0
        assert year["ledger"]["unreadable"] > 0
        assert year["ledger"]["duplicate"] > 0
    assert (folder / "sample-run" / "occurrence.png").stat().st_size > 50_000
    assert "simulated" in (folder / "sample-run" / "score.txt").read_text()


def test_the_log_has_lines_of_ours_alone(sample):
    folder, done = sample
    assert list((folder / "matplotlib").glob("fontlist*"))
    assert "done, day 8 of 8" in done.stderr
    assert "font" not in done.stderr.lower()


def test_fcn_reaches_what_is_claimed_of_it(sample):
    folder, _ = sample
    text = (folder / "sample-run" / "score.txt").read_text()
    fcn, difference, baseline = (
        score(text, method) for method in ("fcn", "difference", "colour and brightness")
    )
    assert fcn[2] >= 0.85
    assert fcn[2] > baseline[2] > difference[2]


def test_difference_misses_what_stands_still_and_finds_what_is_fast(sample):
    folder, _ = sample
    text = (folder / "sample-run" / "score.txt").read_text()
    slow = recalls(text, "slow steady: the lowest of both")
    fast = recalls(text, "fast: the highest drift")
    assert slow[4] >= 2 * slow[3]  # (5) is the FCN; (4) the difference method at its best
    assert fast[3] >= 0.8


def test_the_second_run_does_nothing(sample):
    folder, _ = sample
    again = run_sample(folder)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout.splitlines()[-1])
    assert all(year["done"] == 0 and year["to_do"] == 0 for year in report["years"].values())
