"""LabelMe: one JSON file beside each image."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError
from reprocess.labels.importing import shapes
from reprocess.labels.importing.annotations import Annotated


class LabelMeReader:
    """A folder of LabelMe files, searched with its subfolders.

    An image without a file is not labelled and does not come in; a file
    without shapes says that there is no aurora.
    """

    def read(self, source: Path, images: Path | None) -> Iterator[Annotated]:
        files = sorted(source.rglob("*.json")) if source.is_dir() else [source]
        if not files:
            raise ConfigurationError(f"{source}: no .json in it, expected LabelMe's files")
        for path in files:
            yield _annotated(path, images)


def _annotated(path: Path, images: Path | None) -> Annotated:
    document = read_json(path)
    try:
        height, width = int(document["imageHeight"]), int(document["imageWidth"])
        name, drawn = str(document["imagePath"]).replace("\\", "/"), list(document["shapes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{path}: expected a LabelMe file with imagePath, imageHeight, imageWidth and shapes, "
            f"{error} is missing or wrong"
        ) from error
    found = []
    for number, shape in enumerate(drawn, 1):
        try:
            found.append((str(shape["label"]), _pixels(shape, height, width)))
        except (KeyError, TypeError, ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{path}: shape {number}: {error}") from error
    image = path.parent / name if images is None else images / Path(name).name
    return Annotated(image, height, width, tuple(found), path)


def _pixels(shape: Any, height: int, width: int) -> NDArray[np.bool_]:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon":
        return shapes.polygon(points, height, width)
    if kind == "rectangle" and len(points) == 2:
        return shapes.rectangle(points[0], points[1], height, width)
    if kind == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        return shapes.ellipse(points[0], (radius, radius), 0.0, height, width)
    if kind == "mask" and len(points) == 2:
        return _pasted(str(shape["mask"]), points[0], height, width)
    raise ConfigurationError(
        f"found {kind} of {len(points)} points, expected a shape with an area: polygon, rectangle, "
        f"circle or mask"
    )


def _pasted(text: str, corner: Any, height: int, width: int) -> NDArray[np.bool_]:
    """A mask drawn with LabelMe's brush: a PNG in base64, put where its box begins."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ConfigurationError(f"mask is not base64: {error}") from error
    part = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if part is None:
        raise ConfigurationError("mask is not a PNG")
    x, y = round(float(corner[0])), round(float(corner[1]))
    if x < 0 or y < 0 or y + part.shape[0] > height or x + part.shape[1] > width:
        raise ConfigurationError(
            f"mask of {part.shape[1]} x {part.shape[0]} pixels at {x}, {y} is not inside the image"
        )
    whole = np.zeros((height, width), np.bool_)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = np.asarray(part) > 0
    return whole


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, or say what is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: found {type(document).__name__}, expected an object")
    return document
