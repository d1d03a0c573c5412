"""A stored image with what the campaign says of it: cells, directions, zenith, hidden parts.

The one picture to look at before a camera epoch is trusted: north and east
must lie where the sky says, the cells must end where the sky ends, and what
stands in the way must be shaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.geometry.cells import SkyCells
from reprocess.geometry.lens import Lens, lens_from_settings
from reprocess.geometry.magnetic import magnetic_north_azimuth_deg
from reprocess.geometry.skymap import visible_stored

View = tuple[float, float, float, float]
"""Left, right, top and bottom of what is shown, stored pixels."""

_CELLS, _GEOGRAPHIC, _MAGNETIC = "#ffffff", "#ffe45c", "#5cc8ff"


def draw_cells(
    campaign: Campaign, epoch: CameraEpoch, image: NDArray[np.generic], path: str | Path
) -> Path:
    """Draw a camera epoch's sky cells on one of its images.

    Parameters
    ----------
    epoch : one of the campaign's
    image : (y, x, 3), as stored; drawn brightened
    path : picture to write

    Raises
    ------
    ConfigurationError
        If the image is not of the epoch's stored size.

    Notes
    -----
    White: cell edges. Yellow: geographic N, E, S, W. Blue: magnetic (AACGM at the emission
    height). Cross: zenith. Red: hidden by mask, horizon table, shapes, or beyond
    `zenith_max_deg`; red cells outlined are never observed.
    """
    expected = (epoch.image_height_px, epoch.image_width_px)
    if image.shape[:2] != expected:
        raise ConfigurationError(
            f"image: found {image.shape[1]} x {image.shape[0]} pixels, expected {expected[1]} x "
            f"{expected[0]}, the stored size of camera epoch {epoch.name}"
        )
    geometry = epoch_geometry(campaign, epoch)
    lens = lens_from_settings(epoch.lens)
    crop = epoch.crop
    margin = 0.03 * crop.size_px
    view = (
        max(crop.left_px - margin, -0.5),
        min(crop.left_px + crop.size_px + margin, expected[1] - 0.5),
        max(crop.top_px - margin, -0.5),
        min(crop.top_px + crop.size_px + margin, expected[0] - 0.5),
    )
    figure = Figure(figsize=(10.0, 10.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(brightened(image), interpolation="nearest")
    shade = np.zeros((*expected, 4))
    shade[~visible_stored(epoch)] = (0.85, 0.1, 0.1, 0.32)
    axes.imshow(shade, interpolation="nearest")
    cells = geometry.cells
    _draw_edges(axes, lens, cells)
    lost = np.flatnonzero(~geometry.cellmap.observed)
    for cell in lost:
        axes.plot(*_outline(lens, cells, int(cell)), color="#ff4040", linewidth=1.2)
    draw_compass(axes, lens, view)
    site, height_km = campaign.site, campaign.cells.emission_height_km
    north = magnetic_north_azimuth_deg(
        site.latitude_deg, site.longitude_deg, height_km, campaign.camera[0].valid_from
    )
    draw_compass(axes, lens, view, north, _MAGNETIC, "m", 24.0)
    x, y = lens.pixel(0.0, 90.0)
    axes.plot(x, y, "+", color=_GEOGRAPHIC, markersize=14, markeredgewidth=1.5)
    fit_view(axes, view)
    n_pixels = geometry.cellmap.n_pixels
    axes.set_title(
        f"{site.name or site.code}, camera epoch {epoch.name}: {cells.n_cells} cells "
        f"({cells.layout}, equal {cells.area}), azimuth from {cells.azimuth_reference} north\n"
        f"AACGM north at azimuth {north:.1f}°; processed pixels a cell {n_pixels.min()} to "
        f"{n_pixels.max()} (median {np.median(n_pixels):.0f}); {len(lost)} cells never observed",
        fontsize=10,
    )
    handles = [
        Line2D([], [], color="0.6", label="cell edges"),
        Line2D([], [], color=_GEOGRAPHIC, marker="+", label="geographic N E S W, zenith"),
        Line2D([], [], color=_MAGNETIC, label="magnetic (AACGM) N E S W"),
        Patch(color=(0.85, 0.1, 0.1, 0.4), label="not visible"),
    ]
    if len(lost):
        handles.append(Line2D([], [], color="#ff4040", label="cell never observed"))
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=5,
                fontsize=9, frameon=False)  # fmt: skip
    figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.15)
    return Path(path)


def brightened(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stretch an image so that its dark parts can be seen: one linear stretch and a root."""
    values = np.asarray(image, dtype=np.float64)
    low, high = np.percentile(values, (0.5, 99.7))
    stretched: NDArray[np.float64] = np.clip((values - low) / max(high - low, 1.0), 0.0, 1.0) ** 0.6
    return stretched


def fit_view(axes: Axes, view: View) -> None:
    """Show a part of the image, row 0 on top, without ticks."""
    axes.set_xlim(view[0], view[1])
    axes.set_ylim(view[3], view[2])
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")


def draw_elevation_circles(axes: Axes, lens: Lens, view: View) -> None:
    """Thin circles every 30 degrees of elevation and the horizon."""
    del view
    azimuth = np.arange(0.0, 360.5, 1.0)
    for elevation in (0.0, 30.0, 60.0):
        x, y = lens.pixel(azimuth, elevation)
        axes.plot(x, y, color="white", linewidth=0.5, alpha=0.6)


def draw_compass(
    axes: Axes,
    lens: Lens,
    view: View,
    north_azimuth_deg: float = 0.0,
    colour: str = _GEOGRAPHIC,
    suffix: str = "",
    reach_deg: float = 30.0,
) -> None:
    """Draw arrows from the zenith towards N, E, S and W, named at the edge of the sky.

    Parameters
    ----------
    north_azimuth_deg : geographic azimuth of the reference north
    suffix : after the letters
    reach_deg : length of the arrow for north, degrees from the zenith; the others are shorter
    """
    x0, y0 = (float(v) for v in lens.pixel(0.0, 90.0))
    if not np.isfinite(x0):
        x0, y0 = (float(np.nanmean(v)) for v in lens.pixel(np.arange(0.0, 360.0, 30.0), 80.0))
    for turn, letter in ((0.0, "N"), (90.0, "E"), (180.0, "S"), (270.0, "W")):
        azimuth = north_azimuth_deg + turn
        length = reach_deg if letter == "N" else 0.45 * reach_deg
        x, y = (float(v) for v in lens.pixel(azimuth, 90.0 - length))
        if np.isfinite(x):
            arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.4}
            axes.annotate("", (x, y), (x0, y0), arrowprops=arrow)
        edge = _edge(lens, azimuth, view)
        if edge is not None:
            box = {"facecolor": "black", "alpha": 0.55, "pad": 1.5, "linewidth": 0}
            style: dict[str, Any] = {"fontsize": 15, "fontweight": "bold", "bbox": box}
            axes.text(*edge, letter + suffix, color=colour, ha="center", va="center", **style)


def _edge(lens: Lens, azimuth_deg: float, view: View) -> tuple[float, float] | None:
    """The lowest point of an azimuth that still lies well inside the view."""
    x, y = lens.pixel(azimuth_deg, np.arange(2.0, 88.0, 1.0))
    inset = 0.03 * min(view[1] - view[0], view[3] - view[2])
    inside = (x > view[0] + inset) & (x < view[1] - inset)
    inside &= (y > view[2] + inset) & (y < view[3] - inset)
    found = np.flatnonzero(inside)
    return (float(x[found[0]]), float(y[found[0]])) if len(found) else None


def _draw_edges(axes: Axes, lens: Lens, cells: SkyCells) -> None:
    """Rings, and the azimuth edges inside each."""
    azimuth = np.arange(0.0, 360.5, 1.0)
    lines = []
    for zenith in np.unique(np.append(cells.zenith_min_deg, cells.zenith_max_deg)):
        if zenith > 0.0:
            lines.append(np.stack(lens.pixel(azimuth, 90.0 - zenith), axis=1))
    for cell in range(cells.n_cells):
        if cells.azimuth_max_deg[cell] - cells.azimuth_min_deg[cell] < 360.0:
            zenith = np.linspace(cells.zenith_min_deg[cell], cells.zenith_max_deg[cell], 5)
            at = np.full(5, cells.azimuth_min_deg[cell] + cells.north_azimuth_deg)
            lines.append(np.stack(lens.pixel(at, 90.0 - zenith), axis=1))
    axes.add_collection(LineCollection(lines, colors=_CELLS, linewidths=0.5, alpha=0.75))


def _outline(
    lens: Lens, cells: SkyCells, cell: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = cells.zenith_min_deg[cell], cells.zenith_max_deg[cell]
    west, east = cells.azimuth_min_deg[cell], cells.azimuth_max_deg[cell]
    there = np.linspace(west, east, 9)
    azimuth = np.concatenate([there, there[::-1], [west]]) + cells.north_azimuth_deg
    zenith = np.concatenate([np.full(9, low), np.full(9, high), [low]])
    return lens.pixel(azimuth, 90.0 - zenith)
