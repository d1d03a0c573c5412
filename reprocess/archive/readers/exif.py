"""Time, exposure and gain in the EXIF tags of a JPEG, PNG or TIFF."""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from typing import Any

from PIL import Image

from reprocess.archive.readers.containers import PNG_MAGIC
from reprocess.archive.readers.reader import FrameHeader, parse_time

_EXIF_IFD = 0x8769
_TIME_ORIGINAL, _OFFSET_ORIGINAL, _SUBSECOND_ORIGINAL = 36867, 36881, 37521
_EXPOSURE_TIME, _ISO = 33434, 34855
_HEAD_BYTES = 1 << 18
_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    AttributeError, ZeroDivisionError, struct.error, zlib.error, MemoryError,
    Image.DecompressionBombError, UserWarning,
)  # fmt: skip
_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


def exif_header(data: bytes) -> FrameHeader:
    """Read what the EXIF tags say; nothing where there are none or they are damaged.

    Notes
    -----
    Exif 2.32: DateTimeOriginal with SubSecTimeOriginal, when the exposure began by the camera's
    clock; OffsetTimeOriginal, how far that clock is ahead of UTC; ExposureTime in seconds;
    PhotographicSensitivity (ISO) as gain.
    """
    if not _may_have_tags(data):
        return FrameHeader()
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "TIFF")) as image:
            exif = image.getexif()
            tags: dict[int, Any] = {**dict(exif), **exif.get_ifd(_EXIF_IFD)}
    except _ERRORS:
        return FrameHeader()
    acquired, offset = None, None
    if date := _DATE.fullmatch(_text(tags.get(_TIME_ORIGINAL))):
        digits = _text(tags.get(_SUBSECOND_ORIGINAL))
        fraction = f".{digits}" if digits.isdigit() else ""
        zone = _text(tags.get(_OFFSET_ORIGINAL))
        text = f"{date[1]}-{date[2]}-{date[3]}T{date[4]}{fraction}"
        parsed = parse_time(text + zone) or parse_time(text)
        if parsed is not None:
            acquired, offset = parsed
    return FrameHeader(acquired, offset, _number(tags.get(_EXPOSURE_TIME)), _number(tags.get(_ISO)))


def _may_have_tags(data: bytes) -> bool:
    tiff = data[:2] in (b"II", b"MM")
    after_pixels = data.startswith(PNG_MAGIC) and b"eXIf" in data
    return tiff or after_pixels or data.find(b"Exif", 0, _HEAD_BYTES) >= 0


def _text(value: Any) -> str:
    return value.strip("\0 ") if isinstance(value, str) else ""


def _number(value: Any) -> float:
    """A positive finite number, NaN for anything else."""
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return number if math.isfinite(number) and number > 0 else math.nan
