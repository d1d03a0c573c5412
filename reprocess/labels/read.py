"""From a folder of labelled images to arrays."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.archive.frames import declares_levels, prepare, to_eight_bits
from reprocess.archive.readers.still import StillReader
from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError, UnreadableFrame
from reprocess.labels.cameras import read_cameras
from reprocess.labels.labelled import (
    AURORA,
    BACKGROUND,
    CAMERAS_NAME,
    COLUMNS,
    INDEX_NAME,
    UNJUDGED,
    LabelIndex,
    LabelledSet,
    assumed_camera,
)

CODES = (BACKGROUND, UNJUDGED, AURORA)


def read_index(directory: str | Path) -> LabelIndex:
    """Read the rows of a labelled set; no image is opened.

    Raises
    ------
    ConfigurationError
        Naming the file, the line, what was found and what was expected.
    """
    path = Path(directory) / INDEX_NAME
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or ())
            lines = list(reader)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); expected the index of a labelled set "
            f"(docs/labels.md)"
        ) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not CSV in UTF-8: {error}") from error
    missing = [name for name in COLUMNS if name not in header]
    if missing or len(set(header)) != len(header):
        raise ConfigurationError(
            f"{path}: found the columns {', '.join(header) or '(none)'}, expected each once and "
            f"among them {', '.join(COLUMNS)}"
        )
    for number, line in enumerate(lines, 2):
        if None in line or None in line.values():
            raise ConfigurationError(
                f"{path}: line {number}: expected {len(header)} values, as many as columns"
            )
        for column in ("image", "mask"):
            _check_relative(line[column], f"{path}: line {number}: {column}")
    names = [line["image"] for line in lines]
    count = Counter(names)
    twice = next((name for name in names if count[name] > 1), None)
    if twice is not None:
        raise ConfigurationError(f"{path}: image {twice}: found twice, expected one row an image")
    times = [
        _time(line["time"], f"{path}: line {number}: time") for number, line in enumerate(lines, 2)
    ]
    return LabelIndex(
        image=np.array(names, np.str_),
        mask=np.array([line["mask"] for line in lines], np.str_),
        time=np.array(times, "datetime64[us]"),
        station=np.array([line["station"] for line in lines], np.str_),
        camera=np.array([line["camera"] for line in lines], np.str_),
        conditions={
            name: _condition([line[name] for line in lines])
            for name in header
            if name not in COLUMNS
        },
        cameras=read_cameras(path.parent),
    )


def read_labels(
    directory: str | Path,
    size_px: int,
    *,
    rows: NDArray[Any] | None = None,
    cameras: Mapping[str, CameraEpoch] | None = None,
    digested: bool = True,
) -> LabelledSet:
    """Read a labelled set with its images as the detectors see frames.

    Parameters
    ----------
    directory : the set's folder
    size_px : int, multiple of 8
        Side of the images and masks.
    rows : bool or int array selecting rows of the index, or None for all
    cameras : camera's name → epoch; they stand for those that the set describes
    digested : False leaves the digest empty, and rows that are not selected unread

    Raises
    ------
    ConfigurationError
        Naming the file: missing, unreadable, of another size than its camera's images, a mask
        of another size than its image or with other values than 0, 128 and 255.

    Notes
    -----
    Crop and scaling are those of the frames store (`archive.frames.prepare`).
    A camera of which nothing is known is taken to be `assumed_camera` of its
    images' size. A processed pixel of a mask is unjudged where at least half
    of its area is, else aurora where at least half of the judged area is.
    """
    base = Path(directory)
    index = read_index(base)
    chosen = np.arange(len(index)) if rows is None else np.arange(len(index))[rows]
    position = {int(row): i for i, row in enumerate(chosen)}
    known = {**index.cameras, **(cameras or {})}
    used: dict[str, CameraEpoch] = {}
    image = np.empty((len(chosen), size_px, size_px, 3), np.uint8)
    mask = np.empty((len(chosen), size_px, size_px), np.uint8)
    digest = _begin_digest(base)
    for row in range(len(index)) if digested else sorted(position):
        paths = [base / str(index.image[row]), base / str(index.mask[row])]
        contents = [_bytes(path) for path in paths]
        if digested:
            for content in contents:
                digest.update(hashlib.sha256(content).digest())
        if row not in position:
            continue
        counts = _decode_image(contents[0], paths[0])
        camera = str(index.camera[row])
        epoch = used.get(camera) or known.get(camera)
        if epoch is None:
            epoch = assumed_camera(counts.shape[1], counts.shape[0])
        used[camera] = epoch
        codes = decode_mask(contents[1], paths[1], (counts.shape[0], counts.shape[1]))
        image[position[row]] = _prepared(counts, epoch, size_px, paths[0])
        mask[position[row]] = prepare_mask(codes, epoch, size_px)
    return LabelledSet(
        image,
        mask,
        index[chosen],
        used,
        frozenset(used) - frozenset(known),
        digest.hexdigest() if digested else "",
    )


def set_digest(directory: str | Path) -> str:
    """Find a set's digest, the one of `LabelledSet`, without decoding an image."""
    base = Path(directory)
    index = read_index(base)
    digest = _begin_digest(base)
    for image, mask in zip(index.image.tolist(), index.mask.tolist(), strict=True):
        for name in (image, mask):
            digest.update(hashlib.sha256(_bytes(base / name)).digest())
    return str(digest.hexdigest())


def prepare_mask(codes: NDArray[np.uint8], epoch: CameraEpoch, size_px: int) -> NDArray[np.uint8]:
    """Crop and scale a mask as its image is.

    Parameters
    ----------
    codes : (y, x) uint8 array of the three codes, of the epoch's stored size. Not modified.

    Returns
    -------
    (size_px, size_px) uint8 array of the three codes; background outside the stored image
    """
    shares = np.zeros((*codes.shape, 3), np.uint8)
    shares[:, :, 0] = np.where(codes == AURORA, 255, 0)
    shares[:, :, 1] = np.where(codes == UNJUDGED, 255, 0)
    scaled = prepare(shares, epoch, size_px).astype(np.int64)
    aurora, unjudged = scaled[:, :, 0], scaled[:, :, 1]
    found = np.where(2 * aurora >= 255 - unjudged, AURORA, BACKGROUND)
    return np.where(2 * unjudged >= 255, UNJUDGED, found).astype(np.uint8)


def decode_mask(content: bytes, path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a mask file and check its size and codes.

    Parameters
    ----------
    size : height and width of the image that it belongs to

    Raises
    ------
    ConfigurationError
        Naming the file, what was found and what was expected.
    """
    codes = (
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    )
    if codes is None or codes.ndim != 2 or codes.dtype != np.uint8:
        found = "no image" if codes is None else f"{codes.dtype} {codes.shape}"
        raise ConfigurationError(f"{path}: found {found}, expected a grey PNG of 8 bits")
    if codes.shape != size:
        raise ConfigurationError(
            f"{path}: found {codes.shape[1]} x {codes.shape[0]} pixels, expected its image's "
            f"{size[1]} x {size[0]}"
        )
    strange = np.setdiff1d(np.unique(codes), CODES)
    if strange.size:
        raise ConfigurationError(
            f"{path}: found the value {int(strange[0])}, expected 0 (background), 128 (not judged) "
            f"and 255 (aurora) only"
        )
    return np.asarray(codes, np.uint8)


def _begin_digest(base: Path) -> Any:
    digest = hashlib.sha256()
    for name in (INDEX_NAME, CAMERAS_NAME):
        if (base / name).is_file():
            digest.update(hashlib.sha256((base / name).read_bytes()).digest())
    return digest


def _decode_image(content: bytes, path: Path) -> NDArray[Any]:
    try:
        return StillReader().read(content)
    except UnreadableFrame as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _prepared(
    counts: NDArray[Any], epoch: CameraEpoch, size_px: int, path: Path
) -> NDArray[np.uint8]:
    if counts.dtype != np.uint8 and not declares_levels(epoch):
        raise ConfigurationError(
            f"{path}: found 16 bits; expected 8, or black_level and white_level of its camera in "
            f"{CAMERAS_NAME}"
        )
    try:
        return to_eight_bits(prepare(counts, epoch, size_px), epoch)
    except UnreadableFrame as error:
        raise ConfigurationError(f"{path}: {error}; one camera's images have one size") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}), although {INDEX_NAME} lists it"
        ) from error


def _check_relative(text: str, what: str) -> None:
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text:
        raise ConfigurationError(f"{what}: found {text!r}, expected a path inside the set's folder")


def _time(text: str, what: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{what}: found {text!r}, expected ISO 8601 such as 2021-06-01T10:53:30Z"
        ) from error
    # numpy has no zones: UTC without one.
    return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)


def _condition(values: list[str]) -> NDArray[Any]:
    """A column of numbers if every value that is not empty is one, else of text."""
    try:
        numbers = [float(value) if value else np.nan for value in values]
    except ValueError:
        return np.array(values, np.str_)
    return np.array(numbers, np.float64) if any(values) else np.array(values, np.str_)
