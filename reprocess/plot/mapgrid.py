"""A page of sky maps: rows and columns of maps under one colour scale, with its key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reprocess.plot import captions
from reprocess.plot.page import (
    MARGIN_MM,
    NOT_OBSERVED,
    NOTE_PT,
    TEXT_PT,
    TOO_FEW,
    Line,
    Page,
    hatch,
    head_mm,
    wrap,
)
from reprocess.plot.sky import Sky

UNOBSERVED_NOTE = "not observed"
PANEL_MM = 19.0
"""Smallest map with compass letters and a note below."""
PANEL_MAX_MM = 40.0
_LEFT_MM, _HEAD_MM, _GAP_MM = 8.0, 3.6, 2.0
_NOTE_MM, _NOTE_LINE_MM = 3.2, 2.5
_NAMES_MM = 16.0
_KEY_MM, _BAR_MM = 22.0, 60.0


@dataclass(frozen=True)
class Scale:
    """One colour scale for all maps of a page; `ticks` are values and their labels."""

    norm: Normalize
    colours: Colormap
    ticks: Sequence[tuple[float, str]]
    label: str
    extend: str = "neither"


@dataclass(frozen=True)
class Maps:
    """What is drawn.

    Attributes
    ----------
    rows, columns : names; a column may belong to a band of columns
    values : (row, column, cell) float array, NaN = no colour
    notes : (row, column) texts below the maps, of one line or more
    few : (row, column, cell) bool array, observed too rarely for a value; None = nowhere
    bands : names of equally long runs of columns
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: NDArray[Any]
    notes: Sequence[Sequence[str]]
    few: NDArray[np.bool_] | None = None
    bands: Sequence[str] = ()


def maps_figure(
    maps: Maps,
    sky: Sky,
    scale: Scale,
    head: Sequence[Line],
    explained: Sequence[str],
    *,
    width_mm: float,
    simulated: bool,
    columns: int | None = None,
) -> Figure:
    """Lay a page out: title, maps, key.

    Parameters
    ----------
    explained : lines beside the key, after those of the sky itself
    columns : maps side by side, more wrap into the next block of rows; default as many as
        stay readable, a divisor of their number where there is one
    """
    n_rows, n_columns = len(maps.rows), len(maps.columns)
    room_mm = width_mm - _LEFT_MM - MARGIN_MM
    columns = columns or _columns(n_columns, max(1, int(room_mm / PANEL_MM)))
    panel_mm = min(room_mm / columns, PANEL_MAX_MM)
    small = panel_mm < 0.8 * PANEL_MM
    if small:  # no room for upright names beside the maps
        panel_mm = (room_mm - _NAMES_MM + _LEFT_MM) / columns
    left_mm = width_mm - MARGIN_MM - columns * panel_mm
    left_mm -= 0.0 if small else (room_mm - columns * panel_mm) / 2
    blocks = math.ceil(n_columns / columns)
    band_mm = _HEAD_MM if maps.bands else 0.0
    lines_below = max((note.count("\n") for notes in maps.notes for note in notes), default=0)
    row_mm = panel_mm + _NOTE_MM + _NOTE_LINE_MM * lines_below
    block_mm = band_mm + _HEAD_MM + n_rows * row_mm + _GAP_MM
    below_mm = head_mm(head, width_mm, simulated) + 1.5
    lines = [*sky.words(), *explained]
    with_few = maps.few is not None and bool(maps.few.any())
    foot_mm = _foot_mm(width_mm, lines, with_few)
    page = Page(width_mm, below_mm + blocks * block_mm + foot_mm)
    page.head(head, simulated)
    for column in range(n_columns):
        block, place = divmod(column, columns)
        x_mm = left_mm + place * panel_mm
        top_mm = below_mm + block * block_mm + band_mm
        for i, band in enumerate(maps.bands):
            if column == i * n_columns // len(maps.bands):
                middle = x_mm + panel_mm * n_columns / len(maps.bands) / 2
                page.text(middle, top_mm - 1.2, band, size=TEXT_PT + 1, weight="bold")
        page.text(
            x_mm + panel_mm / 2, top_mm + 1.8, maps.columns[column],
            size=NOTE_PT if small else TEXT_PT, weight="bold",
        )  # fmt: skip
        for row in range(n_rows):
            y_mm = top_mm + _HEAD_MM + row * row_mm
            if place == 0:
                _row_label(page, left_mm, y_mm, panel_mm, maps.rows[row], small)
            axes = page.axes(x_mm, y_mm, panel_mm, panel_mm)
            few = None if maps.few is None else maps.few[row, column]
            _draw(axes, sky, scale, maps.values[row, column], few, small)
            note = maps.notes[row][column]
            if small and note == UNOBSERVED_NOTE:
                note = "–"
            for i, text in enumerate(note.split("\n")):
                page.text(
                    x_mm + panel_mm / 2, y_mm + panel_mm + 0.9 + _NOTE_LINE_MM * i, text,
                    size=5 if small else NOTE_PT,
                )  # fmt: skip
    _foot(page, sky, scale, lines, page.height_mm - foot_mm, with_few)
    return page.figure


def round_ticks(norm: Normalize, values: Sequence[float]) -> list[float]:
    """Of some round numbers those that do not crowd on the scale; both ends stay."""
    low, high = float(norm.vmin or 0.0), float(norm.vmax or 1.0)
    chosen = [high]
    for value in sorted({v for v in values if low < v < high}, reverse=True):
        if norm(chosen[-1]) - norm(value) >= 0.11 and norm(value) >= 0.1:
            chosen.append(value)
    return [low, *reversed(chosen)]


def _columns(n: int, most: int) -> int:
    if n <= most:
        return n
    divisors = [k for k in range(most, most // 2, -1) if n % k == 0]
    return divisors[0] if divisors else most


def _row_label(
    page: Page, left_mm: float, y_mm: float, panel_mm: float, text: str, small: bool
) -> None:
    if small:
        name = "\n".join(wrap(text, _NAMES_MM - MARGIN_MM, NOTE_PT)[:2])
        page.text(MARGIN_MM, y_mm + panel_mm / 2, name, size=NOTE_PT, weight="bold", ha="left")
        return
    lines = wrap(text, max(panel_mm, 12.0), TEXT_PT + 1)[:2]
    x_mm = left_mm - 1.6 - 1.5 * (len(lines) - 1)
    page.text(
        x_mm, y_mm + panel_mm / 2, "\n".join(lines), size=TEXT_PT + (1 if len(lines) == 1 else 0),
        weight="bold", rotation=90, multialignment="center",
    )  # fmt: skip


def _draw(
    axes: Any,
    sky: Sky,
    scale: Scale,
    values: NDArray[Any],
    few: NDArray[np.bool_] | None,
    small: bool,
) -> None:
    sky.frame(axes, letters=0 if small else 5.5, reach=1.08 if small else 1.3)
    seen = np.isfinite(values)
    if few is not None and few.any():
        sky.few(axes, few)
        seen = seen | few
    if not seen.any():
        return
    if np.isfinite(values).any():
        sky.cells(axes, values, scale.colours, scale.norm)
    sky.rings(axes, lw=0.15 if small else 0.3)


def _foot_mm(width_mm: float, lines: Sequence[str], with_few: bool) -> float:
    if width_mm >= 150:
        return max(_KEY_MM, 3.4 * _n_lines(lines, width_mm)) + 2 * MARGIN_MM
    swatches = 5.0 * (2 if with_few else 1)
    return _KEY_MM + 14.0 + swatches + max(0.0, 3.4 * _n_lines(lines, width_mm) - _KEY_MM) + 3.0


def _n_lines(lines: Sequence[str], width_mm: float) -> int:
    return sum(len(wrap(line, _words_mm(width_mm), NOTE_PT + 0.5)) for line in lines)


def _words_mm(width_mm: float) -> float:
    taken = _KEY_MM + 2 * MARGIN_MM + (_BAR_MM + 6 if width_mm >= 150 else 0)
    return width_mm - taken - 2.0


def _foot(
    page: Page, sky: Sky, scale: Scale, lines: Sequence[str], top_mm: float, with_few: bool
) -> None:
    sky.key(page, MARGIN_MM, top_mm, _KEY_MM)
    size = NOTE_PT + 0.5
    words = [part for line in lines for part in wrap(line, _words_mm(page.width_mm), size)]
    y_mm = top_mm + max(2.0, (_KEY_MM - 3.4 * len(words)) / 2)
    for i, text in enumerate(words):
        page.text(MARGIN_MM + _KEY_MM + 2, y_mm + 3.4 * i, text, size=size, ha="left")
    side = page.width_mm >= 150
    bar_x = page.width_mm - _BAR_MM - MARGIN_MM - 2 if side else MARGIN_MM + 5
    bar_width = _BAR_MM if side else page.width_mm - 2 * MARGIN_MM - 10
    bar_y = top_mm + 2.0 if side else top_mm + max(_KEY_MM, 3.4 * len(words)) + 2.0
    colour_bar(page, scale, bar_x, bar_y, bar_width)
    swatches = [(NOT_OBSERVED, "not observed (not 0)")]
    if with_few:
        swatches.append((TOO_FEW, "observed, but too rarely for a number"))
    for i, (style, text) in enumerate(swatches):
        y_mm = bar_y + 11.5 + 4.2 * i
        hatch(_bare(page.axes(bar_x, y_mm, 6, 2.8)), style)
        page.text(bar_x + 7.5, y_mm + 1.4, text, size=size, ha="left")


def colour_bar(page: Page, scale: Scale, x_mm: float, y_mm: float, width_mm: float) -> None:
    """The scale itself, 11 mm high with its numbers and its label."""
    bar = page.figure.colorbar(
        ScalarMappable(scale.norm, scale.colours),
        cax=page.axes(x_mm, y_mm, width_mm, 2.8),
        orientation="horizontal",
        extend=scale.extend,
    )
    bar.set_ticks([value for value, _ in scale.ticks], labels=[text for _, text in scale.ticks])
    bar.minorticks_off()
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=NOTE_PT + 0.5, length=1.5, width=0.5, pad=1.5)
    bar.set_label(scale.label, size=NOTE_PT + 0.5, labelpad=1.5)


def _bare(axes: Any) -> Any:
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def count_note(n_frames: int, rest: str, n_days: int | None) -> str:
    """What stands below a map.

    Parameters
    ----------
    n_frames : largest number of frames behind a cell
    rest : one more number
    n_days : largest number of UTC days behind a cell, on a line of its own; None = not known
    """
    if not n_frames:
        return UNOBSERVED_NOTE
    below = "" if n_days is None else f"\n{captions.days(n_days)}"
    return f"{captions.thousands(n_frames)} · {rest}{below}"


def below_words(frames: str, rest: str, days: NDArray[Any] | None) -> list[str]:
    """What `count_note` says, in words for the key."""
    words = [f"below a map: most {frames} behind one cell · {rest}"]
    return words if days is None else [*words, "second line: most UTC days behind one cell"]
