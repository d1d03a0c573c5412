"""A year of days as squares: rows are months, columns days of the month."""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass

from reprocess.page.state import DayState, YearState

STEP, SIDE = 14, 12
LEFT, TOP = 34, 16
WIDTH, HEIGHT = LEFT + 31 * STEP, TOP + 12 * STEP
LEVELS = 4
"""Shades for the frames of a day, by quarters of the most that any day has."""

UNREADABLE_MARKED = 0.01
"""Share of a day's frames above which its square is marked; a few bad frames are everyday."""


@dataclass(frozen=True)
class Square:
    """One day: its place, a class that the page's style colours, and what it says."""

    x: int
    y: int
    style: str
    title: str
    marked: bool


@dataclass(frozen=True)
class YearCalendar:
    """The squares of one year, and the year in words for who cannot see them."""

    year: int
    squares: tuple[Square, ...]
    words: str


def most_frames(years: Iterable[YearState]) -> int:
    """The most good frames that any day has: the darkest shade."""
    return max((_ok(day) for year in years for day in year.days), default=0)


def draw_year(year: YearState, most: int) -> YearCalendar:
    """Place a year's days.

    Parameters
    ----------
    most : `most_frames` of all years on the page, so that their shades compare
    """
    known = {day.day: day for day in year.days}
    squares = []
    for month in range(1, 13):
        for number in range(1, calendar.monthrange(year.year, month)[1] + 1):
            name = f"{year.year:04d}-{month:02d}-{number:02d}"
            x, y = LEFT + (number - 1) * STEP, TOP + (month - 1) * STEP
            squares.append(_square(x, y, name, known.get(name), most))
    count = dict.fromkeys(("done", "partly", "failed", "not run"), 0)
    for day in year.days:
        count[day.state] += 1
    said = (f"{n} {'day' if n == 1 else 'days'} {state}" for state, n in count.items() if n)
    words = ", ".join(said) or "no day"
    return YearCalendar(year.year, tuple(squares), f"{year.year}: {words}")


def _square(x: int, y: int, name: str, day: DayState | None, most: int) -> Square:
    if day is None:
        return Square(x, y, "none", f"{name}: no frame in the archive", marked=False)
    if day.ledger is not None:
        frames = ", ".join(
            f"{n} {column.replace('_', ' ')}" for column, n in day.ledger.items() if n
        )
    elif day.n_frames is not None:
        frames = f"{day.n_frames} frames"
    else:
        frames = "frames not counted yet"
    unreadable = (day.ledger or {}).get("unreadable", 0)
    marked = unreadable > UNREADABLE_MARKED * (day.n_frames or 0)
    if day.state in ("failed", "not run"):
        return Square(x, y, day.state.replace(" ", "-"), f"{name}: {day.state}; {frames}", marked)
    style = f"level-{_level(day, most)}" + (" partly" if day.state == "partly" else "")
    return Square(x, y, style, f"{name}: {day.state}; {frames}", marked)


def _level(day: DayState, most: int) -> int:
    """0 without a good frame, else 1 to `LEVELS`."""
    ok = _ok(day)
    return 0 if not ok else 1 + min(LEVELS - 1, LEVELS * ok // (most + 1))


def _ok(day: DayState) -> int:
    return (day.ledger or {}).get("ok", 0)
