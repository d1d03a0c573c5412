"""The page that a run leaves: what it says after each kind of run, and from the stores alone."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import zarr

from reprocess.cli import main
from reprocess.cube.open import open_cube
from reprocess.detectors.detector import EvidenceStatus
from reprocess.errors import ClusterError, StoreError
from reprocess.history import list_runs
from reprocess.page.account import read_accounts
from reprocess.page.write import _status, write_report
from reprocess.plot.captions import limits
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Records
from reprocess.stores.sealed import seal, unseal

DAYS = ("2021-12-31", "2022-01-01")


class Page(HTMLParser):
    """Elements, visible text by section, and what a page must not have."""

    def __init__(self, text):
        super().__init__()
        self.source = text
        self.elements = []
        self.sections = {"": ""}
        self._section = ""
        self._hidden = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "section":
            self._section = attributes["id"]
            self.sections[self._section] = ""
        self._hidden += tag == "style"

    def handle_endtag(self, tag):
        self._hidden -= tag == "style"
        self.sections[self._section] += " " * (tag in ("td", "th", "li", "title"))
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        if not self._hidden:
            self.sections[self._section] += data

    def section(self, name=""):
        """A section's text, white space made plain and gone from within numbers."""
        return " ".join(self.sections[name].replace("\N{NARROW NO-BREAK SPACE}", "").split())

    @property
    def status(self):
        return re.search(r'class="status \w+">([^<]*)<', self.source)[1]

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tiny, outcome=None):
    """The page of a run, by default the last."""
    run = outcome.report["run"] if outcome else list_runs(open_objects(str(tiny.store)))[-1]
    return Page((tiny.store / "runs" / run / "report.html").read_text())


def check_harmless(page):
    """Nothing is fetched and nothing runs, whatever the names in it."""
    allowed = {"charset", "http-equiv", "content", "name", "lang"}
    assert [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "base")] == []
    for _tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data", "srcset"):
            value = attributes.get(name, "#")
            assert value.startswith(("data:", "#")), value
    assert {name for attributes in page.of("meta") for name in attributes} <= allowed
    assert "url(" not in page.source
    assert "@import" not in page.source


def check_readable(page):
    """Every picture has words, every table names its columns and rows."""
    assert [image for image in page.of("img") if not image.get("alt")] == []
    assert [header for header in page.of("th") if header.get("scope") not in ("col", "row")] == []
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in page.of("svg"))
    anchors = {a["id"] for _, a in page.elements if "id" in a}
    assert {a["href"][1:] for a in page.of("a")} <= anchors


@pytest.fixture(scope="module")
def done_once(tmp_path_factory, make_tiny):
    """Two days with two detectors, and three bad frames; run once with a page."""
    tiny = make_tiny(tmp_path_factory.mktemp("page") / "tiny")
    tiny.put_days(*DAYS)
    tiny.put("2021-12-31", "12:00", b"")
    tiny.put("2021-12-31", "12:10", tiny.path("2021-12-31", "00:00").read_bytes()[:-50])
    tiny.put("2021-12-31", "12:20", small_frame())
    outcome = tiny.run(page=True)
    assert outcome.code == 0, outcome.err
    return tiny, outcome


def small_frame():
    """A good image of another camera's size: unreadable here, and yet it can be shown."""
    import io

    stream = io.BytesIO()
    np.save(stream, np.full((8, 16, 3), 90, np.uint8))
    return stream.getvalue()


@pytest.fixture
def done(tmp_path, done_once):
    """A copy of it, to be changed."""
    tiny, _ = done_once
    shutil.copytree(tiny.root, tmp_path / "tiny")
    copy = object.__new__(type(tiny))
    copy.__dict__.update(tiny.__dict__)
    copy.root = tmp_path / "tiny"
    copy.document = json.loads(json.dumps(tiny.document).replace(str(tiny.root), str(copy.root)))
    for path in copy.store.glob("runs/*/run.json"):
        document = json.loads(path.read_text().replace(str(tiny.root), str(copy.root)))
        path.write_bytes(seal(document))
    return copy


def test_it_says_what_ran_and_what_came_of_it(done_once):
    tiny, outcome = done_once
    page = page_of(tiny, outcome)

    check_harmless(page)
    check_readable(page)
    assert outcome.report["report"] in outcome.out
    assert page.status == "Complete: 2 days done, 0 were up to date."
    assert "2021 7 4 3 0 0 0 0 0 yes" in page.section("ledger")
    assert "2022 4 4 0 0 0 0 0 0 yes" in page.section("ledger")
    assert "2021: 1 day done" in page.section("coverage")
    assert "2021-12-31: done; 4 ok, 3 unreadable" in page.section("coverage")
    assert page.section("trouble").endswith("None.")
    assert "fcn against diff, by magnetic local time" in page.section("comparison")
    assert "MLT UTC days cell-frames observed aurora, diff" in page.section("comparison")
    assert "elevation cell-frames observed aurora, diff" in page.section("comparison")
    assert "2021-12-31" in page.section("slowest")
    record = next((tiny.store / "records/2022").glob("cube/2022.*.json")).name.split(".")[1]
    assert f"{record[:24]} {record[24:]}" in page.section("digests")
    settings = unseal((tiny.store / "records/settings/fcn.json").read_bytes())["settings"]
    weights = settings["weights"]
    assert weights in page.section("digests")
    assert "px_per_deg: 0.19" in page.section("settings")


@pytest.mark.parametrize(
    ("done", "skipped", "said"),
    [
        (1, 0, "Complete: 1 day done, 0 were up to date."),
        (2, 1, "Complete: 2 days done, 1 was up to date."),
        (0, 1, "Complete: nothing to do, 1 day was up to date."),
    ],
)
def test_one_day_is_one_day(done, skipped, said):
    run = {"tasks": {"done": done, "skipped": skipped}, "catalogue": {"frames": {"2021": 1}}}
    assert _status(run) == ("good", said)


def test_it_accounts_from_decoded_frames_to_the_denominator(done_once):
    tiny, outcome = done_once
    text = page_of(tiny, outcome).section("occurrence")
    statuses = {
        label: np.concatenate(
            [zarr.open_array(str(path / "status"), mode="r")[:] for path in years.glob("*.zarr")]
        )
        for label in ("diff", "fcn")
        for years in [tiny.store / "detections" / label]
    }
    stored = open_cube(tiny.store)
    cube = stored["counts"].sum(("time", "mlt")).max("cell")
    for label, status in statuses.items():
        n = {member: int((status == member).sum()) for member in EvidenceStatus}
        counted, common = (
            int(cube.sel(detector=label, outcome=name)) for name in ("observed", "observed_common")
        )
        lost, observed = n[EvidenceStatus.NO_PARTNER], n[EvidenceStatus.OBSERVED]
        assert lost + observed == 8  # the ledger's column ok
        assert f"{label} 8 {lost} {observed} {counted} {common} " in text
    assert "detector frames ok no partner observed counted counted, all compared" in text
    assert f"({' · '.join(limits(stored.attrs))})" in text


def test_the_records_of_a_year_are_read_for_one_page_only(done, monkeypatch):
    objects = open_objects(str(done.store))
    listing = Records(objects).list()
    shutil.rmtree(done.store / "runs/accounts")
    first = read_accounts(objects, listing, ["diff", "fcn"])
    read = []
    monkeypatch.setattr(Records, "read", lambda _self, *block: read.append(block))
    assert read_accounts(objects, listing, ["diff", "fcn"]) == first
    assert read == []


def test_an_account_names_the_record_that_it_cannot_read(done):
    shutil.rmtree(done.store / "runs/accounts")
    (record,) = (done.store / "records/2021/detections/diff").iterdir()
    record.write_bytes(b"{}")
    text = Page(Path(write_report(str(done.store))).read_text()).section("occurrence")
    assert "Not in this table: record of detections diff 2021-12-31" in text
    assert not (done.store / "runs/accounts/diff-2021.json").exists()


def test_its_numbers_are_those_of_the_cube(done_once):
    tiny, outcome = done_once
    text = page_of(tiny, outcome).section("comparison")
    counts = open_cube(tiny.store)["counts"].sum(("time", "mlt", "cell"))
    observed = int(counts.sel(outcome="observed_common", detector="fcn"))
    fcn, difference = (
        int(counts.sel(outcome="aurora_common", detector=label)) for label in ("fcn", "diff")
    )
    row = (
        f"{observed} {difference} {100 * difference / observed:.1f} "
        f"{fcn} {100 * fcn / observed:.1f} —"  # seven frames are too few for a factor
    )
    assert f"all — {row}" in text  # by MLT: days do not add up over bins
    assert f"all {row}" in text  # by ring
    assert "not observed" in text


def test_bad_frames_are_shown_as_far_as_they_can_be(done_once):
    tiny, outcome = done_once
    page = page_of(tiny, outcome)
    text = page.section("unreadable")

    assert "3 frames of the committed days cannot be decoded" in text
    assert "20211231_120000.npy empty file (0 bytes) 0 B nothing of it can be decoded" in text
    assert "is 16 x 8 pixels" in text
    shown = [image["alt"] for image in page.of("img") if "can be decoded" in image["alt"]]
    assert len(shown) == 1
    assert "20211231_122000" in shown[0]


def test_it_is_made_again_from_the_stores_alone(done, tmp_path):
    output = tmp_path / "again.html"
    assert main(["report", str(done.store), str(output)]) == 0
    whole = output.read_text()
    shutil.rmtree(done.archive)
    shutil.rmtree(done.store / "frames")

    assert main(["report", str(done.store), str(output)]) == 0

    page = Page(output.read_text())
    assert [image["alt"] for image in page.of("img")] == [i["alt"] for i in Page(whole).of("img")]
    for section in ("ledger", "coverage", "occurrence", "comparison", "digests", "settings"):
        assert page.section(section) == Page(whole).section(section)
    assert "not in reach" in page.section("unreadable")


def test_a_run_with_nothing_to_do_draws_nothing(done, monkeypatch):
    def draw(*_arguments, **_options):
        raise AssertionError("the cube has not changed")

    done.run(page=True)
    monkeypatch.setattr("reprocess.plot.occurrence.draw_occurrence", draw)
    outcome = done.run(page=True)

    page = page_of(done, outcome)
    assert page.status == "Complete: nothing to do, 2 days were up to date."
    assert any("Occurrence maps" in image["alt"] for image in page.of("img"))
    assert "No day was processed." in page.section("slowest")


def test_a_picture_that_cannot_be_drawn_fails_no_run(done, monkeypatch):
    def draw(*_arguments, **_options):
        raise RuntimeError("out of ink")

    monkeypatch.setattr("reprocess.plot.occurrence.draw_occurrence", draw)
    shutil.rmtree(done.store / "runs/pictures")
    outcome = done.run(page=True)

    assert outcome.code == 0
    page = page_of(done, outcome)
    assert "could not be drawn: RuntimeError: out of ink" in page.section("occurrence")
    assert "fcn against diff" in page.section("comparison")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["io", "ctrl-c"])
def test_a_page_that_cannot_be_written_fails_no_run(done, monkeypatch, error):
    def write(*_arguments):
        raise error

    monkeypatch.setattr("reprocess.page.write.write_report", write)
    outcome = done.run(page=True)

    assert outcome.code == 0
    assert outcome.report["report"] is None
    assert "the report was not written" in outcome.err
    assert f"reprocess report {done.store}" in outcome.err


def test_a_failed_day_is_shown_with_its_error(done, frame_bytes, monkeypatch):
    def fail(*_arguments):
        raise ValueError("<b>no such sky</b>")

    done.put("2022-01-01", "00:10", frame_bytes(1))
    monkeypatch.setattr("reprocess.detectors.difference.DifferenceDetector.fractions", fail)
    outcome = done.run(page=True)

    assert outcome.code == 1
    page = page_of(done, outcome)
    check_harmless(page)
    assert page.status.startswith("Incomplete: 1 day failed.")
    assert "2022 4 0 0 0 0 0 4 0 yes" in page.section("ledger")
    assert "2022-01-01: failed" in page.section("coverage")
    trouble = page.section("trouble")
    assert "2022-01-01 ValueError: <b>no such sky</b>" in trouble
    assert f"run {outcome.report['run']}, 2022-01-01, on " in trouble  # where it happened
    assert "in fail raise ValueError" in trouble


def test_an_interrupted_run_says_what_is_left(tiny, monkeypatch):
    from reprocess import execute

    do_task, days = execute.do_task, []

    def stop(task, *arguments, **options):
        if days:
            raise KeyboardInterrupt
        days.append(task.day)
        return do_task(task, *arguments, **options)

    tiny.put_days("2021-12-30", *DAYS)
    monkeypatch.setattr("reprocess.execute.do_task", stop)
    outcome = tiny.run(page=True)

    assert outcome.code == 130
    page = page_of(tiny, outcome)
    check_readable(page)
    assert page.status.startswith("Incomplete: interrupted.")
    assert "2021 8 4 0 0 0 0 0 4 yes" in page.section("ledger")
    assert "2021-12-31: not run; 4 frames" in page.section("coverage")
    assert "No year is counted yet." in page.section("occurrence")
    assert "not counted" in page.section("coverage")


@pytest.mark.parametrize(("error", "code"), [(ClusterError, 3), (StoreError, 1)])
def test_a_run_that_an_error_stops_leaves_its_page(tiny, monkeypatch, error, code):
    def stop(*_arguments):
        raise error("gone")

    tiny.put_days("2021-12-31")
    monkeypatch.setattr("reprocess.job.execute", stop)
    outcome = tiny.run(page=True)

    assert outcome.code == code
    assert "Report: " in outcome.err
    page = page_of(tiny)
    assert page.status == f"Stopped by an error: {error.__name__}: gone"
    assert f"run stopped: {error.__name__}: gone" in page.section("trouble")


def test_a_campaign_that_is_refused_leaves_nothing(tiny):
    tiny.put_days("2021-12-31")
    assert tiny.run("--recompute", "nonsense", page=True).code == 2
    assert not tiny.store.exists()


def test_years_without_frames(tiny):
    tiny.put_days("2021-12-30")
    assert tiny.run("--years", "2021").code == 0
    page = page_of(tiny, tiny.run("--years", "2022", page=True))
    check_readable(page)
    assert page.status == "Complete: the archive holds no frame of these years."
    assert "2022 0 0 0 0 0 — not counted" in page.section("coverage")


def test_one_detector_stands_alone(tiny):
    del tiny.document["detectors"]["fcn"]
    tiny.put_days("2021-12-31")
    page = page_of(tiny, tiny.run(page=True))
    assert "Fewer than two detectors are compared" in page.section("comparison")
    assert "diff, by ring of sky cells" in page.section("comparison")
    assert "against" not in page.section("comparison")


def test_six_detectors_and_six_years(tiny):
    diff = tiny.document["detectors"]["diff"]
    tiny.document["detectors"] |= {f"diff-{n}": {**diff, "threshold_dn": n} for n in range(4)}
    tiny.document["detectors"]["diff-0"]["threshold_dn"] = 0.5
    tiny.document["years"] = list(range(2020, 2026))
    tiny.put_days(*(f"{year}-12-31" for year in range(2020, 2026)), times=("00:00", "00:10"))
    outcome = tiny.run(page=True)
    assert outcome.code == 0, outcome.err

    page = page_of(tiny, outcome)
    check_harmless(page)
    check_readable(page)
    for label in ("fcn", "diff-0", "diff-1", "diff-2", "diff-3"):
        assert f"{label} against diff, by ring" in page.section("comparison")
    for year in range(2020, 2026):
        assert f"{year}: 1 day done" in page.section("coverage")
    assert len(page.source) < 3_000_000


def test_names_are_text_and_never_markup(tiny):
    evil = "<img src=x onerror=alert(1)>"
    tiny.document["site"]["name"] = "</p><script>alert(2)</script>{{ 7 * 7 }}"
    tiny.put_days("2021-12-31")
    tiny.put("2021-12-31", "12:00", b"", suffix=evil)
    (tiny.archive / "<script>alert(3)<").write_bytes(b"")
    page = page_of(tiny, tiny.run(page=True))

    check_harmless(page)
    assert f"120000{evil}.npy" in page.section("unreadable")
    assert "<script>alert(3)<" in page.section("ledger")
    assert "</p><script>alert(2)</script>{{ 7 * 7 }}" in page.section()


def test_credentials_in_a_url_are_left_out(done):
    run = list_runs(open_objects(str(done.store)))[-1]
    path = done.store / f"runs/{run}/run.json"
    document = unseal(path.read_bytes())
    document["campaign"]["archive"]["url"] = "sftp://me:geheim@host/images"
    path.write_bytes(seal(document))
    write_report(str(done.store), run)
    page = page_of(done)
    assert "geheim" not in page.source
    assert "sftp://…@host/images" in page.section("run")


def test_long_lists_are_cut_with_a_count(tiny):
    tiny.document["years"] = [2021]
    tiny.put_days("2021-12-31")
    for minute in range(60, 1300, 10):
        tiny.put("2021-12-31", f"{minute // 60:02}:{minute % 60:02}", b"")
    page = page_of(tiny, tiny.run(page=True))
    text = page.section("unreadable")
    assert text.startswith("Unreadable frames 124 frames")
    assert text.endswith("64 more of 124: in the facts of records/<year>/frames/<day>.*.json.")
    assert text.count("empty file (0 bytes)") == 60


def test_a_held_year_and_a_damaged_block_are_named(done):
    from reprocess.stores.lock import acquire

    chunks = (done.store / "detections/fcn/2021.zarr/fraction/c").rglob("*")
    next(path for path in chunks if path.is_file()).write_bytes(b"not what was committed")
    lock = acquire(open_objects(str(done.store)), "2022", "another-run", lambda _text: None)
    try:
        outcome = done.run("--recompute", "cube", page=True)
    finally:
        lock.release()

    assert outcome.code == 1
    page = page_of(done, outcome)
    assert "1 year held by another run, 1 damaged block" in page.status
    assert "another-run" in page.section("trouble")
    assert "detections fcn 2021-12-31: " in page.section("trouble")
    assert "held: " in page.section("coverage")
    assert "2021-12-31: partly" in page.section("coverage")


def test_a_cube_that_is_behind_its_detections_is_stale(done, monkeypatch):
    def stop(*_arguments):
        raise KeyboardInterrupt

    page = page_of(done, done.run(page=True))
    assert page.section("coverage").count("up to date") == 2
    done.document["detectors"]["diff"]["threshold_dn"] = 7.0
    monkeypatch.setattr("reprocess.job.publish_years", stop)
    outcome = done.run(page=True)

    assert outcome.code == 130
    text = page_of(done, outcome).section("coverage")
    assert text.count("stale: 1 day differs from what the cube counted") == 2


def test_a_store_without_runs_and_a_run_that_is_not_there(done, tmp_path, capsys):
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "expected a store that a run has written to" in capsys.readouterr().err
    assert main(["report", str(done.store), "--run", "20200101T000000Z-abcdef"]) == 2
    assert "expected one of its runs" in capsys.readouterr().err
    assert main(["report", str(done.store), str(tmp_path / "no" / "page.html")]) == 2
    assert "page.html: found no directory" in capsys.readouterr().err


def test_the_log_of_a_run_tells_its_days_and_names_it_on_every_line(done_once):
    tiny, outcome = done_once
    run = outcome.report["run"]
    lines = (tiny.store / f"runs/{run}/log/0001.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert {event["run"] for event in events} == {run}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z", event["time"]) for event in events)
    kinds = [event["event"] for event in events if event["event"] != "message"]
    assert kinds == [
        "run started", "day done", "day done", "year counted", "year counted", "run ended",
    ]  # fmt: skip
    assert events[-1]["complete"] is True
    day = next(event for event in events if event["event"] == "day done")
    assert day["blocks"][0] == "frames 2021-12-31"
    assert day["seconds"]["block"] > 0
