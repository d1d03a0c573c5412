"""Frames as the detectors see them: cropped to the sky and scaled once.

Two scalings, one of size and one of counts, in this order. The second exists
where the archive has 16 bits or a camera epoch declares levels: one linear
scaling for all of the epoch's frames, the same for every pixel of a channel.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch
from reprocess.errors import UnreadableFrame

SCALING = {"shrink": "area mean, whole numbers", "enlarge": "bilinear"}
"""How `prepare` resizes: of the frames' settings, for single counts depend on it."""


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
    image16 : (n, y, x, c) uint16 array, counts of the camera, or None
        The same frames before they were scaled to 8 bits; c is 3, or 1 of a mono camera. Only
        of 16-bit archives.
    exposure_s, gain : (n,) float32 arrays; NaN where the archive does not tell
    """

    slot: NDArray[np.int64]
    image: NDArray[np.uint8]
    acquired: NDArray[np.datetime64]
    epoch: NDArray[np.int64]
    image16: NDArray[np.uint16] | None = None
    exposure_s: NDArray[np.float32] | None = None
    gain: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        lengths = [len(self.slot), len(self.image), len(self.acquired), len(self.epoch)]
        lengths += [len(a) for a in (self.image16, self.exposure_s, self.gain) if a is not None]
        if len(set(lengths)) != 1:
            raise ValueError(
                f"slot, image, acquired and epoch must have one length, found {lengths}"
            )
        if np.any(self.acquired[1:] < self.acquired[:-1]):
            raise ValueError("frames of a block must be in order of acquired")

    def __len__(self) -> int:
        return len(self.slot)

    def __getitem__(self, rows: NDArray[np.bool_]) -> FrameBlock:
        """The frames that a mask selects."""
        kept: dict[str, Any] = {}
        for field in fields(self):
            array = getattr(self, field.name)
            kept[field.name] = None if array is None else array[rows]
        return FrameBlock(**kept)


def join(blocks: Sequence[FrameBlock]) -> FrameBlock:
    """One block of several, in order; what one of them lacks, the whole lacks."""
    joined: dict[str, Any] = {}
    for field in fields(FrameBlock):
        arrays = [getattr(block, field.name) for block in blocks]
        lacking = any(array is None for array in arrays)
        joined[field.name] = None if lacking else np.concatenate(arrays)
    return FrameBlock(**joined)


@overload
def prepare(image: NDArray[np.uint8], epoch: CameraEpoch, size_px: int) -> NDArray[np.uint8]: ...
@overload
def prepare(image: NDArray[np.uint16], epoch: CameraEpoch, size_px: int) -> NDArray[np.uint16]: ...
def prepare(image: NDArray[Any], epoch: CameraEpoch, size_px: int) -> NDArray[Any]:
    """Crop a stored frame to the sky disk and scale it to the processed size.

    Parameters
    ----------
    image : (y, x, 3) uint8 or uint16 array, counts
        As stored. Not modified.
    epoch : CameraEpoch
        Its stored size, and the square around the sky.
    size_px : int
        Side of the processed image.

    Returns
    -------
    (size_px, size_px, 3) array of the same type, counts

    Raises
    ------
    UnreadableFrame
        If the image is not of the epoch's stored size, naming both.

    Notes
    -----
    Where the crop sticks out of the stored image the counts are 0. Shrinking
    is `area_mean`, enlarging bilinear: one resize, so that the result is a
    function of the stored pixels alone.
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
    if epoch.crop.size_px > size_px:
        from reprocess.archive.area import area_mean  # numba: of no use to who only plans

        return area_mean(square, size_px)
    enlarged = cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, dtype=image.dtype)


def to_eight_bits(counts: NDArray[Any], epoch: CameraEpoch) -> NDArray[np.uint8]:
    """Scale counts from black to white level to 0-255, one formula for the whole epoch.

    Parameters
    ----------
    counts : (y, x, 3) uint8 or uint16 array. Not modified.
    epoch : CameraEpoch
        Its `black_level`, `white_level` and `channel_response`.

    Returns
    -------
    (y, x, 3) uint8 array

    Notes
    -----
    floor(255 (counts − black) / (white − black) / response + ½), clipped to 0 and 255. Counts
    below black and above white are lost to this array only: `image16` keeps them. Without
    levels (0, 255, responses of 1) uint8 counts come back unchanged.
    """
    if counts.dtype == np.uint8 and not declares_levels(epoch):
        return np.asarray(counts, np.uint8)
    table = _eight_bit_table(
        epoch.black_level, white_level(epoch), epoch.channel_response, counts.dtype.itemsize
    )
    scaled = [table[channel][counts[:, :, channel]] for channel in range(3)]
    return np.stack(scaled, axis=-1)


def declares_levels(epoch: CameraEpoch) -> bool:
    """Whether the epoch's counts are scaled at all."""
    plain = (epoch.black_level, white_level(epoch)) == (0.0, 255.0)
    return not plain or epoch.channel_response != (1.0, 1.0, 1.0)


def white_level(epoch: CameraEpoch) -> float:
    """Counts that are stored as 255."""
    return 255.0 if epoch.white_level is None else epoch.white_level


def eight_bit_units(epoch: CameraEpoch) -> NDArray[np.float64]:
    """What one count of the camera is in counts of the 8-bit frame, by channel; (3,) float64."""
    step = 255.0 / (white_level(epoch) - epoch.black_level)
    return step / np.asarray(epoch.channel_response, np.float64)


@functools.lru_cache(maxsize=16)
def _eight_bit_table(
    black: float, white: float, response: tuple[float, float, float], itemsize: int
) -> NDArray[np.uint8]:
    counts = np.arange(1 << (8 * itemsize), dtype=np.float64)
    share = (counts - black) * 255.0 / (white - black)
    scaled = np.floor(share / np.asarray(response, np.float64)[:, np.newaxis] + 0.5)
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _crop(image: NDArray[Any], left: int, top: int, size: int) -> NDArray[Any]:
    """Cut out a square copy, 0 where it lies outside the image."""
    height, width = image.shape[:2]
    y0, y1 = max(top, 0), min(top + size, height)
    x0, x1 = max(left, 0), min(left + size, width)
    if y1 - y0 == size and x1 - x0 == size:
        return image[y0:y1, x0:x1].copy()
    square = np.zeros((size, size, 3), image.dtype)
    if y1 > y0 and x1 > x0:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return square
