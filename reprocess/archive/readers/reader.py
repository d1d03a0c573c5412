"""What a reader is, and the table of those that exist.

A reader turns the bytes of one file into its images and what the file says
about each (time, exposure, gain), or says why it cannot. It never sees a path:
the same bytes give the same image wherever the archive lies.
"""

from __future__ import annotations

import difflib
import importlib
import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError, UnreadableFrame

PIXELS_MAX = 100_000_000
"""A file that declares more pixels than this is refused before anything is decoded."""


Image = NDArray[np.uint8] | NDArray[np.uint16]
"""(y, x, 3) counts of one frame, of the depth that its file has."""


@dataclass(frozen=True)
class FrameHeader:
    """What a file says about one of its frames; nothing of it is guessed.

    Attributes
    ----------
    acquired : datetime64[us] as written, in whatever zone the camera's clock ran; None = not said
    utc_offset_s : seconds that `acquired` is ahead of UTC, where the file says so; else None
    exposure_s : seconds; NaN = not said
    gain : in the camera's own unit (ISO, EM gain, dB …); NaN = not said
    """

    acquired: np.datetime64 | None = None
    utc_offset_s: float | None = None
    exposure_s: float = float("nan")
    gain: float = float("nan")


class Reader(Protocol):
    """One file format: options in the constructor, the file's bytes in the call."""

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        """The `archive.time` under which `headers` has times; None = this format has none."""

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        """What this format usually holds; `archive.channels` may say otherwise."""

    def read_all(self, data: bytes) -> list[Image]:
        """Decode every image of a file, in the order in which it holds them.

        Parameters
        ----------
        data : all bytes of one file

        Returns
        -------
        list of (y, x, 3) uint8 or uint16 arrays, counts, red-green-blue
            At least one, all of one size and depth. Row 0 is the first row stored in the
            file, which is the top in every format but FITS. Grey images have three equal
            channels. C-contiguous; never a part of an image.

        Raises
        ------
        UnreadableFrame
            If the file is not whole and of this format, with the reason.
        """
        ...

    def read(self, data: bytes) -> Image:
        """Decode the one image of a file; refuses a file of several."""
        ...

    def headers(self, data: bytes) -> list[FrameHeader]:
        """Read what a file says about its frames, one entry a frame, without their pixels.

        Raises
        ------
        UnreadableFrame
            If it cannot be told how many frames there are. A header that holds nothing of use
            is no error: its fields are then empty.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return what decides the pixels, JSON-able; it enters the fingerprint."""
        ...


READERS: dict[str, str] = {
    "still": "reprocess.archive.readers.still:StillReader",
    "npy": "reprocess.archive.readers.numpy_array:NumpyArrayReader",
    "pgm": "reprocess.archive.readers.pgm:PgmReader",
    "fits": "reprocess.archive.readers.fits:FitsReader",
    "calgary_h5": "reprocess.archive.readers.calgary_h5:CalgaryH5Reader",
}


def load_reader(name: str) -> Reader:
    """Build the reader of that name.

    Raises
    ------
    ConfigurationError
        If there is none; the message lists those there are.
    """
    try:
        target = READERS[name]
    except KeyError:
        close = difflib.get_close_matches(name, READERS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"archive.reader: found {name!r}, expected one of {', '.join(READERS)}{hint}"
        ) from None
    module, _, attribute = target.partition(":")
    return cast(Reader, getattr(importlib.import_module(module), attribute)())


def check_declared_size(width_px: int, height_px: int) -> None:
    """Refuse an image that declares no pixels, or more than `PIXELS_MAX`.

    Raises
    ------
    UnreadableFrame
        Naming the declared size.
    """
    if width_px < 1 or height_px < 1:
        raise UnreadableFrame(f"declares an image of {width_px} x {height_px} pixels")
    if width_px * height_px > PIXELS_MAX:
        raise UnreadableFrame(
            f"declares {width_px} x {height_px} pixels, "
            f"more than the {PIXELS_MAX // 1_000_000} million allowed"
        )


def only(images: list[Image]) -> Image:
    """Return a file's one image.

    Raises
    ------
    UnreadableFrame
        If there are several: only their headers can tell their times apart.
    """
    if len(images) != 1:
        raise UnreadableFrame(
            f"holds {len(images)} frames, expected one; with archive.time: header each has its own"
        )
    return images[0]


def three_channels(grey: NDArray[Any]) -> Image:
    """(y, x, 3) copy of a (y, x) image, all channels equal."""
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?\s*(UTC|Z|[+-]\d\d:\d\d)?"
)


def parse_time(text: str) -> tuple[np.datetime64, float | None] | None:
    """Read an ISO 8601 date and time of a header.

    Returns
    -------
    (datetime64[us] as written, seconds ahead of UTC if the text says so), or None if it is none.
    Digits beyond the microsecond are cut off.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    if int(year) == 0:
        return None
    try:
        time = np.datetime64(
            f"{year}-{month}-{day}T{hour}:{minute}:{second}.{(fraction or '0')[:6]}", "us"
        )
    except ValueError:
        return None
    offset = None if zone is None else 0.0
    if zone is not None and ":" in zone:
        sign = -1 if zone[0] == "-" else 1
        offset = sign * 60.0 * (60 * int(zone[1:3]) + int(zone[4:6]))
    return time, offset
