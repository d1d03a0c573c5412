"""Bring annotations into a labelled set: which label is what, and when each image was taken."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reprocess.archive.pattern import NamePattern
from reprocess.archive.readers.still import StillReader
from reprocess.campaign import CameraEpoch, Campaign
from reprocess.errors import ConfigurationError, UnreadableFrame
from reprocess.labels.importing.annotations import IMAGE_SUFFIXES, Annotated, load_format
from reprocess.labels.labelled import AURORA, BACKGROUND, COLUMNS, UNJUDGED
from reprocess.labels.write import LabelWriter

ORIENTATION = 274


@dataclass(frozen=True)
class Meaning:
    """What the labels of an annotation program stand for.

    Where shapes overlap, `background` cuts out of `aurora`, which lies over
    `unjudged`: a faint outline may be drawn around its bright middle.
    """

    aurora: tuple[str, ...] = ("aurora",)
    unjudged: tuple[str, ...] = ("unjudged", "faint_edge")
    background: tuple[str, ...] = ("background",)

    def codes(self, annotated: Annotated) -> NDArray[np.uint8]:
        """Paint the shapes of one image as codes of a mask.

        Raises
        ------
        ConfigurationError
            If a label has no meaning.
        """
        codes = np.zeros((annotated.height, annotated.width), np.uint8)
        known = {*self.aurora, *self.unjudged, *self.background}
        for label, _ in annotated.shapes:
            if label not in known:
                raise ConfigurationError(
                    f"{annotated.source}: label {label!r} on {annotated.image.name} has no "
                    f"meaning; expected one of {', '.join(sorted(known))}: name it with --aurora, "
                    f"--unjudged or --background"
                )
        for labels, code in (
            (self.unjudged, UNJUDGED), (self.aurora, AURORA), (self.background, BACKGROUND),
        ):  # fmt: skip
            for label, pixels in annotated.shapes:
                if label in labels:
                    codes[pixels] = code
        return codes


@dataclass(frozen=True)
class Origin:
    """When, where and by which camera an image was taken, and its conditions."""

    time: datetime | np.datetime64
    station: str
    camera: str
    conditions: Mapping[str, str]
    epoch: CameraEpoch | None = None


@dataclass(frozen=True)
class Imported:
    """What came in, and what did not.

    Attributes
    ----------
    images, with_aurora : that came in
    labels : shapes of each label
    unlabelled : images beside those, in name order, that no annotation speaks of
    """

    images: int
    with_aurora: int
    labels: Mapping[str, int]
    unlabelled: tuple[Path, ...]


def import_labels(
    kind: str,
    source: Path,
    target: Path,
    origin: Callable[[Path], Origin],
    *,
    conditions: Sequence[str] = (),
    meaning: Meaning | None = None,
    images: Path | None = None,
) -> Imported:
    """Write a labelled set from annotations of another program.

    Parameters
    ----------
    kind : a name in `FORMATS`
    source : file or folder of annotations
    target : new folder
    origin : image's path → when, where, by what; see `origin_by_name`, `origin_by_table`
    conditions : columns that `origin` fills
    images : folder of the images, where the format does not tell

    Raises
    ------
    ConfigurationError
        Naming the file: an unknown label, a shape without area, an image that is missing, of
        another size than was annotated, or with an orientation tag.

    Notes
    -----
    Images are copied as they are. An orientation tag is refused because
    annotation programs show the turned image and the pipeline the stored one:
    the outlines would lie elsewhere.
    """
    meaning = meaning or Meaning()
    seen: Counter[str] = Counter()
    came_in: set[Path] = set()
    with_aurora = 0
    with LabelWriter(target, conditions) as writer:
        for annotated in load_format(kind).read(source, images):
            _check_image(annotated)
            codes = meaning.codes(annotated)
            place = origin(annotated.image)
            writer.add(
                annotated.image, codes, time=place.time, station=place.station,
                camera=place.camera, conditions=place.conditions, epoch=place.epoch,
                name=annotated.image.stem,
            )  # fmt: skip
            seen.update(label for label, _ in annotated.shapes)
            came_in.add(annotated.image.resolve())
            with_aurora += bool((codes == AURORA).any())
        folders = {path.parent for path in came_in} | (
            {images.resolve()} if images is not None else set()
        )
        return Imported(
            len(writer), with_aurora, dict(sorted(seen.items())), _others(folders, came_in)
        )


def _others(folders: set[Path], came_in: set[Path]) -> tuple[Path, ...]:
    """Images in the folders that are not among those that came in."""
    return tuple(
        sorted(
            path
            for folder in folders
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in came_in
        )
    )


def origin_by_name(
    pattern: str, station: str, camera: str, campaign: Campaign | None = None
) -> Callable[[Path], Origin]:
    """Tell an image's time from its file's name, as an archive's pattern does.

    Parameters
    ----------
    pattern : strptime directives, as `archive.pattern`; matched against the name alone
    campaign : gives the camera's epochs, each a camera of the set

    Raises
    ------
    ConfigurationError
        From the result, if a name does not match or no camera epoch holds then.
    """
    names = NamePattern(pattern.rpartition("/")[2])

    def origin(image: Path) -> Origin:
        parsed = names.parse(image.name)
        if isinstance(parsed, str):
            raise ConfigurationError(f"{image}: {parsed}; expected a name with its time")
        time = np.datetime64(parsed[1], "us")
        if campaign is None:
            return Origin(time, station, camera, {})
        epoch = campaign.epoch_at(time)
        if epoch is None:
            raise ConfigurationError(f"{image}: no camera epoch of the campaign holds at {time}")
        return Origin(time, station, f"{camera}-{epoch.name}", {}, epoch)

    return origin


def origin_by_table(path: Path) -> tuple[Callable[[Path], Origin], tuple[str, ...]]:
    """Tell an image's time, station and camera from a CSV table, and its conditions.

    Parameters
    ----------
    path : CSV with image (file name), time (ISO 8601, UTC), station, camera and any conditions

    Returns
    -------
    origin, and the names of the condition columns

    Raises
    ------
    ConfigurationError
        If a column is missing; from the result, if the table has no such image.
    """
    wanted = [name for name in COLUMNS if name != "mask"]
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    header = list(lines[0]) if lines else []
    if any(name not in header for name in wanted):
        raise ConfigurationError(
            f"{path}: found the columns {', '.join(map(str, header)) or '(none)'}, expected "
            f"{', '.join(wanted)}"
        )
    rows: dict[str, Any] = {Path(line["image"]).name: line for line in lines}
    conditions = tuple(name for name in header if name not in (*wanted, "mask"))

    def origin(image: Path) -> Origin:
        row = rows.get(image.name)
        if row is None:
            raise ConfigurationError(f"{path}: has no line for image {image.name}")
        try:
            time = datetime.fromisoformat(row["time"])
        except ValueError as error:
            raise ConfigurationError(
                f"{path}: {image.name}: found time {row['time']!r}, expected ISO 8601 UTC"
            ) from error
        return Origin(time, row["station"], row["camera"], {n: row[n] for n in conditions})

    return origin, conditions


def _check_image(annotated: Annotated) -> None:
    path = annotated.image
    try:
        content = path.read_bytes()
        height, width = StillReader().read(content).shape[:2]
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "TIFF")) as stored:
            turned = stored.getexif().get(ORIENTATION, 1)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: no such image, although {annotated.source} labels it; say where with --images"
        ) from error
    except (OSError, SyntaxError, ValueError, UnreadableFrame) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if turned not in (0, 1):
        raise ConfigurationError(
            f"{path}: has the orientation tag {turned}; expected none, since it was labelled "
            f"turned and is processed as stored: remove the tag, then label it again"
        )
    if (height, width) != (annotated.height, annotated.width):
        raise ConfigurationError(
            f"{path}: is {width} x {height} pixels, but {annotated.source} labels "
            f"{annotated.width} x {annotated.height}"
        )
