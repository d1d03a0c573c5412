import json
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from picture_comparison import said

from reprocess.campaign import load_campaign
from reprocess.errors import ConfigurationError
from reprocess.plot import coverage
from reprocess.plot.archive_state import State, YearState, read_years
from reprocess.plot.coverage import _bars, _strips, coverage_figure
from reprocess.plot.page import Page
from reprocess.plot.stored import Stored
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Records, day_block

LAST, EVE = date(2021, 12, 31), date(2021, 12, 30)


@pytest.fixture
def copied(drawn_store, tmp_path):
    """A store of its own, to be damaged."""
    shutil.copytree(drawn_store.store, tmp_path / "store")
    return tmp_path / "store"


def _record(store, stage, label, day):
    (path,) = (store / f"records/{day.year}" / stage / label).glob(f"{day}.*.json")
    return path


def test_a_finished_store_is_done_and_its_frames_add_up(drawn_store):
    first, second = read_years(Stored(str(drawn_store.store)))
    assert (first.year, second.year) == (2021, 2022)
    assert first.frames[EVE] == {"ok": 5, "unreadable": 1, "duplicate": 1}
    assert first.frames[LAST] == {"ok": 6}
    assert first.cube is State.DONE
    states = {s for one in (first, second) for row in one.blocks.values() for s in row.values()}
    assert states == {State.DONE}
    assert list(first.blocks) == [
        ("frames", ""), ("evidence", "diff"), ("detections", "diff"),
        ("evidence", "fcn"), ("detections", "fcn"),
    ]  # fmt: skip


def test_a_changed_threshold_makes_the_detections_of_one_label_stale(drawn_store, copied):
    campaign = load_campaign(str(drawn_store.file), ["detectors.fcn.threshold=0.7"])
    for path in (copied / "runs").glob("*/run.json"):
        path.unlink()
    (year, _) = read_years(Stored(str(copied), campaign))
    assert year.blocks["detections", "fcn"] == {EVE: State.STALE, LAST: State.STALE}
    assert year.blocks["detections", "diff"] == {EVE: State.DONE, LAST: State.DONE}
    assert year.blocks["evidence", "fcn"] == {EVE: State.DONE, LAST: State.DONE}


def test_a_parent_made_again_makes_what_is_below_stale(copied):
    records = Records(open_objects(str(copied)))
    block = day_block("evidence", "fcn", LAST)
    found = _record(copied, "evidence", "fcn", LAST).name.split(".")[1]
    again = replace(records.read(block, found), fingerprint="0" * 24 + found[24:])
    records.delete(block, [found])
    records.write(again)
    (year, _) = read_years(Stored(str(copied)))
    assert year.blocks["detections", "fcn"][LAST] is State.STALE
    assert year.blocks["evidence", "diff"][LAST] is State.DONE


def test_missing_interrupted_and_failed_blocks(copied):
    _record(copied, "detections", "fcn", LAST).unlink()
    path = _record(copied, "detections", "diff", LAST)
    shutil.copy(path, path.with_name(f"{LAST}.{'1' * 48}.json"))
    failure = {"day": str(EVE), "blocks": [f"evidence fcn {EVE}"], "error": "OSError: disk full"}
    _record(copied, "evidence", "fcn", EVE).unlink()
    (copied / "failures/2021").mkdir(parents=True)
    (copied / f"failures/2021/{EVE}.json").write_text(json.dumps(failure))
    (copied / "failures/2021/2021-12-29.json").write_text(
        json.dumps({"day": "2021-12-29", "blocks": ["frames 2021-12-29"], "error": "x"})
    )
    (copied / "failures/2021/broken.json").write_text("{")
    (year, _) = read_years(Stored(str(copied)))
    assert year.blocks["detections", "fcn"][LAST] is State.MISSING
    assert year.blocks["detections", "diff"][LAST] is State.STALE
    assert year.blocks["evidence", "fcn"][EVE] is State.FAILED
    assert year.blocks["detections", "fcn"][EVE] is State.STALE
    assert year.blocks["frames", ""][date(2021, 12, 29)] is State.FAILED
    assert year.failures[EVE] == "OSError: disk full"
    assert year.cube is State.STALE
    text = said(coverage_figure(str(copied)))
    assert "2 days failed · cube stale" in text
    for word in ("done", "stale", "failed", "not made", "its frames are not counted"):
        assert word in text


def test_without_any_run_only_the_chain_of_records_is_judged(copied):
    shutil.rmtree(copied / "runs")
    first, _ = read_years(Stored(str(copied)))
    assert {s for row in first.blocks.values() for s in row.values()} == {State.DONE}
    assert first.last_ledger == {}


def test_the_page(drawn_store, check_picture):
    figure = coverage_figure(str(drawn_store.store))
    text = said(figure)
    assert "Coverage · KHO · 2021–2022" in text
    assert (
        "2021 · 13 frames on 2 committed days (11 ok, 1 unreadable, 1 duplicate) · cube up to date"
        in text
    )
    assert "frames a day" in text
    check_picture(figure, "coverage")


def test_nothing_committed_is_a_picture_that_says_so(tmp_path):
    assert "Nothing is committed." in said(coverage_figure(str(tmp_path)))


def test_a_year_of_which_nothing_is_known_is_refused_and_the_known_ones_named(drawn_store):
    with pytest.raises(ConfigurationError, match=r"found 2019, .* holds \(2021, 2022\)"):
        coverage_figure(str(drawn_store.store), years=[2019, 2021])


def test_equal_days_are_drawn_equally_wide_whatever_their_date():
    days = [date(2021, month, day) for month, day in ((5, 14), (6, 10), (6, 24), (7, 9))]
    rows = (("frames", ""),)
    one = YearState(2021, {day: {"ok": 100} for day in days})
    one.blocks = {rows[0]: dict.fromkeys(days, State.DONE)}
    blank = YearState(2021, blocks={rows[0]: {}})

    def ink(year):
        page = Page(175, 40)
        _bars(page.axes(33.0, 3.0, 138.0, 20.0), year, 100)
        _strips(page, year, rows, 25.0, 138.0)
        page.figure.set_dpi(130)
        canvas = FigureCanvasAgg(page.figure)
        canvas.draw()
        return 255.0 - np.asarray(canvas.buffer_rgba())[..., :3].astype(float).min(axis=2)

    drawn = (ink(one) - ink(blank)).clip(min=0)
    middle = round(24 / 40 * drawn.shape[0])
    for part in (drawn[:middle], drawn[middle:]):
        across = part.sum(axis=0)
        starts = [33.0 + 138.0 * (day.timetuple().tm_yday - 1) / 365 for day in days]
        widths = []
        for start in starts:
            pixel = round(start / 25.4 * 130)
            widths.append(across[pixel - 4 : pixel + 7].sum())
        assert max(widths) < 1.15 * min(widths)


def test_more_years_than_a_picture_holds_are_refused(drawn_store, monkeypatch):
    monkeypatch.setattr(coverage, "YEARS_MAX", 1)
    with pytest.raises(ConfigurationError, match="found 2 years, expected at most 1"):
        coverage_figure(str(drawn_store.store))


def test_a_year_of_which_only_the_last_run_knows_is_drawn(drawn_store, monkeypatch):
    stored = Stored(str(drawn_store.store))
    monkeypatch.setattr(type(stored), "runs", [{"ledger": {"2019": {"not_yet_run": 7}}}])
    assert read_years(stored, [2019])[0].last_ledger == {"not_yet_run": 7}
