"""What a reader is, and the table of those that exist.

A reader turns the bytes of one file into one colour image, or says why it
cannot. It never sees a path: the same bytes give the same image wherever the
archive lies.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError, UnreadableFrame

PIXELS_MAX = 100_000_000
"""A file that declares more pixels than this is refused before anything is decoded."""


class Reader(Protocol):
    """One file format: options in the constructor, the file's bytes in the call."""

    def read(self, data: bytes) -> NDArray[np.uint8]:
        """Decode one image.

        Parameters
        ----------
        data : all bytes of one file

        Returns
        -------
        (y, x, 3) uint8 array, counts, red-green-blue
            Row 0 is the top of the stored image. Grey images have three equal
            channels. C-contiguous; never a part of an image.

        Raises
        ------
        UnreadableFrame
            If the file is not one whole image of this format, with the reason.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return what decides the pixels, JSON-able; it enters the fingerprint."""
        ...


READERS: dict[str, str] = {
    "still": "reprocess.archive.readers.still:StillReader",
    "npy": "reprocess.archive.readers.numpy_array:NumpyArrayReader",
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
