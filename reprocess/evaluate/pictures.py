"""Curves of an evaluation, and images on which the network is right and wrong."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from reprocess.evaluate.evaluate import Evaluation
from reprocess.evaluate.measure import BINS, probability
from reprocess.evaluate.results import Wrong
from reprocess.evaluate.sky import INVISIBLE
from reprocess.labels import AURORA, UNJUDGED
from reprocess.plot.page import COLUMN_MM, PAGE_MM, TEXT_PT, Page

DPI, IMAGE_DPI = 190, 140
NETWORK_INK, COLOUR_INK, FAINT_INK = "#0072b2", "#d55e00", "#8c8c8c"
HIT, FALSE, MISSED, OPEN = "#009e73", "#d55e00", "#56b4e9", "#b0b0b0"
STRETCH_PERCENT = 99.5
APART = np.timedelta64(30, "m")


def draw_reliability(found: Evaluation) -> bytes:
    """The true share of pixels at each probability, with intervals over days; PNG."""
    page, axes = _plot("probability said by the network", "share that truly is aurora")
    rows = found.tables.reliability
    mean, true = np.array([r.mean for r in rows]), np.array([r.observed for r in rows])
    axes.plot([0, 1], [0, 1], color=FAINT_INK, lw=0.7, ls="--", label="perfect")
    bounds = np.array([r.interval for r in rows]).reshape(-1, 2)
    known = np.isfinite(bounds).all(axis=1)
    axes.vlines(mean[known], bounds[known, 0], bounds[known, 1], color=NETWORK_INK, lw=1)
    axes.plot(mean, true, "o-", color=NETWORK_INK, lw=1, ms=3, label="network")
    n = np.array([r.n for r in rows], float)
    bars = axes.twinx()
    bars.bar(
        [r.low for r in rows], n / max(n.sum(), 1), width=1 / max(len(rows), 20) * 0.9,
        align="edge", color="#e4e4e4", zorder=0,
    )  # fmt: skip
    bars.set_yscale("log")
    bars.set_ylabel("share of the pixels (bars)", size=TEXT_PT)
    bars.tick_params(labelsize=TEXT_PT - 1)
    axes.set_zorder(bars.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(fontsize=TEXT_PT - 1, loc="upper left", frameon=False)
    return _png(page.figure)


def draw_thresholds(found: Evaluation) -> bytes:
    """F1, precision and recall at other thresholds; PNG."""
    page, axes = _plot("threshold of the probability", "score")
    c = found.tables.curve
    axes.plot(c.threshold, c.pixel_f1, color=NETWORK_INK, lw=1.4, label="F1, pixels")
    axes.plot(c.threshold, c.cell_f1, color=NETWORK_INK, lw=1.2, ls="--", label="F1, cells")
    axes.plot(c.threshold, c.pixel_precision, color=COLOUR_INK, lw=0.8, label="precision, pixels")
    axes.plot(c.threshold, c.pixel_recall, color=HIT, lw=0.8, label="recall, pixels")
    axes.axvline(0.5, color=FAINT_INK, lw=0.7)
    axes.plot([c.best], [c.best_f1], "v", color=NETWORK_INK, ms=5, label=f"best, at {c.best:.3f}")
    axes.legend(fontsize=TEXT_PT - 1, loc="lower center", frameon=False)
    return _png(page.figure)


def worst_images(found: Evaluation, n: int) -> list[tuple[str, list[Wrong]]]:
    """The images with most missed, most falsely flagged, and of middling error: n of each.

    Neighbouring minutes fail alike, so of one camera's images those of a kind are half an hour
    apart.
    """
    wrong = list(found.tables.wrong)
    time = found.labels.time
    missed = _apart(sorted(wrong, key=lambda w: -w.missed), time, n)
    false = _apart(sorted(wrong, key=lambda w: -w.false), time, n)
    both = {w.row for w in missed} | {w.row for w in false}
    rest = [w for w in wrong if w.row not in both and w.true > 0]
    groups = [
        ("Most aurora missed", [w for w in missed if w.missed > 0]),
        ("Most sky falsely flagged", [w for w in false if w.false > 0]),
        ("In the middle of all images with aurora", _apart(rest[len(rest) // 2 :], time, n)),
    ]
    return [(title, listed) for title, listed in groups if listed]


def _apart(wrong: Sequence[Wrong], time: NDArray[np.datetime64], n: int) -> list[Wrong]:
    """The first n that are no neighbours: half an hour apart, or of different cameras."""
    kept: list[Wrong] = []
    for w in wrong:
        near = (k for k in kept if k.camera == w.camera and abs(time[k.row] - time[w.row]) < APART)
        if len(kept) < n and next(near, None) is None:
            kept.append(w)
    return kept


def draw_images(found: Evaluation, listed: Sequence[Wrong]) -> bytes:
    """Image, label, probability and outcome of each, side by side; PNG.

    Notes
    -----
    Images are shown multiplied by one number each, written beside them, so
    that faint aurora can be seen in print; the network saw them unstretched.
    """
    gap, key_mm, text_mm = 2.0, 8.0, 7.5
    side = (PAGE_MM - 5 * gap) / 4
    height = key_mm + len(listed) * (side + text_mm) + gap
    page = Page(PAGE_MM, height)
    titles = ("image", "label", "probability of aurora", "outcome at 0.5")
    for i, title in enumerate(titles):
        page.text(gap + i * (side + gap) + side / 2, 3.0, title, weight="bold")
    for number, wrong in enumerate(listed):
        y = key_mm - 2 + number * (side + text_mm)
        image, factor = _stretched(found.labels.image[wrong.row])
        mask = found.labels.mask[wrong.row]
        p = probability(found.measured.logits[wrong.row], len(mask))
        band = found.measured.bands[wrong.camera]
        outcome = _outcome(found.labels.image[wrong.row], mask, p, band)
        shown = np.where(band == INVISIBLE, np.float32(np.nan), p)
        panels: tuple[NDArray[Any], ...] = (image, _label(mask, band), shown, outcome)
        for i, panel in enumerate(panels):
            axes = page.axes(gap + i * (side + gap), y, side, side)
            # Colour pictures have no scale; only the probability does.
            axes.imshow(panel, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_linewidth(0.3)
        page.text(
            gap, y + side + 2.4,
            f"{wrong.image} · {wrong.time} · image ×{factor:.1f} · aurora {100 * wrong.true:.1f} % "
            f"of the judged sky, missed {100 * wrong.missed:.1f} %, falsely flagged "
            f"{100 * wrong.false:.1f} %", ha="left", size=TEXT_PT - 0.5,
        )  # fmt: skip
    return _png(page.figure, IMAGE_DPI)


def draw_key() -> bytes:
    """What the colours of label and outcome mean, and the scale of the probability; PNG."""
    page = Page(PAGE_MM, 9.0)
    names = (
        ("aurora, found", HIT), ("falsely flagged", FALSE), ("missed", MISSED),
        ("not judged", OPEN),
    )  # fmt: skip
    page.figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in names],
        loc="center left", ncols=4, fontsize=TEXT_PT, frameon=False, bbox_to_anchor=(0.0, 0.5),
    )  # fmt: skip
    axes = page.axes(125.0, 2.0, 40.0, 2.5)
    axes.imshow(np.linspace(0, 1, BINS)[None], aspect="auto", cmap="viridis", extent=(0, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], size=TEXT_PT - 1)
    axes.tick_params(length=2, pad=1)
    return _png(page.figure)


def _plot(x: str, y: str) -> tuple[Page, Axes]:
    page = Page(COLUMN_MM, 70.0)
    axes = page.axes(11.0, 3.0, 61.0, 57.0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel(x, size=TEXT_PT)
    axes.set_ylabel(y, size=TEXT_PT)
    axes.tick_params(labelsize=TEXT_PT - 1)
    axes.grid(color="#ececec", lw=0.5)
    return page, axes


def _stretched(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    top = max(float(np.percentile(image, STRETCH_PERCENT)), 1.0)
    factor = max(255.0 / top, 1.0)
    return np.clip(image * factor, 0, 255).astype(np.uint8), factor


def _label(mask: NDArray[np.uint8], band: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = np.full((*mask.shape, 3), 30, np.uint8)
    picture[mask == UNJUDGED] = _rgb(OPEN)
    picture[mask == AURORA] = 255
    picture[band == INVISIBLE] = 255
    return picture


def _outcome(
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    p: NDArray[np.float32],
    band: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    grey = _stretched(image)[0].mean(axis=2) * 0.5
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    flagged, true = p >= 0.5, mask == AURORA
    for where, colour in (
        (true & flagged, HIT), (~true & flagged, FALSE), (true & ~flagged, MISSED),
        (mask == UNJUDGED, OPEN),
    ):  # fmt: skip
        picture[where] = 0.35 * picture[where] + 0.65 * np.array(_rgb(colour))
    picture[band == INVISIBLE] = 255
    return picture.astype(np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _png(figure: Figure, dpi: int = DPI) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()
