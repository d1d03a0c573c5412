"""Occurrence maps on one page: a sky map for each detector and magnetic local time.

Zenith in the middle, the reference north (magnetic by default) up, east on
the left as one sees it looking up. What was not observed is hatched, never
the colour of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from reprocess.cube.open import rates
from reprocess.errors import ConfigurationError
from reprocess.plot import captions

COLUMNS_MAX = 12
BINS_MAX = 48
COLOUR_MAP = "viridis"
NEEDED = ("cell_zenith_bounds", "cell_azimuth_bounds", "mlt_bounds")

_UNOBSERVED: dict[str, Any] = {
    "facecolor": "#dcdcdc", "edgecolor": "#8c8c8c", "hatch": "////////", "linewidth": 0,
}  # fmt: skip
_WIDTH_IN, _LEFT_IN, _RIGHT_IN = 11.69, 0.42, 0.12  # A4, landscape
_TITLE_IN, _HEAD_IN, _COUNT_IN, _GAP_IN, _FOOT_IN = 0.78, 0.2, 0.15, 0.08, 1.72
_PANEL_MAX_IN = 2.4


def draw_occurrence(
    cube: xr.Dataset,
    path: str | Path,
    *,
    detectors: Sequence[str] | None = None,
    common: bool | None = None,
    east: Literal["left", "right"] = "left",
    vmax: float | None = None,
    scale: Literal["sqrt", "linear"] = "sqrt",
    title: str | None = None,
    dpi: int = 200,
) -> Path:
    """Draw the aurora occurrence rate by detector, MLT and sky cell.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`, or a selection of months or groups of one
        Counts are summed over what is left of `time` or `group`, then divided.
    path : file to write; its ending decides the format (.png, .pdf, .svg)
    detectors : rows, top to bottom; default all
    common : True takes the frames and cells that all compared detectors observed. None does
        so where several detectors are drawn and all have such counts. The page says which.
    east : side of east, with north up; "left" is the sky as seen looking up
    vmax : upper end of the colour scale, 0-1; default a round number that at most 1 % of the
        observed cells exceed
    scale : of the colours, the same for all maps; "sqrt" shows a detector with a fifth of the
        other's rate beside it
    title : replaces the first line
    dpi : of formats with pixels

    Returns
    -------
    Path of the file

    Raises
    ------
    ConfigurationError
        If the dataset lacks counts, cell edges or a detector, or has more than 48 MLT bins, or
        `vmax` is not a rate.

    Notes
    -----
    The radius is the zenith angle (equidistant). The number under a map is the
    largest number of frames behind one of its cells. A cell of a map that was
    never observed is hatched; a map with none observed says so. Matplotlib's
    global state is neither used nor changed.
    """
    maps = _maps(cube, detectors, common)
    top = _round_maximum(maps.rate) if vmax is None else vmax
    if not 0 < top <= 1:
        raise ConfigurationError(f"occurrence map: found vmax {vmax}, expected above 0 and up to 1")
    norm = PowerNorm(0.5, 0.0, top) if scale == "sqrt" else Normalize(0.0, top)
    colours = matplotlib.colormaps[COLOUR_MAP]
    n_rows, n_bins, _ = maps.rate.shape
    columns = min(n_bins, COLUMNS_MAX)
    blocks = math.ceil(n_bins / columns)
    panel_in = min((_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / columns, _PANEL_MAX_IN)
    left_in = (_WIDTH_IN + _LEFT_IN - _RIGHT_IN - columns * panel_in) / 2
    block_in = _HEAD_IN + n_rows * (panel_in + _COUNT_IN) + _GAP_IN
    height_in = _TITLE_IN + blocks * block_in + _FOOT_IN
    figure = Figure(figsize=(_WIDTH_IN, height_in))
    FigureCanvasAgg(figure)
    page = _Page(figure, _WIDTH_IN, height_in)
    polygons = _polygons(cube, east)

    for bin_ in range(n_bins):
        block, column = divmod(bin_, columns)
        x_in = left_in + column * panel_in
        top_in = _TITLE_IN + block * block_in
        page.text(
            x_in + panel_in / 2, top_in + 0.12, maps.hours[bin_], size=8, weight="bold", ha="center"
        )
        for row in range(n_rows):
            y_in = top_in + _HEAD_IN + row * (panel_in + _COUNT_IN)
            axes = page.axes(x_in, y_in, panel_in, panel_in)
            _sky(axes, maps.zenith_max_deg, east)
            n_frames = int(maps.observed[row, bin_].max(initial=0))
            if n_frames:
                _cells(axes, polygons, maps.rate[row, bin_], colours, norm)
                _rings(axes, maps.zenith_max_deg)
                note = f"n = {captions.thousands(n_frames)} · {100 * maps.mean[row, bin_]:.1f} %"
            else:
                note = "not observed"
            page.text(x_in + panel_in / 2, y_in + panel_in + 0.045, note, size=6, ha="center")
            if column == 0:
                middle_in = y_in + panel_in / 2
                page.text(
                    x_in - 0.12, middle_in, maps.labels[row], size=9, weight="bold", rotation=90
                )
    _titles(page, maps, cube, title)
    _footer(page, maps, cube, east, colours, norm)
    path = Path(path)
    figure.savefig(path, dpi=dpi)
    return path


@dataclass(frozen=True)
class _Maps:
    """What is drawn: (detector, mlt, cell) arrays and how to call them."""

    labels: tuple[str, ...]
    hours: tuple[str, ...]
    observed: NDArray[np.int64]
    rate: NDArray[np.float32]
    mean: NDArray[np.float64]
    common: bool
    zenith_max_deg: float


@dataclass(frozen=True)
class _Page:
    """Places things in inches from the top left corner."""

    figure: Figure
    width_in: float
    height_in: float

    def axes(self, x_in: float, y_in: float, width_in: float, height_in: float) -> Axes:
        bottom_in = self.height_in - y_in - height_in
        box = (
            x_in / self.width_in,
            bottom_in / self.height_in,
            width_in / self.width_in,
            height_in / self.height_in,
        )
        return self.figure.add_axes(box)

    def text(self, x_in: float, y_in: float, text: str, **style: Any) -> None:
        style = {"ha": "center", "va": "center", **style}
        self.figure.text(x_in / self.width_in, 1 - y_in / self.height_in, text, **style)


def _maps(cube: xr.Dataset, detectors: Sequence[str] | None, common: bool | None) -> _Maps:
    missing = [name for name in ("counts", *NEEDED) if name not in cube.variables]
    if missing:
        raise ConfigurationError(
            f"occurrence map: found no {', '.join(missing)} in the dataset, expected one from "
            f"open_cube or count_occurrence"
        )
    if cube.sizes.get("mlt", 0) > BINS_MAX:
        raise ConfigurationError(
            f"occurrence map: found {cube.sizes['mlt']} MLT bins, expected at most {BINS_MAX}; "
            f"count in wider bins (mlt_bins)"
        )
    total = rates(cube)
    dims = total["n_observed"].dims
    if set(dims) != {"detector", "mlt", "cell"}:
        raise ConfigurationError(
            f"occurrence map: found dimensions {dims}, expected detector, mlt and cell; select "
            f"one detector or bin with a list, such as .sel(detector=['fcn'])"
        )
    known = [str(label) for label in total["detector"].values]
    labels = known if detectors is None else list(detectors)
    unknown = [label for label in labels if label not in known]
    if unknown or not labels:
        raise ConfigurationError(
            f"occurrence map: found detectors {labels}, expected some of {', '.join(known)}"
        )
    total = total.sel(detector=labels).transpose("detector", "mlt", "cell", ...)
    if common is None:
        shared = total["n_observed_common"].sum(("mlt", "cell")) > 0
        common = len(labels) > 1 and bool(shared.all())
    suffix = "_common" if common else ""
    observed = total[f"n_observed{suffix}"].to_numpy()
    return _Maps(
        labels=tuple(labels),
        hours=tuple(
            captions.mlt_range(lower, upper) for lower, upper in total["mlt_bounds"].to_numpy()
        ),
        observed=observed,
        rate=total[f"occurrence{suffix}"].to_numpy(),
        mean=_mean(total[f"n_aurora{suffix}"].to_numpy(), observed),
        common=common,
        zenith_max_deg=float(cube["cell_zenith_bounds"].max()),
    )


def _mean(aurora: NDArray[np.int64], observed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rate over all observed cells of each map, (detector, mlt); 0 where there are none."""
    mean: NDArray[np.float64] = aurora.sum(-1) / np.maximum(observed.sum(-1), 1)
    return mean


def _round_maximum(rate: NDArray[np.float32]) -> float:
    """The smallest round number that at most 1 % of the observed cells exceed."""
    observed = rate[np.isfinite(rate)]
    wanted = float(np.quantile(observed, 0.99)) if observed.size else 1.0
    steps = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    return next((step for step in steps if step >= wanted), 1.0)


# --- one map ------------------------------------------------------------------


def _polygons(cube: xr.Dataset, east: str) -> list[NDArray[np.float64]]:
    """Outline of each cell, (vertex, 2) in degrees of zenith angle, north up."""
    outlines = []
    zenith = cube["cell_zenith_bounds"].transpose("cell", ...).to_numpy().astype(np.float64)
    azimuth = cube["cell_azimuth_bounds"].transpose("cell", ...).to_numpy().astype(np.float64)
    for (inner, outer), (first, last) in zip(zenith, azimuth, strict=True):
        steps = np.linspace(first, last, max(2, math.ceil((last - first) / 4) + 1))
        arcs = np.concatenate([steps, steps[::-1]])
        radius = np.repeat([outer, inner], len(steps))
        outlines.append(np.stack(_place(arcs, radius, east), axis=1))
    return outlines


def _place(
    azimuth_deg: Any, zenith_deg: Any, east: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    turn = -1.0 if east == "left" else 1.0
    angle = np.radians(azimuth_deg)
    return turn * zenith_deg * np.sin(angle), zenith_deg * np.cos(angle)


def _sky(axes: Axes, zenith_max_deg: float, east: str, size: float = 5.5) -> None:
    """The empty, hatched sky with its compass letters."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    reach = 1.3 * zenith_max_deg
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    sky = Circle((0, 0), zenith_max_deg, zorder=0, **_UNOBSERVED)
    sky.set_hatch_linewidth(0.4)
    axes.add_patch(sky)
    axes.add_patch(
        Circle((0, 0), zenith_max_deg, facecolor="none", edgecolor="#404040", lw=0.5, zorder=4)
    )
    for azimuth_deg, letter in ((0, "N"), (90, "E"), (180, "S"), (270, "W")):
        x, y = _place(azimuth_deg, 1.14 * zenith_max_deg, east)
        weight = "bold" if letter == "N" else "normal"
        axes.text(
            float(x), float(y), letter, size=size, weight=weight, ha="center", va="center_baseline"
        )


def _cells(
    axes: Axes,
    polygons: Sequence[NDArray[np.float64]],
    rate: NDArray[np.float32],
    colours: Colormap,
    norm: Normalize,
) -> None:
    seen = np.flatnonzero(np.isfinite(rate))
    # Cells are drawn slightly over their edges, which would show as hairlines.
    patches = PolyCollection(
        [polygons[int(cell)] for cell in seen], linewidths=0.3, edgecolors="face", zorder=1
    )
    patches.set_array(rate[seen])
    patches.set_cmap(colours)
    patches.set_norm(norm)
    axes.add_collection(patches, autolim=False)


def _rings(axes: Axes, zenith_max_deg: float, colour: str = "white", alpha: float = 0.3) -> None:
    for zenith_deg in range(10, math.ceil(zenith_max_deg), 10):
        axes.add_patch(
            Circle(
                (0, 0),
                zenith_deg,
                facecolor="none",
                edgecolor=colour,
                lw=0.3,
                alpha=alpha,
                zorder=3,
            )
        )


# --- words --------------------------------------------------------------------


def _titles(page: _Page, maps: _Maps, cube: xr.Dataset, title: str | None) -> None:
    first = title or captions.headline(cube)
    page.text(_LEFT_IN, 0.2, first, size=13, weight="bold", ha="left")
    if captions.is_simulated(cube.attrs):
        page.text(
            page.width_in - 0.2, 0.2, "SIMULATED DATA", size=13, weight="bold", ha="right",
            color="#b2182b",
        )  # fmt: skip
    counted = (
        "frames and cells that all compared detectors observed"
        if maps.common
        else "all frames each detector observed"
    )
    page.text(
        _LEFT_IN,
        0.42,
        " · ".join(
            ["frames with aurora / frames observed", counted, *captions.selection(cube.attrs)]
        ),
        size=7.5,
        ha="left",
    )
    page.text(_LEFT_IN, 0.59, captions.screening(cube.attrs), size=7.5, ha="left", weight="bold")
    page.text(
        page.width_in - 0.2, 0.59, "magnetic local time of the station, hours", size=7.5, ha="right"
    )


def _footer(
    page: _Page,
    maps: _Maps,
    cube: xr.Dataset,
    east: str,
    colours: Colormap,
    norm: Normalize,
) -> None:
    top_in = page.height_in - _FOOT_IN
    key = page.axes(_LEFT_IN, top_in + 0.1, 1.55, 1.55)
    _sky(key, maps.zenith_max_deg, east, size=8)
    key.patches[0].set(facecolor="white", hatch=None)
    _rings(key, maps.zenith_max_deg, colour="#606060", alpha=1.0)
    reference, north_deg = captions.north(cube)
    has_arrow = reference == "magnetic" and north_deg is not None
    arrow_deg = -(north_deg or 0.0)
    for elevation_deg in (20, 40, 60):
        if 90 - elevation_deg < maps.zenith_max_deg:
            x, y = _place(arrow_deg - 90 if has_arrow else 225, 90 - elevation_deg, east)
            key.text(
                float(x), float(y), f"{elevation_deg}°", size=5.5, ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
            )  # fmt: skip
    if has_arrow:
        x, y = _place(arrow_deg, maps.zenith_max_deg, east)
        arrow = {"arrowstyle": "-|>", "lw": 0.8, "color": "#2166ac", "shrinkA": 0, "shrinkB": 0}
        key.annotate("", (float(x), float(y)), (0, 0), arrowprops=arrow)
    lines = [
        f"{reference} north up, east {east}"
        + (", as seen looking up" if east == "left" else ", as on a map"),
        f"rings every 10° of elevation; edge at {90 - maps.zenith_max_deg:.0f}°",
    ]
    if has_arrow:
        lines.append(f"arrow: geographic north (magnetic north at azimuth {north_deg:.0f}°)")
    lines.append("n: most frames behind one cell; %: rate over all cells")
    for i, line in enumerate(lines):
        page.text(2.1, top_in + 0.5 + 0.2 * i, line, size=7.5, ha="left")

    bar_axes = page.axes(5.9, top_in + 0.72, 3.5, 0.17)
    top = norm.vmax or 1.0
    clipped = bool(np.nanmax(maps.rate, initial=0.0) > top)
    bar = page.figure.colorbar(
        ScalarMappable(norm, colours),
        cax=bar_axes,
        orientation="horizontal",
        extend="max" if clipped else "neither",
    )
    root = isinstance(norm, PowerNorm)
    ticks = top * np.linspace(0, 1, 6) ** (2 if root else 1)  # evenly spaced on the page
    bar.set_ticks(list(ticks), labels=[f"{round(100 * tick, 2):g}" for tick in ticks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=7.5, length=2)
    words = "square-root scale" if root else "linear scale"
    bar.set_label(f"occurrence rate, % ({words}, the same for all maps)", size=7.5)
    swatch = page.axes(9.75, top_in + 0.72, 0.34, 0.17)
    swatch.set_axis_off()
    box = swatch.add_patch(Rectangle((0, 0), 1, 1, transform=swatch.transAxes, **_UNOBSERVED))
    box.set_hatch_linewidth(0.4)
    page.text(10.17, top_in + 0.805, "not observed (not 0 %)", size=7.5, ha="left")
