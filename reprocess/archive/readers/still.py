"""Still images: JPEG, PNG and TIFF, 8 or 16 bits, one image a file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from reprocess.archive.readers.containers import (
    PNG_MAGIC,
    TIFF_MAGICS,
    Declared,
    check_png,
    check_tiff,
    without_orientation,
)
from reprocess.archive.readers.exif import exif_header
from reprocess.archive.readers.reader import FrameHeader, Image, check_declared_size
from reprocess.errors import UnreadableFrame

JPEG_MAGIC = b"\xff\xd8\xff"
_TO_RGB = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
_DECODING_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    struct.error, zlib.error, MemoryError,
)  # fmt: skip


class StillReader:
    """JPEG, PNG or TIFF, told apart by their first bytes, never by the name.

    Notes
    -----
    Grey becomes three equal channels, a palette its colours; alpha is dropped,
    not blended. An orientation tag is not applied: calibration is of the
    pixels as they are stored. JPEG uses the exact integer DCT and smooth
    chroma upsampling, and any warning of the decoder refuses the frame, since
    that is how libjpeg reports missing data before it fills the rest grey.
    PNG and TIFF of 16 bits come out as uint16, never reduced here.
    """

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        return "exif"

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        return "rgb"

    def read_all(self, data: bytes) -> list[Image]:
        """Decode the file's image; see `Reader.read_all`."""
        return [self.read(data)]

    def headers(self, data: bytes) -> list[FrameHeader]:
        """Read the EXIF tags of the one frame: DateTimeOriginal, ExposureTime, ISO."""
        if not data:
            raise UnreadableFrame("empty file (0 bytes)")
        return [exif_header(data)]

    def read(self, data: bytes) -> Image:
        """Decode one image; see `Reader.read`."""
        if not data:
            raise UnreadableFrame("empty file (0 bytes)")
        if data.startswith(JPEG_MAGIC):
            return _read_jpeg(data)
        if data.startswith(PNG_MAGIC):
            declared = check_png(data)
            _check_declared(declared, "PNG")
            return _read_deep(data, "PNG") if declared.bits == 16 else _read_png(data)
        if data.startswith(TIFF_MAGICS):
            declared = check_tiff(data)
            _check_declared(declared, "TIFF")
            return _read_deep(data, "TIFF") if declared.bits == 16 else _read_tiff(data)
        if any(magic.startswith(data) for magic in (JPEG_MAGIC, PNG_MAGIC, *TIFF_MAGICS)):
            raise UnreadableFrame(f"truncated: only {len(data)} bytes")
        raise UnreadableFrame(f"not a JPEG, PNG or TIFF image: begins with {data[:8]!r}")

    def settings(self) -> dict[str, Any]:
        """Return the decoding options that decide the pixels."""
        return {
            "reader": "still",
            "jpeg": {"fast_dct": False, "fast_upsample": False},
            "alpha": "drop",
        }


def _read_jpeg(data: bytes) -> NDArray[np.uint8]:
    try:
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        raise UnreadableFrame(f"corrupt or truncated JPEG header: {error}") from error
    check_declared_size(width, height)
    if colourspace in ("CMYK", "YCCK"):
        raise UnreadableFrame(f"{colourspace} images are not read by 'still'")
    try:
        image: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, colorspace="RGB", fastdct=False, fastupsample=False, strict=True
        )
    except (ValueError, MemoryError) as error:
        raise UnreadableFrame(f"corrupt or truncated JPEG: {error}") from error
    return image


def _check_declared(declared: Declared, container: str) -> None:
    check_declared_size(declared.width_px, declared.height_px)
    if declared.bits > 8 and declared.bits != 16:
        raise UnreadableFrame(f"{declared.bits}-bit images are not read by 'still'")
    if declared.images != 1:
        raise UnreadableFrame(f"{container} holds {declared.images} images, expected one")


def _read_png(data: bytes) -> NDArray[np.uint8]:
    # OpenCV refuses an image with too few rows; Pillow leaves the rest black without a word.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UnreadableFrame(f"corrupt PNG: {error.err}") from error
    if image is None:
        raise UnreadableFrame("corrupt PNG: its pixel data cannot be decompressed")
    return np.asarray(image, dtype=np.uint8)


def _read_deep(data: bytes, container: str) -> NDArray[np.uint16]:
    """Decode 16-bit grey or colour; OpenCV keeps the depth, where Pillow reduces colour to 8."""
    upright = without_orientation(data) if container == "TIFF" else data
    try:
        image = cv2.imdecode(np.frombuffer(upright, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnreadableFrame(f"corrupt {container}: {error.err}") from error
    if image is None:
        raise UnreadableFrame(f"corrupt {container}: its pixel data cannot be decompressed")
    if image.dtype != np.uint16:
        raise UnreadableFrame(f"{container} of {image.dtype} values is not read by 'still'")
    if image.ndim == 3 and image.shape[2] >= 3:
        return np.ascontiguousarray(image[:, :, 2::-1], dtype=np.uint16)
    grey = image if image.ndim == 2 else image[:, :, 0]
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _read_tiff(data: bytes) -> NDArray[np.uint8]:
    # The plug-in class, not Image.open: our own size limit holds, and no other format is tried.
    try:
        with TiffImagePlugin.TiffImageFile(io.BytesIO(without_orientation(data))) as stored:
            stored.load()
            if stored.mode not in _TO_RGB:
                raise UnreadableFrame(f"{stored.mode} images are not read by 'still'")
            return np.array(stored.convert("RGB"), dtype=np.uint8)
    except _DECODING_ERRORS as error:
        raise UnreadableFrame(f"corrupt TIFF: {error}") from error
