"""U. Calgary's HDF5 files of TREx RGB: a minute of colour frames in one file."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np

from reprocess.archive.readers.reader import (
    FrameHeader,
    Image,
    check_declared_size,
    only,
    parse_time,
    three_channels,
)
from reprocess.errors import UnreadableFrame
from reprocess.extras import require

H5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ERRORS = (
    OSError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AttributeError,
    RuntimeError, NotImplementedError, SystemError, MemoryError, UnicodeDecodeError,
)  # fmt: skip


class CalgaryH5Reader:
    """`data/images` (y, x, channel, frame) and `data/timestamp` of one HDF5 file.

    Notes
    -----
    Rows stay in the order of the file, as in U. Calgary's PNG of the same camera; their own
    Python reader turns them upside down. uint8 or uint16. Exposure is in the file's name
    (`160ms`), not in the file: see `{exposure_ms}` in `archive.pattern`. Needs h5py, which the
    extra `hdf5` brings.
    """

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        return "header"

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        return "rgb"

    def read_all(self, data: bytes) -> list[Image]:
        """Decode every frame; see `Reader.read_all`."""
        return _open(data, pixels=True)[0]

    def read(self, data: bytes) -> Image:
        """Decode the one frame of a file; see `Reader.read`."""
        return only(self.read_all(data))

    def headers(self, data: bytes) -> list[FrameHeader]:
        """Read each frame's time stamp; see `Reader.headers`."""
        return _open(data, pixels=False)[1]

    def settings(self) -> dict[str, Any]:
        """Return the decoding options that decide the pixels."""
        return {"reader": "calgary_h5", "rows": "as stored"}


def _open(data: bytes, *, pixels: bool) -> tuple[list[Image], list[FrameHeader]]:
    require("h5py", "hdf5", "archive.reader: calgary_h5")
    import h5py

    if not data:
        raise UnreadableFrame("empty file (0 bytes)")
    if not data.startswith(H5_MAGIC):
        what = "truncated" if H5_MAGIC.startswith(data) else "not an HDF5 file"
        raise UnreadableFrame(f"{what}: begins with {data[:8]!r}")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            stored, stamps = file["data"]["images"], file["data"]["timestamp"]
            shape, n_stamps = stored.shape, len(stamps)
            if len(shape) != 4 or shape[2] not in (1, 3) or shape[3] < 1:
                raise UnreadableFrame(f"has images of {shape}, expected (y, x, 3, frames)")
            if n_stamps != shape[3]:
                raise UnreadableFrame(f"has {shape[3]} images and {n_stamps} time stamps")
            if stored.dtype.kind != "u" or stored.dtype.itemsize > 2:
                raise UnreadableFrame(f"holds {stored.dtype} values, expected uint8 or uint16")
            check_declared_size(shape[1] * shape[3], shape[0])
            headers = [_header(value) for value in stamps[:]]
            images = _images(np.asarray(stored[...])) if pixels else []
    except _ERRORS as error:
        raise UnreadableFrame(f"corrupt HDF5: {' '.join(str(error).split())}") from error
    return images, headers


def _images(stored: Any) -> list[Image]:
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    frames = [np.ascontiguousarray(native[:, :, :, i]) for i in range(native.shape[3])]
    return [three_channels(f[:, :, 0]) if f.shape[2] == 1 else f for f in frames]


def _header(value: Any) -> FrameHeader:
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return FrameHeader(*(parse_time(text) or (None, None)))
