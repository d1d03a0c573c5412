"""Portable grey and colour maps (P5, P6), one or many frames a file, gzipped or not.

This is the form of the U. Calgary archives (THEMIS, REGO, TREx as PGM): frames
follow one another, each with a header of its own whose comments tell its time
and exposure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from reprocess.archive.readers.containers import GZIP_MAGIC, gunzip
from reprocess.archive.readers.reader import (
    FrameHeader,
    Image,
    check_declared_size,
    only,
    parse_time,
    three_channels,
)
from reprocess.errors import UnreadableFrame

_SAMPLES = {b"P5": 1, b"P6": 3}
_HEADER_BYTES_MAX = 1 << 16
_TOKEN = re.compile(rb"[ \t\r\n]+|#([^\r\n]*)|([0-9]+)(?=[ \t\r\n#])")
_TIME_COMMENTS = ("image request start", "date-obs", "timestamp")
_COMMENT = re.compile(r'\s*"?([^"=:]+?)"?\s*[:= ]\s*(\S.*)')
_QUOTED = re.compile(r'\s*"([^"]+)"\s*(.*)')
_MILLISECONDS = re.compile(r"\bMSEC=([0-9]+(?:\.[0-9]+)?)\b")


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    samples: int
    maxval: int
    start: int
    comments: tuple[str, ...]

    @property
    def bytes_per_sample(self) -> int:
        return 1 if self.maxval < 256 else 2

    @property
    def size(self) -> int:
        return self.width * self.height * self.samples * self.bytes_per_sample


class PgmReader:
    """P5 (grey) and P6 (colour) files, one or more frames each.

    Notes
    -----
    Up to `maxval` 255 a sample is one byte, above it two, the high one first. Counts are
    taken as they are, never stretched to `maxval`. Time: the comment `"Image request start"`
    (U. Calgary), `DATE-OBS` or `Timestamp`; exposure: `MSEC=` in `"Exposure options"`. A gzipped
    file is whole or refused, by its checksum; a plain one that ends exactly after a frame
    cannot be told from one that holds no more.
    """

    @property
    def tells_time(self) -> Literal["header", "exif"] | None:
        return "header"

    @property
    def channels(self) -> Literal["rgb", "mono"]:
        return "mono"

    def read_all(self, data: bytes) -> list[Image]:
        """Decode every frame; see `Reader.read_all`."""
        unpacked = _unpacked(data)
        return [_image(unpacked, frame) for frame in _frames(unpacked)]

    def read(self, data: bytes) -> Image:
        """Decode the one frame of a file; see `Reader.read`."""
        return only(self.read_all(data))

    def headers(self, data: bytes) -> list[FrameHeader]:
        """Read each frame's comments; see `Reader.headers`."""
        return [_header(frame.comments) for frame in _frames(_unpacked(data))]

    def settings(self) -> dict[str, Any]:
        """Return the decoding options that decide the pixels: none."""
        return {"reader": "pgm"}


def _unpacked(data: bytes) -> bytes:
    if not data:
        raise UnreadableFrame("empty file (0 bytes)")
    if data == GZIP_MAGIC[:1]:
        raise UnreadableFrame("truncated: only 1 byte")
    return gunzip(data)


def _frames(data: bytes) -> list[_Frame]:
    """Find every frame, each checked to be there whole, all of one form."""
    frames: list[_Frame] = []
    position = 0
    while not frames or data[position:].strip(b" \t\r\n"):
        frame = _parse(data, position, len(frames))
        if frame.start + frame.size > len(data):
            found = len(data) - frame.start
            raise UnreadableFrame(
                f"truncated: {found} bytes of pixels in frame {len(frames)}, "
                f"{frame.width} x {frame.height} needs {frame.size}"
            )
        if frames and (frame.width, frame.height, frame.samples, frame.bytes_per_sample) != (
            frames[0].width, frames[0].height, frames[0].samples, frames[0].bytes_per_sample,
        ):  # fmt: skip
            raise UnreadableFrame(f"frame {len(frames)} has another form than frame 0")
        frames.append(frame)
        position = frame.start + frame.size
    return frames


def _parse(data: bytes, position: int, index: int) -> _Frame:
    """Read one header; the pixels begin after the one blank that follows maxval."""
    magic = data[position : position + 2]
    if magic not in _SAMPLES:
        what = "not a P5 or P6 image" if index == 0 else f"what follows frame {index - 1} is none"
        raise UnreadableFrame(f"{what}: begins with {data[position : position + 8]!r}")
    at = position + 2
    numbers: list[int] = []
    comments: list[str] = []
    while len(numbers) < 3:
        token = _TOKEN.match(data, at, at + _HEADER_BYTES_MAX)
        if token is None or at - position > _HEADER_BYTES_MAX:
            word = "truncated" if at >= len(data) - 8 else "corrupt"
            raise UnreadableFrame(f"{word} header of frame {index}: expected width, height, maxval")
        if token[2] is not None:
            if len(token[2]) > 9:
                raise UnreadableFrame(f"corrupt header of frame {index}: {token[2][:20]!r}")
            numbers.append(int(token[2]))
        elif token[1] is not None:
            comments.append(token[1].decode("latin-1"))
        at = token.end()
    width, height, maxval = numbers
    if data[at : at + 1] == b"#":
        raise UnreadableFrame(f"corrupt header of frame {index}: no blank after maxval")
    if not 1 <= maxval <= 65535:
        raise UnreadableFrame(f"declares counts up to {maxval}, expected 1 to 65535")
    check_declared_size(width, height)
    return _Frame(width, height, _SAMPLES[magic], maxval, at + 1, tuple(comments))


def _image(data: bytes, frame: _Frame) -> Image:
    dtype = np.dtype(np.uint8) if frame.bytes_per_sample == 1 else np.dtype(">u2")
    n = frame.width * frame.height * frame.samples
    counts: Any = np.frombuffer(data, dtype, n, frame.start).astype(dtype.newbyteorder("="))
    if frame.samples == 3:
        return np.ascontiguousarray(counts.reshape(frame.height, frame.width, 3))
    return three_channels(counts.reshape(frame.height, frame.width))


def _header(comments: tuple[str, ...]) -> FrameHeader:
    acquired, offset = None, None
    exposure_s = math.nan
    for comment in comments:
        match = _QUOTED.fullmatch(comment) or _COMMENT.fullmatch(comment)
        if match is None:
            continue
        if match[1].strip().lower() in _TIME_COMMENTS:
            parsed = parse_time(match[2])
            if parsed is not None:
                acquired, offset = parsed
        if found := _MILLISECONDS.search(match[2]):
            exposure_s = float(found[1]) / 1000
    return FrameHeader(acquired, offset, exposure_s)
