"""What a PNG or TIFF file declares, and whether all of it is there.

Image libraries decode what they find and fill the rest: a cut file becomes a
half-black frame, 16-bit colour silently becomes 8-bit. So the container is
walked first; what passes here is whole, of one image, and of a known depth.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass

from PIL import TiffTags

from reprocess.errors import UnreadableFrame

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\x00", b"MM\x00*")

GZIP_MAGIC = b"\x1f\x8b"
UNPACKED_BYTES_MAX = 1 << 30
"""A compressed file that unpacks to more than this is refused."""

_TIFF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I"}
_TIFF_BYTES = (1, 2, 6, 7)
_WIDTH, _HEIGHT, _BITS, _SUBFILE, _ORIENTATION = 256, 257, 258, 254, 274
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))


@dataclass(frozen=True)
class Declared:
    """Size in pixels, bits a sample, and images in the file."""

    width_px: int
    height_px: int
    bits: int
    images: int


def gunzip(data: bytes) -> bytes:
    """Unpack a gzip file, checksum and all; other bytes are returned as they are.

    Raises
    ------
    UnreadableFrame
        If it is cut or damaged, or unpacks to more than `UNPACKED_BYTES_MAX`.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(UNPACKED_BYTES_MAX + 1)
    except EOFError as error:
        raise UnreadableFrame("truncated gzip: the file ends before its end marker") from error
    except (OSError, zlib.error, struct.error) as error:
        raise UnreadableFrame(f"corrupt gzip: {error}") from error
    if len(unpacked) > UNPACKED_BYTES_MAX:
        raise UnreadableFrame(f"unpacks to more than {UNPACKED_BYTES_MAX >> 20} MiB")
    return unpacked


def check_png(data: bytes) -> Declared:
    """Walk the chunks of a PNG file and check each one's CRC.

    Raises
    ------
    UnreadableFrame
        If a chunk is cut or damaged, or the header or the end is missing.
    """
    position = len(PNG_MAGIC)
    declared: Declared | None = None
    images = 1
    while True:
        if position + 12 > len(data):
            raise UnreadableFrame("truncated PNG: the file ends before its end marker")
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        kind = data[position + 4 : position + 8]
        if not kind.isalpha():
            raise UnreadableFrame("corrupt PNG: what follows a chunk is not a chunk")
        if end > len(data):
            raise UnreadableFrame(f"truncated PNG: the file ends inside its {kind.decode()} chunk")
        stored = int.from_bytes(data[end - 4 : end], "big")
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != stored:
            raise UnreadableFrame(f"corrupt PNG: CRC of its {kind.decode()} chunk does not match")
        body = data[position + 8 : end - 4] if kind in (b"IHDR", b"acTL") else b""
        if declared is None:
            if kind != b"IHDR" or length != 13:
                raise UnreadableFrame("corrupt PNG: the first chunk is not a header")
            width, height, bits = struct.unpack(">IIB", body[:9])
            declared = Declared(width, height, bits, 1)
        elif kind == b"acTL" and length == 8:
            images = int.from_bytes(body[:4], "big")
        elif kind == b"IEND":
            return Declared(declared.width_px, declared.height_px, declared.bits, images)
        position = end


def check_tiff(data: bytes) -> Declared:
    """Walk the directories of a TIFF file and check that all they point to is there.

    Reduced-resolution copies (thumbnails) are not counted as images.

    Raises
    ------
    UnreadableFrame
        If a directory, a value or pixel data lies outside the file, or no
        directory describes an image.
    """
    order = "<" if data[:2] == b"II" else ">"
    offset = _integer(data, order + "I", 4)
    visited: set[int] = set()
    found: list[Declared] = []
    while offset:
        if offset in visited:
            raise UnreadableFrame("corrupt TIFF: its directories form a loop")
        visited.add(offset)
        tags, offset = _directory(data, order, offset)
        if tags.get(_SUBFILE, (0,))[:1] == (1,) and found:
            continue
        if not tags.get(_WIDTH) or not tags.get(_HEIGHT):
            raise UnreadableFrame("corrupt TIFF: a directory declares no image size")
        _check_pixel_data(data, tags)
        bits = max(tags.get(_BITS) or (1,))
        found.append(Declared(tags[_WIDTH][0], tags[_HEIGHT][0], bits, 1))
    if not found:
        raise UnreadableFrame("corrupt TIFF: no directory describes an image")
    first = found[0]
    return Declared(first.width_px, first.height_px, first.bits, len(found))


def without_orientation(data: bytes) -> bytes:
    """Return a TIFF file (one that `check_tiff` passed) whose image is not to be turned."""
    order = "<" if data[:2] == b"II" else ">"
    offset = _integer(data, order + "I", 4)
    for index in range(_integer(data, order + "H", offset)):
        at = offset + 2 + 12 * index
        if _integer(data, order + "H", at) == _ORIENTATION:
            upright = bytearray(data)
            struct.pack_into(order + "HHIHH", upright, at, _ORIENTATION, 3, 1, 1, 0)
            return bytes(upright)
    return data


def _directory(data: bytes, order: str, offset: int) -> tuple[dict[int, tuple[int, ...]], int]:
    """Read one directory's integer tags and the offset of the next directory."""
    count = _integer(data, order + "H", offset)
    tags: dict[int, tuple[int, ...]] = {}
    outside = 0
    for index in range(count):
        at = offset + 2 + 12 * index
        if at + 12 > len(data):
            raise UnreadableFrame("truncated TIFF: the file ends inside a directory")
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        size = _TIFF_TYPE_BYTES.get(kind, 1) * number
        start = at + 8 if size <= 4 else _integer(data, order + "I", at + 8)
        if start + size > len(data):
            raise UnreadableFrame(f"truncated TIFF: the value of tag {tag} lies beyond the file")
        outside += size if size > 4 else 0
        if number != 1 and kind not in _TIFF_BYTES and TiffTags.lookup(tag).length == 1:
            raise UnreadableFrame(f"corrupt TIFF: tag {tag} has {number} values, expected one")
        if kind in _TIFF_INTEGERS:
            tags[tag] = struct.unpack_from(f"{order}{number}{_TIFF_INTEGERS[kind]}", data, start)
    if outside > len(data):
        raise UnreadableFrame("corrupt TIFF: the values of its tags overlap")
    return tags, _integer(data, order + "I", offset + 2 + 12 * count)


def _check_pixel_data(data: bytes, tags: dict[int, tuple[int, ...]]) -> None:
    for offsets_tag, counts_tag in _OFFSETS_AND_COUNTS:
        offsets, counts = tags.get(offsets_tag), tags.get(counts_tag)
        if not offsets:
            continue
        if counts is None or len(counts) != len(offsets):
            raise UnreadableFrame("corrupt TIFF: pixel data without a length")
        if any(at + size > len(data) for at, size in zip(offsets, counts, strict=True)):
            raise UnreadableFrame("truncated TIFF: pixel data lies beyond the end of the file")
        return
    raise UnreadableFrame("corrupt TIFF: a directory points to no pixel data")


def _integer(data: bytes, layout: str, offset: int) -> int:
    if offset + struct.calcsize(layout) > len(data):
        raise UnreadableFrame("truncated TIFF: a directory lies beyond the end of the file")
    return int(struct.unpack_from(layout, data, offset)[0])
