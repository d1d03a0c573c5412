"""FITS images: one frame a file, grey or three colour planes, 8- or 16-bit counts.

Read with astropy, which the field keeps and which knows what FITS has grown over
the years (unsigned integers by BZERO, tile compression, continued cards). The
file's length is checked first: astropy fills what a cut file lacks.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from reprocess.archive.readers.containers import GZIP_MAGIC, gunzip
from reprocess.archive.readers.reader import (
    FrameHeader,
    Image,
    check_declared_size,
    parse_time,
    three_channels,
)
from reprocess.errors import UnreadableFrame

FITS_MAGIC = b"SIMPLE  ="
_BLOCK = 2880
_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError,
    AttributeError, AssertionError, RuntimeError, NotImplementedError, struct.error, zlib.error,
    MemoryError, fits.VerifyError, AstropyWarning,
)  # fmt: skip


class FitsReader:
    """The first image of a FITS file, primary or extension; gzipped or not.

    Notes
    -----
    Rows stay in the order of the file. FITS viewers put the first row at the bottom, so the
    stored frame looks upside down beside them; azimuth and elevation maps that come as FITS
    have the same order and fit as they are. Integer counts of 0 to 65535 only: BITPIX 8 gives
    uint8, everything else uint16. A cube of three planes is red, green, blue. Time: DATE-OBS (with
    TIME-OBS or UT if it holds only the date), or OBSDATE and OBSSTART (Poker Flat DASC).
    Exposure: EXPTIME or EXPOSURE in seconds. Gain: GAIN, else EMGAIN x PAGAIN of those present.
    """

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        return "header"

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        return "mono"

    def read_all(self, data: bytes) -> list[Image]:
        """Decode the file's image; see `Reader.read_all`."""
        return [self.read(data)]

    def read(self, data: bytes) -> Image:
        """Decode the image; see `Reader.read`."""
        return _open(data, pixels=True)[1]

    def headers(self, data: bytes) -> list[FrameHeader]:
        """Read the image's header; see `Reader.headers`."""
        return [_header(_open(data, pixels=False)[0])]

    def settings(self) -> dict[str, Any]:
        """Return the decoding options that decide the pixels."""
        return {"reader": "fits", "rows": "as stored"}


def _open(data: bytes, *, pixels: bool) -> tuple[Mapping[str, Any], Image]:
    """Header cards by keyword, and the image; an empty one unless `pixels`."""
    if not data:
        raise UnreadableFrame("empty file (0 bytes)")
    unpacked = gunzip(data)
    if not unpacked.startswith(FITS_MAGIC):
        cut = FITS_MAGIC.startswith(unpacked) or data == GZIP_MAGIC[:1]
        what = "truncated" if cut else "not a FITS image"
        raise UnreadableFrame(f"{what}: begins with {unpacked[:10]!r}")
    if len(unpacked) % _BLOCK:
        raise UnreadableFrame(
            f"truncated: {len(unpacked)} bytes, FITS comes in blocks of {_BLOCK} bytes"
        )
    try:
        with fits.open(io.BytesIO(unpacked), memmap=False, lazy_load_hdus=True) as found:
            for hdu in found:
                if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2:
                    _check_form(hdu, len(unpacked))
                    cards = {**dict(found[0].header), **dict(hdu.header)}
                    return cards, _image(hdu.data) if pixels else np.empty((0, 0, 3), np.uint8)
    except _ERRORS as error:
        raise UnreadableFrame(f"corrupt FITS: {' '.join(str(error).split())}") from error
    raise UnreadableFrame("FITS file without an image")


def _check_form(hdu: Any, n_bytes: int) -> None:
    shape = hdu.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)):
        raise UnreadableFrame(f"has shape {shape}, expected (y, x), (1, y, x) or (3, y, x)")
    check_declared_size(shape[-1], shape[-2])
    info = hdu.fileinfo()
    if info["datLoc"] + info["datSpan"] > n_bytes:
        raise UnreadableFrame(
            f"truncated: {n_bytes} bytes, its header promises {info['datLoc'] + info['datSpan']}"
        )


def _image(values: Any) -> Image:
    if values is None:
        raise UnreadableFrame("FITS image without pixels")
    if values.dtype.kind not in "iu":
        raise UnreadableFrame(f"holds {values.dtype.name} values, expected integer counts")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableFrame(f"holds counts from {low} to {high}, expected 0 to 65535")
    counts = values.astype(np.uint8 if values.dtype.itemsize == 1 else np.uint16)
    if counts.ndim == 3 and counts.shape[0] == 3:
        return np.ascontiguousarray(np.moveaxis(counts, 0, -1))
    return three_channels(counts.reshape(counts.shape[-2:]))


def _header(cards: Mapping[str, Any]) -> FrameHeader:
    parsed = None
    for date_key, clock_keys in (("DATE-OBS", ("TIME-OBS", "UT")), ("OBSDATE", ("OBSSTART",))):
        date = str(cards.get(date_key, "")).strip()
        clocks = ["", *(f"T{str(cards[key]).strip()}" for key in clock_keys if key in cards)]
        for clock in clocks:
            parsed = parsed or parse_time(date + clock)
    acquired, offset = parsed if parsed is not None else (None, None)
    exposure_s = _positive(cards.get("EXPTIME", cards.get("EXPOSURE")))
    gain = _positive(cards.get("GAIN"))
    if math.isnan(gain):
        parts = [g for g in (_positive(cards.get(k)) for k in ("EMGAIN", "PAGAIN")) if g == g]
        gain = math.prod(parts) if parts else math.nan
    return FrameHeader(acquired, offset, exposure_s, gain)


def _positive(value: Any) -> float:
    """A positive finite number, NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) and value > 0 else math.nan
