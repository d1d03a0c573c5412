"""A day along the magnetic meridian: what the frames show, and what the detectors found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.archive.frames import FrameStatus
from reprocess.campaign import Campaign
from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED
from reprocess.geometry.calibration import magnetic_epoch
from reprocess.geometry.magnetic import magnetic_north_azimuth_deg
from reprocess.geometry.skymap import processed_pixel
from reprocess.plot.stored import Stored
from reprocess.stores.days import DayReader
from reprocess.stores.layout import NOT_ACQUIRED_US, chunk_slots

ANGLES = np.arange(-89.5, 90.0)
"""Zenith angles along the meridian, degrees: south negative, north positive."""
ACROSS = (-1.0, 0.0, 1.0)
"""Degrees across the meridian over which a keogram is the mean."""
ABSENT, NO_FRAME, UNREADABLE, OK = -1, 0, 1, 2
_EITHER_SIDE_DEG = 0.01


@dataclass(frozen=True)
class DayAlongMeridian:
    """One UTC day.

    Attributes
    ----------
    image : (angle, slot, channel) float32 counts, NaN where there is no frame; None = the
        frames of the day are not stored (any more)
    frame_status : (slot,) int8: ABSENT (not known), NO_FRAME, UNREADABLE, OK
    share : label → (angle, slot) float32 share of the cells with aurora, NaN = not observed
    why_no_image : said where `image` is None
    """

    day: date
    image: NDArray[np.float32] | None
    frame_status: NDArray[np.int8]
    share: Mapping[str, NDArray[np.float32]]
    why_no_image: str = ""


def read_day(stored: Stored, day: date, labels: Sequence[str]) -> DayAlongMeridian:
    """Read a committed day along the magnetic meridian.

    Parameters
    ----------
    labels : those without committed detections of the day are left out of `share`

    Raises
    ------
    StoreError
        If a stored object is not the one its record names.

    Notes
    -----
    Through the zenith, in the vertical plane of AACGM north at the emission
    height. Frames: bilinear, mean over 3° across. Cells: where the meridian
    runs between two of them their mean, or the one that was observed.
    """
    campaign = stored.campaign
    slots = campaign.slots_per_day
    frames = stored.reader("frames", "", day)
    status = np.full(slots, ABSENT, np.int8)
    image = None
    why = ""
    if frames is None:
        removed = stored.record("frames", "", day) is not None
        why = "frames store removed" if removed else "frames of this day are not committed"
    else:
        said = frames.read("status")
        status[:] = NO_FRAME
        status[said == FrameStatus.UNREADABLE] = UNREADABLE
        status[said == FrameStatus.OK] = OK
        image = _keogram(frames, campaign, status == OK)
    share: dict[str, NDArray[np.float32]] = {}
    for label in labels:
        reader = stored.reader("detections", label, day)
        if reader is None:
            continue
        share[label] = _along(stored, label, day, reader.read("fraction"))
        if frames is None:
            status[reader.read("acquired") != NOT_ACQUIRED_US] = OK
    return DayAlongMeridian(day, image, status, share, why)


def meridian_azimuth_deg(campaign: Campaign) -> float:
    """Geographic azimuth of AACGM north, at the emission height and magnetic epoch."""
    site = campaign.site
    return magnetic_north_azimuth_deg(
        site.latitude_deg,
        site.longitude_deg,
        campaign.cells.emission_height_km,
        magnetic_epoch(campaign),
    )


def _keogram(
    frames: DayReader, campaign: Campaign, present: NDArray[np.bool_]
) -> NDArray[np.float32]:
    slots = campaign.slots_per_day
    acquired = frames.read("acquired")
    epochs = campaign.epoch_index(acquired.view("datetime64[us]"))
    lines = {int(e): _line(campaign, int(e)) for e in np.unique(epochs[present]) if e >= 0}
    image = np.full((len(ANGLES), slots, 3), np.nan, np.float32)
    step = chunk_slots(slots)
    for start in range(0, slots, step):
        inside = np.flatnonzero(present[start : start + step])
        if len(inside) == 0:
            continue
        block = frames.read("image", start, step)
        for i in inside:
            if int(epochs[start + i]) not in lines:
                continue
            u, v, outside = lines[int(epochs[start + i])]
            line = cv2.remap(block[i], u, v, cv2.INTER_LINEAR).astype(np.float32)
            line[outside] = np.nan
            image[:, start + i] = line.mean(axis=1)
    return image


def _line(
    campaign: Campaign, epoch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Pixels of the meridian, (angle, across), and where they are not sky."""
    north = meridian_azimuth_deg(campaign)
    along, across = np.meshgrid(ANGLES, ACROSS, indexing="ij")
    zenith = np.hypot(along, across)
    azimuth = np.degrees(np.arctan2(across, along)) + north
    camera = campaign.camera[epoch]
    size = campaign.image.size_px
    u, v = processed_pixel(camera, size, azimuth, 90.0 - zenith)
    # Written so that NaN, where a lens has no pixel, is outside.
    inside = (zenith <= camera.zenith_max_deg) & (u > -0.5) & (u < size - 0.5)
    inside &= (v > -0.5) & (v < size - 0.5)
    return u.astype(np.float32), v.astype(np.float32), ~inside


def _along(
    stored: Stored, label: str, day: date, fraction: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Shares of the cells that the meridian passes, (angle, slot)."""
    cells = stored.cells(label, day.year)
    zenith = cells["cell_zenith_bounds"].to_numpy()
    azimuth = cells["cell_azimuth_bounds"].to_numpy()
    turn = meridian_azimuth_deg(stored.campaign) - float(cells.attrs["north_azimuth_deg"])
    share = np.full((len(ANGLES), len(fraction)), np.nan, np.float32)
    for row, angle in enumerate(ANGLES):
        sides = []
        for side in (-_EITHER_SIDE_DEG, _EITHER_SIDE_DEG):
            looked = (turn + (0.0 if angle > 0 else 180.0) + side) % 360.0
            in_ring = (abs(angle) >= zenith[:, 0]) & (abs(angle) < zenith[:, 1])
            found = np.flatnonzero(in_ring & (looked >= azimuth[:, 0]) & (looked < azimuth[:, 1]))
            sides += [int(cell) for cell in found]
        if not sides:
            continue
        values = fraction[:, sorted(set(sides))]
        observed = values != FRACTION_UNOBSERVED
        n = observed.sum(axis=1)
        total = np.where(observed, values, 0).sum(axis=1, dtype=np.float64)
        np.divide(
            total, n * FRACTION_FULL, out=share[row], where=n > 0, casting="same_kind"
        )  # fmt: skip
    return share
