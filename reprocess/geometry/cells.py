"""Sky cells: rings of equal area around the zenith, and the pixels behind each.

Two layouts give exactly 400 cells: 10 rings of 4(2k-1) = 4, 12, ..., 76 cells
and 20 rings of 2k-1 = 1, 3, ..., 39 cells. Ring edges are equidistant in the
radius whose square is area, so each ring's area is in proportion to its
number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import Cells
from reprocess.geometry.lens import wrap_degrees
from reprocess.geometry.skymap import Skymap

OUTSIDE = -1
_CELLS_IN_RING = {
    "rings-10": tuple(4 * (2 * k - 1) for k in range(1, 11)),
    "rings-20": tuple(2 * k - 1 for k in range(1, 21)),
}


@dataclass(frozen=True)
class SkyCells:
    """The cells of a campaign, numbered from the zenith outward, then eastward from north.

    Attributes
    ----------
    zenith_min_deg, zenith_max_deg, azimuth_min_deg, azimuth_max_deg : (cell,) float64 array
        Edges, degrees; the lower one belongs to the cell. Azimuth is measured
        from the reference north towards geographic east, 0 to 360.
    zenith_deg, azimuth_deg : (cell,) float64 array, degrees
        Centres: halves of the cell's area on either side in zenith angle. The
        single cell around the zenith of `rings-20` has azimuth 180 by the same rule.
    azimuth_reference : "magnetic" or "geographic"
    north_azimuth_deg : float, geographic azimuth of the reference north; 0 for geographic
    layout, area : as in the campaign's `cells` section
    """

    zenith_min_deg: NDArray[np.float64]
    zenith_max_deg: NDArray[np.float64]
    azimuth_min_deg: NDArray[np.float64]
    azimuth_max_deg: NDArray[np.float64]
    zenith_deg: NDArray[np.float64]
    azimuth_deg: NDArray[np.float64]
    azimuth_reference: str
    north_azimuth_deg: float
    layout: str
    area: str

    @property
    def n_cells(self) -> int:
        return len(self.zenith_deg)

    @property
    def solid_angle_sr(self) -> NDArray[np.float64]:
        """Solid angle of each whole cell, (cell,) steradian."""
        width = np.radians(self.azimuth_max_deg - self.azimuth_min_deg)
        height = np.cos(np.radians(self.zenith_min_deg)) - np.cos(np.radians(self.zenith_max_deg))
        solid_angle: NDArray[np.float64] = width * height
        return solid_angle

    def index(
        self, azimuth_geographic_deg: ArrayLike, elevation_deg: ArrayLike
    ) -> NDArray[np.int16]:
        """Find the cell of each direction.

        Parameters
        ----------
        azimuth_geographic_deg, elevation_deg : float arrays of one shape, degrees
            Geographic azimuth, north 0, east 90, of any sign and turn.

        Returns
        -------
        int16 array of that shape
            Cell number; -1 below the lowest edge and where either is NaN.

        Notes
        -----
        A cell's lower edges (nearer the zenith, westward) belong to it, the
        upper ones to its neighbour; the outermost edge belongs to no cell.
        """
        azimuth = np.asarray(azimuth_geographic_deg, dtype=np.float64) - self.north_azimuth_deg
        azimuth, zenith = np.broadcast_arrays(
            wrap_degrees(azimuth), 90.0 - np.asarray(elevation_deg, dtype=np.float64)
        )
        cell = np.full(azimuth.shape, OUTSIDE, dtype=np.int16)
        known = np.isfinite(azimuth) & (zenith >= 0.0)
        first = np.flatnonzero(self.azimuth_min_deg == 0.0)
        for start, stop in zip(first, [*first[1:], self.n_cells], strict=True):
            in_ring = (
                known
                & (zenith >= self.zenith_min_deg[start])
                & (zenith < self.zenith_max_deg[start])
            )
            steps = np.searchsorted(self.azimuth_min_deg[start:stop], azimuth[in_ring], "right")
            cell[in_ring] = start + steps - 1
        return cell


@dataclass(frozen=True)
class CellMap:
    """Which cell each processed pixel belongs to, and how well each cell is seen.

    Attributes
    ----------
    cell : (y, x) int16 array; -1 outside the cells or not visible
    weight : (y, x) float32 array, steradian
        Solid angle of visible pixels; 0 where `cell` is -1.
    n_pixels : (cell,) int32 array, visible pixels of each cell
    visible_share : (cell,) float32 array, 0 to 1
        Visible solid angle over that of the whole cell.
    observed : (cell,) bool array
        Enough of the cell is visible to say anything about it.
    """

    cell: NDArray[np.int16]
    weight: NDArray[np.float32]
    n_pixels: NDArray[np.int32]
    visible_share: NDArray[np.float32]
    observed: NDArray[np.bool_]


def ring_cells(settings: Cells, north_azimuth_deg: float) -> SkyCells:
    """Lay out the cells of a campaign.

    Parameters
    ----------
    settings : layout, kind of equal area, lowest elevation, azimuth reference
    north_azimuth_deg : float, geographic azimuth of AACGM north at the station, degrees
        Not used when the settings ask for geographic azimuth.

    Notes
    -----
    With `area: solid-angle` the radius is Lambert's, r = 2 sin(z/2), whose
    squared differences are solid angle; with `area: image` it is r = z, whose
    are area in an equidistant fisheye image. Which one "equal-area" means in
    Jee et al. 2021 is an open question, so it is configuration.
    """
    in_ring = _CELLS_IN_RING[settings.layout]
    zenith_edge = 90.0 - settings.elevation_min_deg
    rings = len(in_ring)
    edge = _zenith_deg(np.arange(rings + 1) / rings, zenith_edge, settings.area)
    edge[-1] = zenith_edge
    middle = _zenith_deg(_middle_radius(rings), zenith_edge, settings.area)
    lower = [np.arange(n) * 360.0 / n for n in in_ring]
    upper = [np.arange(1, n + 1) * 360.0 / n for n in in_ring]
    azimuth_min, azimuth_max = np.concatenate(lower), np.concatenate(upper)
    magnetic = settings.azimuth == "magnetic"
    return SkyCells(
        zenith_min_deg=np.repeat(edge[:-1], in_ring),
        zenith_max_deg=np.repeat(edge[1:], in_ring),
        azimuth_min_deg=azimuth_min,
        azimuth_max_deg=azimuth_max,
        zenith_deg=np.repeat(middle, in_ring),
        azimuth_deg=(azimuth_min + azimuth_max) / 2.0,
        azimuth_reference=settings.azimuth,
        north_azimuth_deg=float(north_azimuth_deg) if magnetic else 0.0,
        layout=settings.layout,
        area=settings.area,
    )


def map_cells(skymap: Skymap, cells: SkyCells, visible_min: float) -> CellMap:
    """Assign the visible pixels of a skymap to sky cells.

    Parameters
    ----------
    skymap : (y, x) directions, solid angles, visibility; not modified
    cells : the campaign's cells
    visible_min : float in (0, 1]
        Least visible share of a cell's solid angle for it to count as observed.

    Notes
    -----
    A pixel belongs whole to the cell of its centre, so the solid angle of a
    fully visible cell differs from the exact one by the pixels on its rim (a
    few per cent at 80 pixels a cell); the share is clipped to 1. Sums are in
    float64 in pixel order: deterministic.
    """
    cell = cells.index(skymap.azimuth_deg, skymap.elevation_deg)
    cell[~skymap.visible] = OUTSIDE
    seen = cell != OUTSIDE
    weight = np.where(seen, skymap.solid_angle_sr, np.float32(0.0))
    n_pixels = np.bincount(cell[seen], minlength=cells.n_cells)
    visible_sr = np.bincount(cell[seen], weights=weight[seen], minlength=cells.n_cells)
    share = np.minimum(visible_sr / cells.solid_angle_sr, 1.0)
    found = CellMap(
        cell=cell,
        weight=weight.astype(np.float32),
        n_pixels=n_pixels.astype(np.int32),
        visible_share=share.astype(np.float32),
        observed=(share >= visible_min) & (n_pixels > 0),
    )
    for array in (found.cell, found.weight, found.n_pixels, found.visible_share, found.observed):
        array.setflags(write=False)
    return found


def _zenith_deg(
    share: NDArray[np.float64], zenith_edge_deg: float, area: str
) -> NDArray[np.float64]:
    """Zenith angle at a share of the outermost edge's radius."""
    if area == "image":
        return share * zenith_edge_deg
    radius = share * np.sin(np.radians(zenith_edge_deg) / 2.0)
    zenith: NDArray[np.float64] = np.degrees(2.0 * np.arcsin(radius))
    return zenith


def _middle_radius(rings: int) -> NDArray[np.float64]:
    """Radius, as a share of the outer one, that halves the area of each ring."""
    k = np.arange(rings, dtype=np.float64)
    middle: NDArray[np.float64] = np.sqrt((k**2 + (k + 1) ** 2) / 2.0) / rings
    return middle
