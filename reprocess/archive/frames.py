"""Frames as the detectors see them: cropped to the sky and scaled once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch
from reprocess.errors import UnreadableFrame


class FrameStatus(IntEnum):
    """What a slot of the frames store holds."""

    NO_FRAME = 0
    OK = 1
    UNREADABLE = 2


@dataclass(frozen=True)
class FrameBlock:
    """Frames that were decoded, in order of time.

    Attributes
    ----------
    slot : (n,) int64 array
        Index of the slot in the UTC day.
    image : (n, y, x, channel) uint8 array, counts
        Red, green, blue; row 0 is the top.
    acquired : (n,) datetime64[us] array, UTC, ascending
    epoch : (n,) int64 array
        Index of the camera epoch in the campaign.
    """

    slot: NDArray[np.int64]
    image: NDArray[np.uint8]
    acquired: NDArray[np.datetime64]
    epoch: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = [len(self.slot), len(self.image), len(self.acquired), len(self.epoch)]
        if len(set(lengths)) != 1:
            raise ValueError(
                f"slot, image, acquired and epoch must have one length, found {lengths}"
            )
        if np.any(self.acquired[1:] < self.acquired[:-1]):
            raise ValueError("frames of a block must be in order of acquired")

    def __len__(self) -> int:
        return len(self.slot)


def prepare(image: NDArray[np.uint8], epoch: CameraEpoch, size_px: int) -> NDArray[np.uint8]:
    """Crop a stored frame to the sky disk and scale it to the processed size.

    Parameters
    ----------
    image : (y, x, 3) uint8 array, counts
        As stored. Not modified.
    epoch : CameraEpoch
        Its stored size, and the square around the sky.
    size_px : int
        Side of the processed image.

    Returns
    -------
    (size_px, size_px, 3) uint8 array, counts

    Raises
    ------
    UnreadableFrame
        If the image is not of the epoch's stored size, naming both.

    Notes
    -----
    Where the crop sticks out of the stored image the counts are 0. Shrinking
    averages over each processed pixel's area (one resize, so that the result
    is a function of the stored pixels alone), enlarging is bilinear.
    """
    expected = (epoch.image_height_px, epoch.image_width_px, 3)
    if image.shape != expected:
        height, width = image.shape[:2]
        raise UnreadableFrame(
            f"is {width} x {height} pixels (width x height), camera epoch {epoch.name} "
            f"has {epoch.image_width_px} x {epoch.image_height_px}"
        )
    square = _crop(image, epoch.crop.left_px, epoch.crop.top_px, epoch.crop.size_px)
    if epoch.crop.size_px == size_px:
        return square
    method = cv2.INTER_AREA if epoch.crop.size_px > size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size_px, size_px), interpolation=method), dtype=np.uint8)


def _crop(image: NDArray[np.uint8], left: int, top: int, size: int) -> NDArray[np.uint8]:
    """Cut out a square copy, 0 where it lies outside the image."""
    height, width = image.shape[:2]
    y0, y1 = max(top, 0), min(top + size, height)
    x0, x1 = max(left, 0), min(left + size, width)
    if y1 - y0 == size and x1 - x0 == size:
        return image[y0:y1, x0:x1].copy()
    square = np.zeros((size, size, 3), np.uint8)
    if y1 > y0 and x1 > x0:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return square
