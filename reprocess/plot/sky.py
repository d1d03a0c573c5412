"""One polar sky map: zenith in the middle, the reference north up, rings of elevation.

The radius is the zenith angle (equidistant). What was not observed is
hatched, never the colour of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Circle
from numpy.typing import ArrayLike, NDArray

from reprocess.errors import ConfigurationError
from reprocess.plot import captions
from reprocess.plot.page import HATCH_LINEWIDTH, NOT_OBSERVED, TOO_FEW, Page

East = Literal["left", "right"]
EDGES = ("cell_zenith_bounds", "cell_azimuth_bounds")
COMPASS = ((0, "N"), (90, "E"), (180, "S"), (270, "W"))
GEOGRAPHIC_NORTH = "#2166ac"


@dataclass(frozen=True)
class Sky:
    """The sky cells of a dataset as they lie on a map.

    Attributes
    ----------
    outlines : of each cell, (vertex, 2) in degrees of zenith angle, north up
    zenith_max_deg : where the cells end
    east : side of east; "left" is the sky as seen looking up
    reference : "magnetic" or "geographic", the north that is up
    north_deg : geographic azimuth of that north, None if not known
    """

    outlines: Sequence[NDArray[np.float64]]
    zenith_max_deg: float
    east: East
    reference: str
    north_deg: float | None

    def place(
        self, azimuth_deg: ArrayLike, zenith_deg: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where a direction lies on the map; azimuth from the reference north, eastward."""
        turn = -1.0 if self.east == "left" else 1.0
        angle = np.radians(np.asarray(azimuth_deg, dtype=np.float64))
        zenith = np.asarray(zenith_deg, dtype=np.float64)
        return turn * zenith * np.sin(angle), zenith * np.cos(angle)

    def frame(
        self,
        axes: Axes,
        letters: float = 5.5,
        reach: float = 1.3,
        letters_deg: float | None = None,
    ) -> None:
        """The empty, hatched sky, with its compass letters.

        Parameters
        ----------
        letters : size in points; 0 = none
        reach : half the width of the axes, in radii of the sky
        letters_deg : zenith angle at which the letters stand; default just outside the cells
        """
        axes.set_axis_off()
        axes.set_aspect("equal")
        edge = reach * self.zenith_max_deg
        axes.set_xlim(-edge, edge)
        axes.set_ylim(-edge, edge)
        disk = Circle((0, 0), self.zenith_max_deg, zorder=0, **NOT_OBSERVED)
        disk.set_hatch_linewidth(HATCH_LINEWIDTH)
        axes.add_patch(disk)
        rim: dict[str, Any] = {"facecolor": "none", "edgecolor": "#404040", "lw": 0.5, "zorder": 4}
        axes.add_patch(Circle((0, 0), self.zenith_max_deg, **rim))
        if letters_deg is None:
            letters_deg = (1.0 + 0.14 * reach / 1.3) * self.zenith_max_deg
        for azimuth_deg, letter in COMPASS if letters else ():
            x, y = self.place(azimuth_deg, letters_deg)
            axes.text(
                float(x), float(y), letter, size=letters, ha="center", va="center_baseline",
                weight="bold" if letter == "N" else "normal",
            )  # fmt: skip

    def cells(self, axes: Axes, values: NDArray[Any], colours: Colormap, norm: Normalize) -> None:
        """Fill the cells whose value is finite."""
        seen = np.flatnonzero(np.isfinite(values))
        # Cells are drawn slightly over their edges, which would show as hairlines.
        patches = PolyCollection(
            [self.outlines[int(cell)] for cell in seen],
            linewidths=0.3, edgecolors="face", zorder=1,
        )  # fmt: skip
        patches.set_array(values[seen])
        patches.set_cmap(colours)
        patches.set_norm(norm)
        axes.add_collection(patches, autolim=False)

    def few(self, axes: Axes, cells: NDArray[np.bool_]) -> None:
        """Dot the cells that were observed too rarely."""
        chosen = [self.outlines[int(cell)] for cell in np.flatnonzero(cells)]
        patches = PolyCollection(chosen, zorder=0.5, **TOO_FEW)
        patches.set_hatch_linewidth(HATCH_LINEWIDTH)
        axes.add_collection(patches, autolim=False)

    def edges(self, axes: Axes, cells: NDArray[np.bool_] | None = None, **style: Any) -> None:
        """Outline cells; all of them by default."""
        chosen = range(len(self.outlines)) if cells is None else np.flatnonzero(cells)
        style = {"linewidths": 0.15, "edgecolors": "#808080", "zorder": 3, **style}
        patches = PolyCollection(
            [self.outlines[int(cell)] for cell in chosen], facecolors="none", **style
        )
        axes.add_collection(patches, autolim=False)

    def rings(self, axes: Axes, colour: str = "#909090", lw: float = 0.3) -> None:
        """Circles every 10° of elevation."""
        for zenith_deg in range(10, math.ceil(self.zenith_max_deg), 10):
            axes.add_patch(
                Circle(
                    (0, 0), zenith_deg, facecolor="none", edgecolor=colour, lw=lw, zorder=3
                )
            )  # fmt: skip

    def key(self, page: Page, x_mm: float, y_mm: float, size_mm: float) -> None:
        """A small sky that explains the maps: compass, elevations, geographic north."""
        axes = page.axes(x_mm, y_mm, size_mm, size_mm)
        self.frame(axes, letters=7)
        axes.patches[0].set(facecolor="white", hatch=None)
        self.rings(axes, colour="#606060")
        arrow_deg = self._geographic_north_deg
        # Names stand above each other however the arrow points: side by side they would overlap.
        points_down = arrow_deg is not None and math.cos(math.radians(arrow_deg)) < 0
        names_deg = 0.0 if points_down else 180.0
        for elevation_deg in (20, 40, 60):
            if 90 - elevation_deg < self.zenith_max_deg:
                x, y = self.place(names_deg, 90 - elevation_deg)
                axes.text(
                    float(x), float(y), f"{elevation_deg}°", size=5, ha="center", va="center",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
                )  # fmt: skip
        if arrow_deg is not None:
            x, y = self.place(arrow_deg, self.zenith_max_deg)
            style = {"arrowstyle": "-|>", "lw": 0.8, "color": GEOGRAPHIC_NORTH}
            style |= {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
            axes.annotate("", (float(x), float(y)), (0, 0), arrowprops=style)

    def words(self) -> list[str]:
        """What `key` shows, in words."""
        seen = ", as seen looking up" if self.east == "left" else ", as on a map"
        lines = [
            f"{self.reference} north up, east {self.east}{seen}",
            f"rings every 10° of elevation; edge at {90 - self.zenith_max_deg:.0f}°",
        ]
        if self._geographic_north_deg is not None:
            lines.append(
                f"arrow: geographic north (magnetic north at azimuth {self.north_deg:.0f}°)"
            )
        return lines

    @property
    def _geographic_north_deg(self) -> float | None:
        if self.reference != "magnetic" or self.north_deg is None:
            return None
        return -self.north_deg


def sky_of(dataset: xr.Dataset, east: East = "left") -> Sky:
    """The sky cells of a cube, a count or a detections store.

    Raises
    ------
    ConfigurationError
        If the dataset has no cell edges.
    """
    missing = [name for name in EDGES if name not in dataset.variables]
    if missing:
        raise ConfigurationError(
            f"sky map: found no {', '.join(missing)} in the dataset, expected one from "
            f"open_cube or count_occurrence"
        )
    zenith, azimuth = (
        dataset[name].transpose("cell", ...).to_numpy().astype(np.float64) for name in EDGES
    )
    reference, north_deg = captions.north(dataset)
    sky = Sky([], float(zenith.max()), east, reference, north_deg)
    outlines = []
    for (inner, outer), (first, last) in zip(zenith, azimuth, strict=True):
        steps = np.linspace(first, last, max(2, math.ceil((last - first) / 4) + 1))
        arcs = np.concatenate([steps, steps[::-1]])
        radius = np.repeat([outer, inner], len(steps))
        outlines.append(np.stack(sky.place(arcs, radius), axis=1))
    return Sky(outlines, sky.zenith_max_deg, east, reference, north_deg)
