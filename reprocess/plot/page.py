"""A page of a journal: places things in millimetres, and writes the file.

Pages are drawn at the width they are printed at, one column (85 mm) or two
(175 mm), so that a 6 pt text is 6 pt on paper. Matplotlib's global state is
neither used nor changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reprocess.errors import ConfigurationError

COLUMN_MM, PAGE_MM = 85.0, 175.0
FORMATS = (".png", ".pdf", ".svg")
MARGIN_MM = 2.5
TITLE_PT, TEXT_PT, NOTE_PT = 10.0, 7.0, 6.0
NOT_OBSERVED: dict[str, Any] = {
    "facecolor": "#dcdcdc", "edgecolor": "#8c8c8c", "hatch": "////////", "linewidth": 0,
}  # fmt: skip
"""How everything looks that was not observed, never the colour of zero."""
TOO_FEW: dict[str, Any] = {
    "facecolor": "#f4f4f4", "edgecolor": "#707070", "hatch": "........", "linewidth": 0,
}  # fmt: skip
"""How everything looks that was observed too rarely for the number that is drawn."""
HATCH_LINEWIDTH = 0.4
SIMULATED = "SIMULATED DATA"
DETECTOR_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's colours, told apart by colour-blind readers; one for each label."""

_MM_PER_IN = 25.4
_HELD = "\N{NO-BREAK SPACE}"
_PT_MM = _MM_PER_IN / 72
_CHARACTER = 0.56
"""Mean width of a character of the sans serif font, in ems; a little too much is safe."""


@dataclass(frozen=True)
class Line:
    """One paragraph of a page's head."""

    text: str
    size: float = TEXT_PT
    weight: str = "normal"


class Page:
    """A figure of a given size; places are in mm from the top left corner."""

    def __init__(self, width_mm: float, height_mm: float) -> None:
        if not 40.0 <= width_mm <= 1000.0:
            raise ConfigurationError(
                f"picture width: found {width_mm:g} mm, expected 40 to 1000 "
                f"({COLUMN_MM:g} for one column, {PAGE_MM:g} for two)"
            )
        self.width_mm, self.height_mm = width_mm, height_mm
        self.figure = Figure(figsize=(width_mm / _MM_PER_IN, height_mm / _MM_PER_IN))

    def axes(self, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> Axes:
        """Axes by their upper left corner."""
        return self.figure.add_axes(
            (
                x_mm / self.width_mm,
                1 - (y_mm + height_mm) / self.height_mm,
                width_mm / self.width_mm,
                height_mm / self.height_mm,
            )
        )

    def text(self, x_mm: float, y_mm: float, text: str, **style: Any) -> None:
        """Text around a point, centred by default."""
        style = {"ha": "center", "va": "center", "size": TEXT_PT, **style}
        self.figure.text(x_mm / self.width_mm, 1 - y_mm / self.height_mm, text, **style)

    def head(self, lines: Sequence[Line], simulated: bool) -> None:
        """The paragraphs at the top, wrapped to the page's width."""
        y_mm = MARGIN_MM
        for line, text in _wrapped(lines, self.width_mm, simulated):
            self.text(
                MARGIN_MM, y_mm, text, ha="left", va="top", size=line.size, weight=line.weight
            )
            y_mm += _line_mm(line.size)
        if simulated:
            self.text(
                self.width_mm - MARGIN_MM, MARGIN_MM, SIMULATED, ha="right", va="top",
                size=TEXT_PT + 1, weight="bold", color="#b2182b",
            )  # fmt: skip


def head_mm(lines: Sequence[Line], width_mm: float, simulated: bool) -> float:
    """Height that `Page.head` will take, with a gap below."""
    return MARGIN_MM + sum(_line_mm(line.size) for line, _ in _wrapped(lines, width_mm, simulated))


def save_figure(figure: Figure, path: str | Path, dpi: int = 300) -> Path:
    """Write a figure; the ending of the path decides the format.

    Parameters
    ----------
    path : .png, .pdf or .svg, in a directory that exists
    dpi : of .png, and of images inside the other two

    Raises
    ------
    ConfigurationError
        If the ending is another or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ConfigurationError(
            f"picture {path}: found the ending {path.suffix or 'none'!r}, expected one of "
            f"{', '.join(FORMATS)}"
        )
    # Text stays text in PDF, and equal pictures are equal files.
    dated = {".png": None, ".pdf": "CreationDate", ".svg": "Date"}[path.suffix.lower()]
    try:
        with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "reprocess"}):
            figure.savefig(path, dpi=dpi, metadata={dated: None} if dated else None)
    except OSError as error:
        raise ConfigurationError(
            f"picture {path}: cannot be written ({error.strerror}); expected a directory that "
            f"exists and may be written"
        ) from error
    return path


def message_figure(
    title: str, message: str, *, width_mm: float = PAGE_MM, simulated: bool = False
) -> Figure:
    """A picture that says why there is nothing to draw."""
    lines = [Line(title, TITLE_PT, "bold")]
    below = head_mm(lines, width_mm, simulated)
    text = textwrap.wrap(message, _characters(width_mm - 10 * MARGIN_MM, TEXT_PT + 1))
    box_mm = 16 + _line_mm(TEXT_PT + 1) * len(text)
    page = Page(width_mm, below + box_mm + MARGIN_MM)
    page.head(lines, simulated)
    axes = page.axes(MARGIN_MM, below, width_mm - 2 * MARGIN_MM, box_mm)
    hatch(axes)
    axes.text(
        0.5, 0.5, "\n".join(text), transform=axes.transAxes, ha="center", va="center",
        size=TEXT_PT + 1, bbox={"facecolor": "white", "edgecolor": "#808080", "lw": 0.5},
    )  # fmt: skip
    return page.figure


def hatch(axes: Axes, style: dict[str, Any] = NOT_OBSERVED) -> None:
    """Turn axes into a swatch of something that has no number."""
    from matplotlib.patches import Rectangle

    axes.set_xticks([])
    axes.set_yticks([])
    box = axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=0, **style))
    box.set_hatch_linewidth(HATCH_LINEWIDTH)


def wrap(text: str, width_mm: float, size: float) -> list[str]:
    """Break a text into lines that fit a width, between its items where they are short."""
    limit = _characters(width_mm, size)
    items = [p.replace(" ", _HELD) if len(p) < limit // 3 else p for p in text.split(" · ")]
    lines = textwrap.wrap(" · ".join(items).replace(" · ", f"{_HELD}· "), limit)
    return [line.replace(_HELD, " ") for line in lines] or [""]


def _wrapped(lines: Sequence[Line], width_mm: float, simulated: bool) -> list[tuple[Line, str]]:
    found = []
    for i, line in enumerate(lines):
        taken = 30.0 if simulated and i == 0 else 0.0
        width = width_mm - 2 * MARGIN_MM - taken
        wide = 1.08 if line.weight == "bold" else 1.0
        found += [(line, text) for text in wrap(line.text, width / wide, line.size)]
    return found


def _characters(width_mm: float, size: float) -> int:
    return max(12, int(width_mm / (_CHARACTER * size * _PT_MM)))


def _line_mm(size: float) -> float:
    return 1.35 * size * _PT_MM
