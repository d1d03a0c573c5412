"""The calendar: every day of the year once, its state in its style and its words."""

from reprocess.page.calendar import draw_year, most_frames
from reprocess.page.state import DayState, YearState


def year_of(number, *days):
    return YearState(
        year=number, in_run=True, ledger={}, catalogued=0, days=days, blocks={}, counted=0,
        stale=0, fingerprint=None, digest="",
    )  # fmt: skip


def test_every_day_has_one_square_in_its_place():
    drawn = draw_year(year_of(2024), 0)
    assert len(drawn.squares) == 366
    assert len({(square.x, square.y) for square in drawn.squares}) == 366
    assert {square.style for square in drawn.squares} == {"none"}
    assert len(draw_year(year_of(2023), 0).squares) == 365


def test_shades_go_by_good_frames_of_the_best_day_of_all_years():
    days = [DayState(f"2021-06-{n + 1:02d}", "done", {"ok": 25 * n}, 25 * n) for n in range(5)]
    year = year_of(2021, *days)
    best = most_frames([year, year_of(2022, DayState("2022-01-01", "done", {"ok": 100}, 100))])
    assert best == 100
    drawn = {s.title[:10]: s for s in draw_year(year, best).squares}
    assert [drawn[day.day].style for day in days] == [f"level-{n}" for n in (0, 1, 2, 3, 4)]


def test_what_is_not_done_says_so_whatever_its_frames():
    year = year_of(
        2021,
        DayState("2021-01-01", "failed", None, None),
        DayState("2021-01-02", "not run", None, 7),
        DayState("2021-01-03", "partly", {"ok": 9, "unreadable": 1}, 10),
        DayState("2021-01-04", "done", None, None),
    )
    drawn = draw_year(year, 9)
    assert [square.style for square in drawn.squares[:5]] == [
        "failed", "not-run", "level-4 partly", "level-0", "none",
    ]  # fmt: skip
    assert drawn.squares[2].marked
    assert not any(square.marked for square in drawn.squares[:2])
    assert drawn.squares[2].title == "2021-01-03: partly; 9 ok, 1 unreadable"
    assert drawn.squares[1].title == "2021-01-02: not run; 7 frames"
    assert drawn.words == "2021: 1 day done, 1 day partly, 1 day failed, 1 day not run"


def test_only_a_share_of_unreadable_frames_marks_a_day():
    few = DayState("2021-01-01", "done", {"ok": 990, "unreadable": 10}, 1000)
    more = DayState("2021-01-02", "done", {"ok": 989, "unreadable": 11}, 1000)
    drawn = draw_year(year_of(2021, few, more), 990)
    assert [square.marked for square in drawn.squares[:2]] == [False, True]
    assert "10 unreadable" in drawn.squares[0].title
