"""Sky cells: rings of equal area around the zenith, and the pixels behind each.

Two layouts give exactly 400 cells: 10 rings of 4(2k-1) = 4, 12, ..., 76 cells
and 20 rings of 2k-1 = 1, 3, ..., 39 cells; the rule of Beckers & Beckers 2012
(doi 10.1016/j.comgeo.2012.01.011) gives any total in cells about as high as
they are wide. The edge of a ring lies at the radius whose square, as a share
of the outermost one's, is the share of the cells inside: so every cell has the
same area.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import Cells
from reprocess.geometry.layer import central_angle_deg, zenith_of_central_angle_deg
from reprocess.geometry.lens import wrap_degrees
from reprocess.geometry.skymap import Skymap

OUTSIDE = -1
_CELLS_IN_RING = {
    "rings-10": tuple(4 * (2 * k - 1) for k in range(1, 11)),
    "rings-20": tuple(2 * k - 1 for k in range(1, 21)),
}


class CellFlag(IntFlag):
    """Why a cell is never observed by a camera epoch."""

    HIDDEN = 1
    FEW_PIXELS = 2


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
    flags : (cell,) uint8 array, why not: bits of `CellFlag`; 0 where observed
    """

    cell: NDArray[np.int16]
    weight: NDArray[np.float32]
    n_pixels: NDArray[np.int32]
    visible_share: NDArray[np.float32]
    observed: NDArray[np.bool_]
    flags: NDArray[np.uint8]


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
    are area in an equidistant fisheye image; with `area: emission-layer` it is
    Lambert's of the angle at the Earth's centre, whose are area of the sphere
    at the emission height. Which one "equal-area" means in Jee et al. 2021 is
    an open question, so it is configuration.
    """
    radius = _Radius(settings)
    in_ring = _CELLS_IN_RING.get(settings.layout) or beckers_rings(settings)
    inside = np.cumsum([0, *in_ring])
    total = int(inside[-1])
    edge = radius.zenith_deg(np.sqrt(inside) / np.sqrt(total))
    edge[0], edge[-1] = 0.0, 90.0 - settings.elevation_min_deg
    middle = radius.zenith_deg(np.sqrt((inside[:-1] + inside[1:]) / 2.0) / np.sqrt(total))
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


def beckers_rings(settings: Cells) -> tuple[int, ...]:
    """Cells in each ring, from the zenith outward, for any total.

    Notes
    -----
    Beckers & Beckers 2012, from the outside in: with k cells inside an edge,
    the next edge lies one cell's height further in, the square root of a
    cell's area (on the sphere theta - 2 sin(theta/2) sqrt(pi/k), in the plane
    r (1 - sqrt(pi/k))), moved to where a whole number of cells fits inside.
    What is left when none would fit is cut into sectors.
    """
    radius = _Radius(settings)
    rings = []
    k = settings.total
    while k > 0:
        share = np.sqrt(k / settings.total)
        within = round(settings.total * radius.one_cell_in(float(share), k) ** 2)
        within = min(within, k - 1)
        rings.append(k - within)
        k = within
    return tuple(reversed(rings))


class _Radius:
    """The radius whose square is area, as a share of that of the outermost edge."""

    def __init__(self, settings: Cells) -> None:
        self._area = settings.area
        self._height_km = settings.emission_height_km
        if settings.area == "emission-layer":
            edge = float(central_angle_deg(settings.elevation_min_deg, self._height_km))
        else:
            edge = 90.0 - settings.elevation_min_deg
        self._edge_rad = np.radians(edge)

    def zenith_deg(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Zenith angle at shares of the outermost radius."""
        angle = np.degrees(self._angle(share))
        if self._area == "emission-layer":
            return zenith_of_central_angle_deg(angle, self._height_km)
        return angle

    def one_cell_in(self, share: float, k: int) -> float:
        """Share of the radius one cell's height inside of the edge that holds k cells."""
        if self._area == "image":
            return max(share * (1.0 - float(np.sqrt(np.pi / k))), 0.0)
        angle = float(self._angle(np.asarray(share)))
        inner = max(angle - 2.0 * float(np.sin(angle / 2.0) * np.sqrt(np.pi / k)), 0.0)
        return float(np.sin(inner / 2.0) / np.sin(self._edge_rad / 2.0))

    def _angle(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._area == "image":
            return np.asarray(share * self._edge_rad, dtype=np.float64)
        angle: NDArray[np.float64] = 2.0 * np.arcsin(share * np.sin(self._edge_rad / 2.0))
        return angle


def map_cells(skymap: Skymap, cells: SkyCells, visible_min: float, pixels_min: int = 1) -> CellMap:
    """Assign the visible pixels of a skymap to sky cells.

    Parameters
    ----------
    skymap : (y, x) directions, solid angles, visibility; not modified
    cells : the campaign's cells
    visible_min : float in (0, 1]
        Least visible share of a cell's solid angle for it to count as observed.
    pixels_min : int, >= 1
        Least number of visible pixels for the same.

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
    flags = np.where(share < visible_min, CellFlag.HIDDEN, 0)
    flags |= np.where(n_pixels < pixels_min, CellFlag.FEW_PIXELS, 0)
    found = CellMap(
        cell=cell,
        weight=weight.astype(np.float32),
        n_pixels=n_pixels.astype(np.int32),
        visible_share=share.astype(np.float32),
        observed=flags == 0,
        flags=flags.astype(np.uint8),
    )
    for array in vars(found).values():
        array.setflags(write=False)
    return found
