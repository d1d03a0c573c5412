"""Calendar of an archive: frames of each day by ledger column, and the state of its blocks."""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from reprocess.archive.inputs import Column
from reprocess.errors import ConfigurationError
from reprocess.plot import captions
from reprocess.plot.archive_state import State, YearState, read_years
from reprocess.plot.page import (
    MARGIN_MM,
    NOTE_PT,
    PAGE_MM,
    TEXT_PT,
    TITLE_PT,
    Line,
    Page,
    head_mm,
    message_figure,
    save_figure,
    wrap,
)
from reprocess.plot.stored import Stored
from reprocess.stores.layout import days_in_year

YEARS_MAX = 30
COLUMN_COLOURS = {
    "ok": "#0072b2", "unreadable": "#d55e00", "duplicate": "#56b4e9", "surplus": "#009e73",
    "outside": "#bdbdbd", "failed": "#000000", "not_yet_run": "#f0e442",
}  # fmt: skip
STATE_COLOURS = {
    State.NONE: "#ffffff", State.DONE: "#009e73", State.STALE: "#e69f00",
    State.FAILED: "#000000", State.MISSING: "#cc79a7",
}  # fmt: skip
_STATE_NAMES = {
    State.DONE: "done", State.STALE: "stale", State.FAILED: "failed",
    State.MISSING: "not made", State.NONE: "no frames",
}  # fmt: skip
_LINE_MM, _KEY_LEFT_MM = 3.4, 14.5
_LEFT_MM, _RIGHT_MM, _BARS_MM, _ROW_MM, _CAPTION_MM, _GAP_MM = 33.0, 4.0, 20.0, 2.7, 4.5, 7.0


def draw_coverage(store: Stored | str, path: str | Path, *, dpi: int = 300, **options: Any) -> Path:
    """Write `coverage_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(coverage_figure(store, **options), path, dpi)


def coverage_figure(
    store: Stored | str,
    *,
    years: Iterable[int] | None = None,
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw a panel for each year: frames a day by ledger column above, blocks below.

    Parameters
    ----------
    store : URL, or a `Stored`
    years : default all of which anything is known
    title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        If there are more than 30 years, or nothing is known of one that is asked for.

    Notes
    -----
    See `read_years` for what is done, stale and failed. Of a failed day no
    record says how many frames it has: it is marked at the foot of the bars, and the
    year's caption has the number that the last run counted.
    """
    stored = Stored(store) if isinstance(store, str) else store
    found = read_years(stored, years)
    if len(found) > YEARS_MAX:
        raise ConfigurationError(
            f"--years: found {len(found)} years, expected at most {YEARS_MAX} in one picture"
        )
    site, simulated = _site(stored)
    known = [one for one in found if one.frames or one.failures or any(one.blocks.values())]
    name = title or " · ".join(p for p in ("Coverage", site, _years(known or found)) if p)
    if not known:
        asked = _years(found)
        message = f"Nothing is committed of {asked}." if asked else "Nothing is committed."
        return message_figure(name, f"{message} Store: {stored.url}", width_mm=width_mm,
                              simulated=simulated)  # fmt: skip
    rows = list(dict.fromkeys(row for one in found for row in one.blocks))
    head = [
        Line(name, TITLE_PT, "bold"),
        Line("frames of each UTC day by ledger column (bars); blocks of each stage (rows)"),
    ]
    below_mm = head_mm(head, width_mm, simulated) + 1
    captions_of = [wrap(_caption(one), (width_mm - 2 * MARGIN_MM) / 1.08, TEXT_PT) for one in found]
    year_mm = _CAPTION_MM + _BARS_MM + 1 + _ROW_MM * len(rows) + _GAP_MM
    text_mm = sum(_LINE_MM * (len(lines) - 1) for lines in captions_of)
    key = _key_lines(found, width_mm)
    key_mm = 3.7 * len(key) + 1
    page = Page(width_mm, below_mm + len(found) * year_mm + text_mm + key_mm)
    page.head(head, simulated)
    width = width_mm - _LEFT_MM - _RIGHT_MM
    top = max((sum(f.values()) for one in found for f in one.frames.values()), default=1)
    y_mm = below_mm
    for one, lines in zip(found, captions_of, strict=True):
        for text in lines:
            page.text(MARGIN_MM, y_mm + 2, text, ha="left", size=TEXT_PT, weight="bold")
            y_mm += _LINE_MM
        y_mm += _CAPTION_MM - _LINE_MM
        _bars(page.axes(_LEFT_MM, y_mm, width, _BARS_MM), one, top)
        _strips(page, one, rows, y_mm + _BARS_MM + 1, width)
        y_mm += _BARS_MM + 1 + _ROW_MM * len(rows) + _GAP_MM
    for i, (name, items) in enumerate(key):
        _swatches(page, name, items, page.height_mm - key_mm + 3.7 * i + 1.2)
    return page.figure


def _bars(axes: Axes, one: YearState, top: int) -> None:
    _plain(axes, one.year)
    base = np.zeros(days_in_year(one.year))
    for column in COLUMN_COLOURS:
        heights = np.zeros_like(base)
        for day, ledger in one.frames.items():
            heights[_index(day)] = ledger.get(column, 0)
        # One outline, not moved to whole pixels: bars would be one pixel wide or two by their
        # date, or have seams between them.
        axes.stairs(
            base + heights, np.arange(len(base) + 1), baseline=base, fill=True, linewidth=0,
            color=COLUMN_COLOURS[column], snap=False,
        )  # fmt: skip
        base += heights
    lost = [_index(day) + 0.5 for day in one.failures if day not in one.frames]
    axes.plot(lost, [0.06 * top] * len(lost), "x", color="black", ms=3, mew=0.7, clip_on=False)
    axes.set_ylim(0, 1.05 * top)
    axes.set_ylabel("frames a day", size=NOTE_PT + 0.5, labelpad=2)


def _strips(
    page: Page, one: YearState, rows: Sequence[tuple[str, str]], y_mm: float, width_mm: float
) -> None:
    values: NDArray[np.int64] = np.zeros((len(rows), days_in_year(one.year)), np.int64)
    for i, row in enumerate(rows):
        for day, state in one.blocks.get(row, {}).items():
            values[i, _index(day)] = state
        text = row[0] if not row[1] else f"{row[1]} {row[0]}"
        middle = y_mm + _ROW_MM * (i + 0.5)
        page.text(_LEFT_MM - 1.5, middle, text, ha="right", size=NOTE_PT)
    axes = page.axes(_LEFT_MM, y_mm, width_mm, _ROW_MM * len(rows))
    _plain(axes, one.year)
    axes.set_yticks([])
    colours = np.array([to_rgb(STATE_COLOURS[state]) for state in State])
    # Colours are mixed where a day ends within a pixel, as the bars' are, but not states.
    axes.imshow(
        colours[values], extent=(0, values.shape[1], len(rows), 0), aspect="auto",
        interpolation="antialiased",
    )  # fmt: skip
    for i in range(1, len(rows)):
        axes.axhline(i, color="white", lw=0.8)
    starts = _month_starts(one.year)
    axes.set_xticks([s + 15 for s in starts])
    letters = 1 if width_mm < 100 else 3
    axes.set_xticklabels([calendar.month_abbr[m][:letters] for m in range(1, 13)])
    axes.tick_params(axis="x", length=0, labelsize=NOTE_PT + 0.5, pad=1)


def _plain(axes: Axes, year: int) -> None:
    axes.set_xlim(0, days_in_year(year))
    axes.set_xticks([])
    for start in _month_starts(year)[1:]:
        axes.axvline(start, color="#d0d0d0", lw=0.4, zorder=0)
    axes.tick_params(labelsize=NOTE_PT, length=2, width=0.5, pad=1)
    for spine in axes.spines.values():
        spine.set_linewidth(0.4)


_Items = list[tuple[str, str]]


def _key_lines(found: Sequence[YearState], width_mm: float) -> list[tuple[str, _Items]]:
    """Swatches of the columns and states that occur, in lines that fit the page."""
    used = Counter(column for one in found for f in one.frames.values() for column in f)
    items = [
        (COLUMN_COLOURS[column], str(column).replace("_", " "))
        for column in Column
        if used[column] or column == "ok"
    ]
    states = {s for one in found for row in one.blocks.values() for s in row.values()}
    shown = [s for s in _STATE_NAMES if s in states or s in (State.DONE, State.NONE)]
    marks = [(STATE_COLOURS[state], _STATE_NAMES[state]) for state in shown]
    if any(day not in one.frames for one in found for day in one.failures):
        marks.append(("x", "day failed: its frames are not counted"))
    lines: list[tuple[str, _Items]] = []
    for name, swatches in (("frames:", items), ("blocks:", marks)):
        lines.append((name, []))
        x_mm = _KEY_LEFT_MM
        for colour, text in swatches:
            if lines[-1][1] and x_mm + _swatch_mm(text) > width_mm:
                lines.append(("", []))
                x_mm = _KEY_LEFT_MM
            lines[-1][1].append((colour, text))
            x_mm += _swatch_mm(text)
    return lines


def _swatch_mm(text: str) -> float:
    return 8.0 + 1.45 * len(text)


def _swatches(page: Page, name: str, items: Sequence[tuple[str, str]], y_mm: float) -> None:
    page.text(MARGIN_MM, y_mm, name, ha="left", size=NOTE_PT + 0.5, weight="bold")
    x_mm = _KEY_LEFT_MM
    for colour, text in items:
        axes = page.axes(x_mm, y_mm - 1.2, 3.0, 2.4)
        axes.set_axis_off()
        if colour == "x":
            axes.plot([0.5], [0.5], "x", color="black", ms=3, mew=0.7)
        else:
            axes.add_patch(
                Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor=colour,
                          edgecolor="#808080", lw=0.3)
            )  # fmt: skip
        page.text(x_mm + 4, y_mm, text, ha="left", size=NOTE_PT + 0.5)
        x_mm += _swatch_mm(text)


def _caption(one: YearState) -> str:
    total: Counter[str] = Counter()
    for ledger in one.frames.values():
        total.update(ledger)
    for column in ("failed", "not_yet_run"):
        total[column] += one.last_ledger.get(column, 0)
    n = sum(total.values())
    parts = [
        f"{captions.thousands(total[column])} {column.replace('_', ' ')}"
        for column in COLUMN_COLOURS
        if total[column]
    ]
    days = captions.days(len(one.frames)).replace(" ", " committed ")
    text = f"{one.year} · {captions.thousands(n)} frames on {days}"
    text += f" ({', '.join(parts)})" if parts else ""
    text += f" · {captions.days(len(one.failures))} failed" if one.failures else ""
    cube = {State.NONE: "not published", State.DONE: "up to date", State.STALE: "stale"}
    return f"{text} · cube {cube[one.cube]}"


def _month_starts(year: int) -> list[int]:
    return [_index(date(year, month, 1)) for month in range(1, 13)]


def _index(day: date) -> int:
    return day.timetuple().tm_yday - 1


def _years(found: Sequence[YearState]) -> str:
    return captions.year_ranges(one.year for one in found) if found else ""


def _site(stored: Stored) -> tuple[str, bool]:
    frames = stored.records.read_settings("frames") or {}
    site = str(frames.get("site", {}).get("code", ""))
    return site, captions.is_simulated(frames)
