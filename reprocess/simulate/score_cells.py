"""Sample truth, brought to the sky cells of a campaign.

Truth masks take the same way as the frames: crop, one area resize, then the
share of each cell's visible solid angle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.archive.frames import prepare
from reprocess.campaign import CameraEpoch, Campaign
from reprocess.detectors.coverage import cell_shares
from reprocess.detectors.fcn import STRIDE
from reprocess.geometry.calibration import epoch_geometry
from reprocess.geometry.cells import CellMap
from reprocess.scoring.cells import CHANNELS, cell_means
from reprocess.simulate.truth import FORMS_MAX, DayTruth


@dataclass(frozen=True, eq=False)
class TruthCells:
    """What a day's truth says about each sky cell.

    Attributes
    ----------
    time : (n,) datetime64[us], UTC, ascending; undamaged frames only
    share : (n, cell) float32, share of the cell's visible solid angle with aurora; NaN where
        the cell is not visible
    drift_deg_per_min, change_per_min : (n, cell) float32
        Of the form that covers most of the cell, the change as a magnitude; NaN without a form.
    ceiling : (n, cell) uint8, floor(254 × share) after the truth was averaged to the
        network's grid, upsampled and cut at one half; 255 where the cell is not visible
    """

    time: NDArray[np.datetime64]
    share: NDArray[np.float32]
    drift_deg_per_min: NDArray[np.float32]
    change_per_min: NDArray[np.float32]
    ceiling: NDArray[np.uint8]


def truth_cells(campaign: Campaign, truth: DayTruth) -> TruthCells:
    """Find the share of each sky cell that truly has aurora, and how that aurora behaves.

    Parameters
    ----------
    campaign : gives crop, image size, lens and cells
    truth : one UTC day. Not modified.

    Raises
    ------
    UnreadableFrame
        If the truth is not of the size of the epoch's stored image.

    Notes
    -----
    Frames from before the first camera epoch are left out, as are damaged ones.
    """
    epoch = campaign.epoch_index(truth.time)
    rows = np.flatnonzero(~truth.damaged & (epoch >= 0))
    n_cells = epoch_geometry(campaign, campaign.camera[0]).cells.n_cells
    share = np.empty((len(rows), n_cells), np.float32)
    drift, change = np.empty_like(share), np.empty_like(share)
    ceiling = np.empty((len(rows), n_cells), np.uint8)
    for i, row in enumerate(rows):
        camera = campaign.camera[epoch[row]]
        cellmap = epoch_geometry(campaign, camera).cellmap
        forms = _form_shares(truth.label[row], camera, campaign.image.size_px)
        by_form = cell_means(forms, cellmap.cell, cellmap.weight, n_cells) / 255.0
        share[i] = np.minimum(by_form.sum(axis=1), 1.0)
        most = np.where(by_form.max(axis=1) > 0, by_form.argmax(axis=1), -1)
        drift[i] = _of_form(truth.form_drift_deg_per_min[row], most)
        change[i] = _of_form(np.abs(truth.form_change_per_min[row]), most)
        ceiling[i] = _ceiling(forms, cellmap, n_cells)
    return TruthCells(truth.time[rows], share, drift, change, ceiling)


def _form_shares(label: NDArray[np.uint8], camera: CameraEpoch, size_px: int) -> NDArray[np.uint8]:
    """(y, x, form) share of each processed pixel that a form covers, in 255ths."""
    parts = []
    for first in range(1, max(2, int(label.max()) + 1), CHANNELS):
        wanted = np.arange(first, first + CHANNELS, dtype=np.uint8)
        parts.append(
            prepare(np.where(label[:, :, None] == wanted, np.uint8(255), 0), camera, size_px)
        )
    return np.concatenate(parts, axis=2)[:, :, :FORMS_MAX]


def _of_form(values: NDArray[Any], form: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(np.where(form >= 0, values[np.maximum(form, 0)], np.nan), np.float32)


def _ceiling(forms: NDArray[np.uint8], cellmap: CellMap, n_cells: int) -> NDArray[np.uint8]:
    """(cell,) fractions that a network right about every coarse pixel would give."""
    mask = np.minimum(forms.sum(axis=2, dtype=np.float32) / np.float32(255.0), 1.0)
    size = len(mask) // STRIDE
    coarse = mask.reshape(size, STRIDE, size, STRIDE).mean(axis=(1, 3))
    shares = cell_shares(coarse[None] - 0.5, cellmap.cell, cellmap.weight, n_cells, 0.0)
    return np.asarray(shares[0], np.uint8)
