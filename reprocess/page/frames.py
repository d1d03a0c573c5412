"""Frames that could not be read: which, why, and what can still be seen of them."""

from __future__ import annotations

import dataclasses
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reprocess.archive.catalogue import Entry
from reprocess.archive.files import ArchiveBytes
from reprocess.archive.inputs import UNREADABLE, content_digest, frame_digest
from reprocess.archive.readers.reader import PIXELS_MAX, load_reader
from reprocess.campaign import Campaign
from reprocess.errors import ReprocessError, StoreError, UnreadableFrame
from reprocess.page.state import StoreState
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, day_block

LISTED = 60
"""Unreadable frames named on the page."""

DAYS_READ = 60
"""Days whose record is read to name them."""

PICTURED = 12
SIDE_PX = 120
BYTES_MAX = 64 * 1024**2
"""A file larger than this is not opened for a thumbnail."""

PICTURES = "runs/pictures"
_THUMBNAIL = re.compile(rf"{PICTURES}/frame-(?P<digest>[0-9a-f]+)-(?P<size>\d+)\.jpg")


@dataclass(frozen=True)
class BadFrame:
    """A frame in the ledger's column `unreadable`.

    Attributes
    ----------
    digest : of its content; empty where its bytes could not be read
    size_bytes : None where the archive was not looked at
    thumbnail : JPEG bytes of what a forgiving decoder makes of it, or None
    note : why there is no thumbnail
    """

    name: str
    day: str
    reason: str
    digest: str
    size_bytes: int | None = None
    thumbnail: bytes | None = None
    note: str = ""


def bad_frames(
    records: Records, state: StoreState, run: Mapping[str, Any]
) -> tuple[list[BadFrame], int]:
    """Name the unreadable frames, those of the days that this run did first.

    Returns
    -------
    (listed, total)
        At most `LISTED` of them, and how many the ledgers count.
    """
    mine = run.get("seconds_by_day", {})
    days = [
        (day.day, day.ledger["unreadable"])
        for year in state.years
        for day in year.days
        if day.ledger and day.ledger.get("unreadable")
    ]
    total = sum(n for _, n in days)
    found: list[BadFrame] = []
    for day, _ in sorted(days, key=lambda item: (item[0] not in mine, item[0]))[:DAYS_READ]:
        if len(found) >= LISTED:
            break
        block = day_block("frames", "", date.fromisoformat(day))
        fingerprints = state.listing.get(block, [])
        try:
            rows = records.read(block, fingerprints[0]).facts["frames"] if fingerprints else []
        except (StoreError, KeyError):
            continue  # the page says elsewhere that the count is larger than the list
        for name, digest, column, reason in rows:
            if column == "unreadable":
                content = "" if digest.startswith(UNREADABLE) else digest
                found.append(BadFrame(name, day, reason, content))
    return found[:LISTED], total


def with_thumbnails(
    frames: list[BadFrame], objects: ObjectStore, campaign: Campaign | None
) -> list[BadFrame]:
    """Add thumbnails to the first frames, kept ones from the store, new ones from the archive.

    Parameters
    ----------
    campaign : where the archive is; None looks only at thumbnails that are kept

    Notes
    -----
    New thumbnails are kept under `runs/pictures`, by content, so that the page can be made
    again without the archive; those of other frames are removed.
    """
    kept = {m["digest"]: m for k in objects.keys(PICTURES) if (m := _THUMBNAIL.fullmatch(k))}
    source = None
    found = []
    wanted = set()
    for frame in frames[:PICTURED]:
        match = kept.get(frame.digest)
        if match is not None:
            wanted.add(match[0])
            size = int(match["size"])
            found.append(
                dataclasses.replace(frame, size_bytes=size, thumbnail=objects.read(match[0]))
            )
            continue
        if campaign is None:
            found.append(dataclasses.replace(frame, note="archive not looked at"))
            continue
        try:
            source = source or ArchiveBytes(campaign.archive)
            data, number = _bytes(source, frame.name)
        except (OSError, ReprocessError) as error:
            found.append(dataclasses.replace(frame, note=f"not in reach: {error}"))
            continue
        digest = frame_digest(content_digest(data), Entry(frame.name, 0, 0, "", number))
        if frame.digest != (digest if data else ""):
            note = "has changed since"
            found.append(dataclasses.replace(frame, size_bytes=len(data), note=note))
            continue
        thumbnail = _thumbnail(data, number, campaign)
        if thumbnail is None:
            note = "nothing of it can be decoded"
            found.append(dataclasses.replace(frame, size_bytes=len(data), note=note))
            continue
        key = f"{PICTURES}/frame-{frame.digest}-{len(data)}.jpg"
        objects.write(key, thumbnail)
        wanted.add(key)
        found.append(dataclasses.replace(frame, size_bytes=len(data), thumbnail=thumbnail))
    if campaign is not None:
        for key in {match[0] for match in kept.values()} - wanted:
            objects.delete(key)
    return found + frames[PICTURED:]


def _bytes(source: ArchiveBytes, name: str) -> tuple[bytes, int]:
    """Bytes of the file that a frame is in, and which of its frames it is; -1: the only one."""
    try:
        return source.read(name), -1
    except UnreadableFrame:
        file, mark, number = name.rpartition("#")
        if not mark or not number.isdecimal():
            raise
        return source.read(file), int(number)


def _thumbnail(data: bytes, number: int, campaign: Campaign) -> bytes | None:
    """A small JPEG of whatever can be decoded, by decoders that forgive what is missing."""
    if not data or len(data) > BYTES_MAX:
        return None
    reader = load_reader(campaign.archive.reader)
    image: NDArray[Any] | None
    try:
        image = reader.read(data) if number < 0 else reader.read_all(data)[number]
    except UnreadableFrame:
        image = _forgiving(data)
    if image is None or 0 in image.shape:
        return None
    if image.dtype != np.uint8:  # the brightest count becomes white
        image = (image * (255.0 / max(1, int(image.max())))).astype(np.uint8)
    height, width = image.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _forgiving(data: bytes) -> NDArray[np.uint8] | None:
    try:
        if data.startswith(b"\xff\xd8\xff"):
            height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
            if height * width > PIXELS_MAX:
                return None
            return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits are above ours
            with Image.open(io.BytesIO(data)) as declared:  # reads the header, no pixel
                width, height = declared.size
        if height * width > PIXELS_MAX:
            return None
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        )
        return None if image is None else np.asarray(image, np.uint8)
    except (
        OSError, ValueError, SyntaxError, MemoryError, cv2.error,
        UnidentifiedImageError, Image.DecompressionBombError,
    ):  # fmt: skip
        return None
