"""Stars on an image: where they were marked and where the lens puts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from reprocess.calibrate.table import Calibration
from reprocess.geometry.lens import lens_from_settings
from reprocess.plot.cells import brightened, draw_compass, draw_elevation_circles, fit_view

_USED, _LEFT_OUT = "#7fffd4", "#ff5f5f"
_NAMES_MAX, _NAME_PT, _NAME_AWAY_PT = 60, 7.0, (6.0, 4.0)


def draw_stars(
    calibration: Calibration, path: str | Path, image: NDArray[np.generic] | None = None
) -> Path:
    """Draw a calibration's residuals.

    Parameters
    ----------
    path : picture to write
    image : (y, x, 3) as stored, drawn brightened; None draws on black

    Notes
    -----
    Left: each marked star (ring), or one left out (cross, with the line at its true length), a
    line of 20 times its residual, and as many names as can be read (`readable_names`), the worst
    first. Right: residuals against elevation.
    """
    stars, fit = calibration.stars, calibration.fit
    width, height = calibration.image_size
    figure = Figure(figsize=(13.0, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes, side = figure.subplots(1, 2, width_ratios=[1.9, 1.0])
    if image is not None:
        axes.imshow(brightened(image), interpolation="nearest")
    else:
        axes.set_facecolor("black")
    lens = lens_from_settings(fit.lens)  # type: ignore[arg-type]
    view = (-0.5, width - 0.5, -0.5, height - 0.5)
    draw_elevation_circles(axes, lens, view)
    draw_compass(axes, lens, view)
    off = np.stack([fit.x_px - stars.x_px, fit.y_px - stars.y_px], axis=1)
    for i in range(len(stars)):
        colour = _USED if fit.used[i] else _LEFT_OUT
        factor = 20.0 if fit.used[i] else 1.0
        axes.plot(stars.x_px[i], stars.y_px[i], "o" if fit.used[i] else "x", color=colour,
                  markersize=7, fillstyle="none", markeredgewidth=1.0)  # fmt: skip
        axes.plot(
            [stars.x_px[i], stars.x_px[i] + factor * off[i, 0]],
            [stars.y_px[i], stars.y_px[i] + factor * off[i, 1]], "-", color=colour, linewidth=1.0,
        )  # fmt: skip
    fit_view(axes, view)
    axes.set_title("ring: marked star; line: 20 x the way to where the lens puts it"
                   "; red: left out, line at true length", fontsize=9)  # fmt: skip
    side.axhline(fit.median_px, color="0.5", linewidth=0.8, linestyle="--",
                 label=f"median {fit.median_px:.2f} px = "
                       f"{fit.median_px * fit.degrees_per_px:.3f}°")  # fmt: skip
    side.plot(stars.elevation_deg[fit.used], fit.residual_px[fit.used], "o", color="#1b6e5a",
              label=f"{fit.used.sum()} stars used")  # fmt: skip
    if not fit.used.all():
        side.plot(stars.elevation_deg[~fit.used], fit.residual_px[~fit.used], "x",
                  color="#c03030", label=f"{(~fit.used).sum()} left out")  # fmt: skip
    if fit.residual_px.max() > 20.0 * fit.median_px:
        side.set_yscale("symlog", linthresh=max(1.0, fit.median_px))
    side.set_ylim(bottom=0.0)
    side.set_xlim(0, 90)
    side.set_xlabel("elevation (degree)")
    side.set_ylabel("residual (pixel of the stored image)")
    side.legend(fontsize=9)
    figure.draw_without_rendering()  # where things are is known only then
    at_pt = axes.transData.transform(np.stack([stars.x_px, stars.y_px], axis=1)) * 72 / figure.dpi
    for i in readable_names(stars.name, at_pt, np.lexsort((-fit.residual_px, fit.used))):
        axes.annotate(stars.name[i], (stars.x_px[i], stars.y_px[i]), xytext=_NAME_AWAY_PT,
                      textcoords="offset points", fontsize=_NAME_PT, zorder=6,
                      path_effects=[withStroke(linewidth=2.0, foreground="black")],
                      color=_USED if fit.used[i] else _LEFT_OUT)  # fmt: skip
    figure.savefig(path, dpi=130)
    return Path(path)


def readable_names(
    names: Sequence[str], at_pt: NDArray[np.float64], order: Iterable[int]
) -> list[int]:
    """Choose the stars whose names can stand on a picture without covering each other.

    Parameters
    ----------
    names : of each mark; a star that was marked in several frames has several
    at_pt : (mark, 2) array, where the marks are, in points
    order : marks, the most important first

    Returns
    -------
    list of int
        Marks, at most one of each name and 60 in all.
    """
    chosen: list[int] = []
    boxes: list[tuple[float, float, float, float]] = []
    for i in map(int, order):
        left, low = at_pt[i] + _NAME_AWAY_PT
        # A little more than the letters of a sans serif font take.
        right, high = left + 0.62 * _NAME_PT * len(names[i]), low + 1.2 * _NAME_PT
        free = all(
            right < box[0] or left > box[2] or high < box[1] or low > box[3] for box in boxes
        )
        if free and len(chosen) < _NAMES_MAX and names[i] not in {names[k] for k in chosen}:
            chosen.append(i)
            boxes.append((left, low, right, high))
    return chosen
