"""Where the pixels of a labelled image look, by camera; and which pixels are judged."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Cells
from reprocess.detectors.change import CellSpans, cell_spans
from reprocess.geometry.calibration import epoch_geometry
from reprocess.geometry.cells import CellMap, SkyCells, map_cells, ring_cells
from reprocess.geometry.skymap import build_skymap
from reprocess.labels import UNJUDGED

BAND_DEG = 10
BANDS = 90 // BAND_DEG
INVISIBLE = 255
CAMERAS_KEPT = 8


@dataclass(frozen=True, eq=False)
class CameraView:
    """One camera of a labelled set, at the processed size.

    Attributes
    ----------
    band : (y, x) uint8 array
        Elevation band of each visible pixel: 0 is 0-10 degrees, 8 is 80-90; 255 not visible.
    cellmap : CellMap
    spans : its runs of pixels, for the difference method
    """

    band: NDArray[np.uint8]
    cellmap: CellMap
    spans: CellSpans


class Views:
    """The views of a set's cameras: computed when asked for, the last few kept.

    Parameters
    ----------
    cameras : camera's name → epoch
    size_px : side of the processed images
    campaign : its cells and their azimuth reference; None: 10 rings from 10 degrees up, geographic
    """

    def __init__(
        self, cameras: Mapping[str, CameraEpoch], size_px: int, campaign: Campaign | None
    ) -> None:
        self._cameras, self._size_px = cameras, size_px
        if campaign is None:
            self.settings = Cells(azimuth="geographic")
            self.cells: SkyCells = ring_cells(self.settings, 0.0)
        else:
            self.settings = campaign.cells
            self.cells = epoch_geometry(campaign, campaign.camera[0]).cells
        self.of = functools.lru_cache(maxsize=CAMERAS_KEPT)(self._view)

    def _view(self, camera: str) -> CameraView:
        skymap = build_skymap(self._cameras[camera], self._size_px)
        settings = self.settings
        cellmap = map_cells(skymap, self.cells, settings.visible_min, settings.pixels_min)
        elevation = np.where(skymap.visible, skymap.elevation_deg, np.nan)
        band = np.clip(np.nan_to_num(elevation) // BAND_DEG, 0, BANDS - 1)
        shown = skymap.visible & (np.nan_to_num(elevation, nan=-1.0) >= 0)
        return CameraView(
            np.where(shown, band, INVISIBLE).astype(np.uint8),
            cellmap,
            cell_spans(cellmap.cell, skymap.visible, self.cells.n_cells),
        )


def judged_cells(cellmap: CellMap, mask: NDArray[np.uint8]) -> tuple[CellMap, NDArray[np.bool_]]:
    """Leave the pixels that nobody judged out of the cells.

    Returns
    -------
    cellmap : the map without those pixels
    scored : (cell,) bool array
        Observed cells of whose visible solid angle at least half was judged.
    """
    judged = (mask != UNJUDGED) & (cellmap.cell >= 0)
    n_cells = len(cellmap.observed)
    left = replace(
        cellmap,
        cell=np.where(judged, cellmap.cell, np.int16(-1)),
        weight=np.where(judged, cellmap.weight, np.float32(0.0)),
    )
    seen = np.bincount(
        cellmap.cell[cellmap.cell >= 0], cellmap.weight[cellmap.cell >= 0], minlength=n_cells
    )
    known = np.bincount(cellmap.cell[judged], cellmap.weight[judged], minlength=n_cells)
    return left, cellmap.observed & (known > 0) & (2 * known >= seen)
