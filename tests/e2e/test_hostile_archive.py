"""Whatever lies in an archive: every name is counted, with a reason, and nothing hangs."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from odd_files import make_odd

ODD = {
    "newline": "a\nb",
    "terminal": "\x1b[2J\x1b[31mred",
    "quotes": "'\";--<script>alert(1)</script>",
    "shell": "$(touch owned)`touch owned`&&touch owned",
    "unicode": "極光☃\u202egnp",
    "space": "  two  spaces ",
    "percent": "%Y%s%n{0}{{7*7}}",
    "dots": "..",
    "long": "x" * 200,
}


@pytest.fixture
def day(tiny):
    """A tiny campaign of one day of four good frames."""
    tiny.document["years"] = [2021]
    tiny.put_days("2021-12-31")
    return tiny


def ledger(outcome):
    return outcome.report["years"]["2021"]["ledger"]


def adds_up(outcome):
    entry = outcome.report["years"]["2021"]
    return sum(entry["ledger"].values()) == entry["frames_catalogued"]


@pytest.mark.timeout(120)
def test_what_is_no_plain_file_is_unreadable_and_the_others_are_done(day):
    kinds = ("pipe", "device", "circle", "nowhere", "huge", "socket")
    times = [f"1{hour}:00" for hour in range(2, 8)]
    for time, kind in zip(times, kinds, strict=True):
        make_odd(day.path("2021-12-31", time), kind)

    outcome = day.run()

    assert outcome.code == 0, outcome.err + outcome.out
    assert ledger(outcome) == {"ok": 4, "unreadable": 6}
    for says in ("a named pipe", "a device", "Too many levels", "No such file", "1099511627776"):
        assert says in outcome.out, says
    assert day.run().done == 0
    day.check_identity()


def test_a_directory_named_like_a_frame_is_listed(day):
    day.path("2021-12-31", "12:00").mkdir()

    outcome = day.run()

    assert outcome.code == 0
    assert ledger(outcome) == {"ok": 4}
    assert outcome.report["archive"]["not_frames"] == 1
    assert "20211231_120000.npy: is a directory" in outcome.out


@pytest.mark.timeout(60)
def test_links_in_a_circle_and_out_of_the_archive(day):
    """A circle is listed once; a link elsewhere is the archive's own business, and is followed."""
    folder = day.path("2021-12-31", "00:00").parent
    (folder / "again").symlink_to(folder)
    elsewhere = day.root / "elsewhere"
    elsewhere.mkdir()
    day.path("2021-12-31", "23:50").rename(elsewhere / "frame")
    day.path("2021-12-31", "23:50").symlink_to(elsewhere / "frame")

    outcome = day.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"ok": 4}
    assert "links back to a directory it is in" in outcome.out


def test_odd_names_are_frames_like_others_and_are_printed_harmlessly(day):
    for hour, text in enumerate(ODD.values(), 10):
        day.put("2021-12-31", f"{hour}:00", b"no image %d" % hour, f"_{text.replace('/', '|')}")
    stray = day.path("2021-12-31", "00:00").parent
    (stray / "stray\n\x1b[2J.txt").write_text("x")
    os.close(os.open(os.fsencode(stray) + b"/20211231_200000\xff.npy", os.O_CREAT))

    outcome = day.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"ok": 4, "unreadable": len(ODD)}
    assert outcome.report["archive"]["not_frames"] == 2
    assert "\x1b" not in outcome.out + outcome.err
    assert "stray\\n\\x1b[2J.txt" in outcome.out
    assert "the name is not UTF-8" in outcome.out
    assert not list(day.root.parent.rglob("owned"))
    day.check_identity()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("archive.pattern=../%Y%m%d_%H%M%S.npy", "stays inside the archive"),
        ("archive.pattern=%Y/../../%Y%m%d_%H%M%S.npy", "stays inside the archive"),
        ("archive.reader=os:system", "archive.reader"),
        ("archive.url=nosuch://host/x", "nosuch"),
        ("site.code=../../etc", "site.code"),
        ('site.code="A\\n"', "site.code"),
        ("site.code=<b>", "site.code"),
        ("name=../../etc/passwd", "name"),
        ('name="a\\nb"', "name"),
        ("name=$(touch owned)", "name"),
        ("detectors.frames={kind: difference}", "labels other than the stages' names"),
        ("detectors.cube={kind: difference}", "labels other than the stages' names"),
        ('detectors={"../x": {kind: difference}}', "labels of a-z"),
        ('detectors={"a\\n": {kind: difference}}', "labels of a-z"),
        ("detectors={A: {kind: difference}}", "labels of a-z"),
        ("detectors.fcn.weights=package:../../secret", "not shipped"),
        ("detectors.fcn.weights=/dev/zero", "no such file"),
        ("camera.0.mask=/dev/zero", "is no plain file"),
        ("camera.0.mask=/etc/passwd", "is not an image"),
    ],
)
@pytest.mark.timeout(60)
def test_a_setting_that_climbs_or_injects_is_refused(day, setting, says):
    if setting.startswith("camera.0."):
        day.document["camera"][0]["mask"] = setting.partition("=")[2]
        outcome = day.run()
    else:
        outcome = day.run("--set", setting)

    assert outcome.code == 2, outcome.err
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert not day.store.exists()
    assert not list(day.root.rglob("owned"))


SCAN = """
import json, resource, sys, time
from reprocess.archive.catalogue import scan
from reprocess.campaign import Archive

archive = Archive(url=sys.argv[1], pattern="%Y%m%d_%H%M%S_*.jpg")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = scan(archive, [2021], ())
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([found.n_files, sum(map(len, found.days.values())), len(found.ignored), grown]))
"""


@pytest.mark.timeout(900)
def test_very_many_files_in_one_directory(tmp_path):
    """Memory by the file. A million with REPROCESS_CHAOS=all, which takes minutes to delete."""
    n = 1_000_000 if os.environ.get("REPROCESS_CHAOS") == "all" else 100_000
    for index in range(n):
        taken = datetime(2021, 1, 1, tzinfo=UTC) + timedelta(seconds=17 * index)
        name = taken.strftime("%Y%m%d_%H%M%S")
        os.close(os.open(f"{tmp_path}/{name}_{'n' * 40}.jpg", os.O_CREAT | os.O_WRONLY))

    done = subprocess.run(
        [sys.executable, "-c", SCAN, str(tmp_path)], capture_output=True, text=True, check=True
    )

    files, frames, ignored, grown_kb = json.loads(done.stdout)
    assert (files, frames, ignored) == (n, n, 0)
    assert grown_kb < n * 1024 / 1000, grown_kb
    shutil.rmtree(tmp_path)  # else a later test run does
