"""Images saved as NumPy arrays: (y, x, 3) or (y, x) `.npy` files of uint8 or uint16."""

from __future__ import annotations

import io
import tokenize
from typing import Any, Literal

import numpy as np

from reprocess.archive.readers.reader import (
    FrameHeader,
    Image,
    check_declared_size,
    three_channels,
)
from reprocess.errors import UnreadableFrame

NPY_MAGIC = b"\x93NUMPY"


class NumpyArrayReader:
    """One array a file; objects (pickles) are never loaded.

    Notes
    -----
    A grey (y, x) array becomes three equal channels. The header's shape must
    account for every byte of the file, so a cut or padded file is refused
    before any memory is taken.
    """

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        return None

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        return "rgb"

    def read_all(self, data: bytes) -> list[Image]:
        """Decode the file's image; see `Reader.read_all`."""
        return [self.read(data)]

    def headers(self, data: bytes) -> list[FrameHeader]:  # noqa: ARG002 - the format has none
        """Say nothing about the one frame: an array has no header of its own."""
        return [FrameHeader()]

    def read(self, data: bytes) -> Image:
        """Decode one image; see `Reader.read`."""
        if not data:
            raise UnreadableFrame("empty file (0 bytes)")
        if not data.startswith(NPY_MAGIC):
            raise UnreadableFrame(f"not a .npy array: begins with {data[:8]!r}")
        stream = io.BytesIO(data)
        shape, fortran_order, dtype = _header(stream)
        if dtype.kind != "u" or dtype.itemsize > 2:
            raise UnreadableFrame(f"holds {dtype} values, expected uint8 or uint16")
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
            raise UnreadableFrame(f"has shape {shape}, expected (y, x, 3) or (y, x)")
        check_declared_size(shape[1], shape[0])
        expected = int(np.prod(shape)) * dtype.itemsize
        found = len(data) - stream.tell()
        if found != expected:
            word = "truncated" if found < expected else "too long"
            raise UnreadableFrame(f"{word}: {found} bytes of pixels, {shape} needs {expected}")
        pixels = np.frombuffer(data, dtype, offset=stream.tell())
        image = pixels.reshape(shape, order="F" if fortran_order else "C")
        if image.ndim == 2:
            image = three_channels(image)
        return np.array(image, dtype.newbyteorder("="), order="C")

    def settings(self) -> dict[str, Any]:
        """Return the decoding options that decide the pixels: none."""
        return {"reader": "npy"}


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except (
        ValueError, TypeError, EOFError, SyntaxError, KeyError, tokenize.TokenError,
        RecursionError, MemoryError, OverflowError, Warning,
    ) as error:  # fmt: skip
        raise UnreadableFrame(f"corrupt .npy header: {error}") from error
    raise UnreadableFrame(f".npy format {version} is not read; expected 1.0 or 2.0")
