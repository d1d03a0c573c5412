"""One pass over labelled images: what the network, the colours and the difference say of each.

Everything later is sums of what is kept here, by image and by cell; images are
not needed again but for the colour rule's pixels and for pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.change import compare_frames
from reprocess.detectors.detector import FRACTION_FULL
from reprocess.detectors.difference import match_lag
from reprocess.evaluate.sky import BANDS, INVISIBLE, Views, judged_cells
from reprocess.labels import AURORA, BACKGROUND, UNJUDGED, LabelledSet
from reprocess.scoring.cells import cell_means
from reprocess.scoring.levels import brightness_and_excess, network_levels

BINS = 200
"""Bins of probability, equally wide; one edge is at 0.5."""
BATCH = 16
BRIGHTNESS, EXCESS = 3 * 255 + 1, 4 * 255 + 1
"""Values of R + G + B, and of 2 G - R - B from -510 on."""
FOUR = 4
"""Outcomes, in this order: clear, false, missed, hit (2 × truth + flagged)."""
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float16]]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on n images of a set.

    Attributes
    ----------
    logits : (n, v, u) float16
    histogram : (n, truth, bin) int64, judged visible pixels by truth and probability
    network : (n, band, outcome) int64, pixels at p >= 0.5, by elevation band
    doubt : (n, 2) int64, visible pixels that nobody judged: all, and those with p >= 0.5
    colours : (truth, brightness, excess) int64, all judged pixels of the set
    share : (n, cell) float32, true share of the judged solid angle; NaN where not scored
    level : (n, cell) float32, highest logit threshold at which the network flags the cell
    colour : (n, cell, 3) float32, mean counts
    over : (n, cell) float32, mean of R, G, B over the median of the image's background, counts;
        NaN where an image has none
    partner : (n,) int64, row of the image a lag before by the same camera, -1 without one
    delta : (n, statistic, channel, cell) float32, counts; NaN without a partner
    bands : camera's name → (y, x) uint8 elevation bands
    """

    logits: NDArray[np.float16]
    histogram: NDArray[np.int64]
    network: NDArray[np.int64]
    doubt: NDArray[np.int64]
    colours: NDArray[np.int64]
    share: NDArray[np.float32]
    level: NDArray[np.float32]
    colour: NDArray[np.float32]
    over: NDArray[np.float32]
    partner: NDArray[np.int64]
    delta: NDArray[np.float32]
    bands: dict[str, NDArray[np.uint8]]

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n, cell) cells of which enough is visible and judged."""
        return np.isfinite(self.share)


def measure(
    labels: LabelledSet,
    logits: Logits,
    views: Views,
    fraction_min: int,
    *,
    lag_s: float,
    lag_tolerance_s: float,
    sky_shift_max_dn: float,
    progress: Callable[[int], None] = lambda _: None,
) -> Measured:
    """Measure each image of a labelled set once.

    Parameters
    ----------
    labels : images and masks. Not modified.
    logits : (m, y, x, 3) uint8 images → (m, y/8, x/8) float16 logit differences
    views : of the set's cameras
    fraction_min : least floor(254 × share) that makes a cell aurora
    lag_s, lag_tolerance_s, sky_shift_max_dn : of the difference method
    progress : called with the number of images done
    """
    n, size, n_cells = len(labels), labels.size_px, views.cells.n_cells
    partner = partners(labels, lag_s, lag_tolerance_s)
    cells = np.full((n, n_cells), np.nan, np.float32)
    found = Measured(
        logits=np.concatenate(
            [logits(labels.image[i : i + BATCH]) for i in range(0, n, BATCH)]
            or [np.empty((0, size // 8, size // 8), np.float16)]
        ),
        histogram=np.zeros((n, 2, BINS), np.int64),
        network=np.zeros((n, BANDS, FOUR), np.int64),
        doubt=np.zeros((n, 2), np.int64),
        colours=np.zeros((2, BRIGHTNESS, EXCESS), np.int64),
        share=cells,
        level=cells.copy(),
        colour=np.full((n, n_cells, 3), np.nan, np.float32),
        over=cells.copy(),
        partner=partner,
        delta=np.full((n, 2, 2, n_cells), np.nan, np.float32),
        bands={},
    )
    # By camera, so that each view is computed once.
    for done, row in enumerate(np.lexsort((labels.time, labels.camera)), 1):
        camera = str(labels.camera[row])
        view = views.of(camera)
        band = found.bands.setdefault(camera, view.band)
        image, mask = labels.image[row], labels.mask[row]
        _pixels(found, int(row), image, mask, band)
        cellmap, scored = judged_cells(view.cellmap, mask)
        truth = np.where(mask == AURORA, np.uint8(255), np.uint8(0))[:, :, None]
        share = cell_means(truth, cellmap.cell, cellmap.weight, n_cells)[:, 0] / 255.0
        found.share[row] = np.where(scored, share, np.nan)
        found.level[row] = network_levels(found.logits[row][None], cellmap, size, fraction_min)[0]
        ones = np.ones(cellmap.cell.shape, np.float32)
        found.colour[row] = cell_means(image, cellmap.cell, ones, n_cells)
        background = image[(band != INVISIBLE) & (mask == BACKGROUND)]
        if len(background):
            median = np.median(background.astype(np.float32).mean(axis=1))
            found.over[row] = found.colour[row].mean(axis=1) - median
        if partner[row] >= 0:
            before = labels.image[partner[row]]
            found.delta[row] = compare_frames([image], [before], view.spans, sky_shift_max_dn)[0][0]
        progress(done)
    return found


def partners(labels: LabelledSet, lag_s: float, tolerance_s: float) -> NDArray[np.int64]:
    """Row of the image `lag_s` before each, by the same station and camera; -1 without one."""
    partner = np.full(len(labels), -1, np.int64)
    key = np.char.add(np.char.add(labels.station, "\n"), labels.camera)
    for name in np.unique(key):
        mine = np.flatnonzero(key == name)
        mine = mine[np.argsort(labels.time[mine], kind="stable")]
        found = match_lag(labels.time[mine], labels.time[mine], lag_s, tolerance_s)
        partner[mine] = np.where(found >= 0, mine[found], -1)
    return partner


def probability(logits: NDArray[np.floating[Any]], size_px: int) -> NDArray[np.float32]:
    """(y, x) probability of aurora from the (v, u) logit differences of one image."""
    fine = cv2.resize(logits.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    # Beyond 80 the exponential of a float32 overflows, and the probability is 0 or 1 anyway.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(fine, -80.0, 80.0))), np.float32)


def truly(share: NDArray[np.float32], fraction_min: int) -> NDArray[np.bool_]:
    """Cells with aurora, by the rule that detections are counted by; NaN has none."""
    return np.asarray(np.floor(FRACTION_FULL * np.nan_to_num(share)) >= fraction_min)


def colour_pixels(
    labels: LabelledSet, bands: dict[str, NDArray[np.uint8]], rule: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels that a colour rule flags, as `Measured.network` and `Measured.doubt`.

    `rule` is a pair of bins of `Measured.colours`: aurora where a pixel reaches both.
    """
    counts = np.zeros((len(labels), BANDS, FOUR), np.int64)
    doubt = np.zeros((len(labels), 2), np.int64)
    for row in range(len(labels)):
        brightness, excess = _colour_bins(labels.image[row])
        flagged = (brightness >= rule[0]) & (excess >= rule[1])
        band = bands[str(labels.camera[row])]
        counts[row], doubt[row] = _outcomes(flagged, labels.mask[row], band)
    return counts, doubt


def _pixels(
    found: Measured,
    row: int,
    image: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    band: NDArray[np.uint8],
) -> None:
    """Fill the pixel counts of one image."""
    p = probability(found.logits[row], len(mask))
    judged = (band != INVISIBLE) & (mask != UNJUDGED)
    truth = (mask == AURORA).astype(np.int64)
    index = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    # The bin decides at 0.5 as well, so that table and curve are of the same counts.
    found.histogram[row] = np.bincount((truth * BINS + index)[judged], minlength=2 * BINS).reshape(
        2, BINS
    )
    found.network[row], found.doubt[row] = _outcomes(index >= BINS // 2, mask, band)
    brightness, excess = _colour_bins(image)
    place = (truth * BRIGHTNESS + brightness) * EXCESS + excess
    found.colours.reshape(-1)[:] += np.bincount(place[judged], minlength=found.colours.size)


def _outcomes(
    flagged: NDArray[np.bool_], mask: NDArray[np.uint8], band: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    judged = (band != INVISIBLE) & (mask != UNJUDGED)
    place = band.astype(np.int64) * FOUR + 2 * (mask == AURORA) + flagged
    counts = np.bincount(place[judged], minlength=BANDS * FOUR).reshape(BANDS, FOUR)
    doubt = (band != INVISIBLE) & (mask == UNJUDGED)
    return counts, np.array([doubt.sum(), (doubt & flagged).sum()], np.int64)


def _colour_bins(image: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Brightness in thirds of a count, green excess in halves from -255 on: whole numbers."""
    brightness, excess = brightness_and_excess(image.astype(np.float32))
    return np.rint(3 * brightness).astype(np.int64), (2 * excess).astype(np.int64) + 510
