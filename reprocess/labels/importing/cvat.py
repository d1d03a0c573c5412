"""CVAT for images 1.1: one XML file for all images."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError
from reprocess.labels.importing import shapes
from reprocess.labels.importing.annotations import Annotated

NO_AREA = ("polyline", "points", "cuboid", "skeleton")


class CvatReader:
    """A `annotations.xml` as CVAT exports it; images in `images/` beside it, or in a folder given.

    An image that the file lists without shapes has no aurora.
    """

    def read(self, source: Path, images: Path | None) -> Iterator[Annotated]:
        try:
            with source.open("rb") as file:
                root = ET.parse(file).getroot()
        except OSError as error:
            raise ConfigurationError(f"{source}: cannot be read ({error.strerror})") from error
        except ET.ParseError as error:
            raise ConfigurationError(f"{source}: is not XML: {error}") from error
        listed = root.findall("image")
        if root.tag != "annotations" or not listed:
            raise ConfigurationError(
                f"{source}: found <{root.tag}> with {len(listed)} <image>, expected an export "
                f"'CVAT for images 1.1' (not 'for video')"
            )
        folder = source.parent / "images" if images is None else images
        for image in sorted(listed, key=lambda element: element.get("name", "")):
            yield _annotated(source, image, folder)


def _annotated(source: Path, image: ET.Element, folder: Path) -> Annotated:
    name = image.get("name", "")
    try:
        height, width = int(image.attrib["height"]), int(image.attrib["width"])
    except (KeyError, ValueError) as error:
        raise ConfigurationError(f"{source}: image {name!r}: expected height and width") from error
    found = []
    for shape in image:
        if shape.tag == "tag":
            continue
        try:
            found.append((shape.attrib["label"], _pixels(shape, height, width)))
        except (KeyError, ValueError, ConfigurationError) as error:
            raise ConfigurationError(f"{source}: {shape.tag} on {name}: {error}") from error
    return Annotated(folder / name, height, width, tuple(found), source)


def _pixels(shape: ET.Element, height: int, width: int) -> NDArray[np.bool_]:
    value = shape.attrib
    if shape.tag == "polygon":
        points = [[float(v) for v in p.split(",")] for p in value["points"].split(";")]
        return shapes.polygon(points, height, width)
    if shape.tag == "box":
        corners = [float(value[key]) for key in ("xtl", "ytl", "xbr", "ybr")]
        if float(value.get("rotation", 0)):
            raise ConfigurationError("found a turned box; draw it as a polygon")
        return shapes.rectangle(corners[:2], corners[2:], height, width)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (float(value[key]) for key in ("cx", "cy", "rx", "ry"))
        turn_deg = float(value.get("rotation", 0))
        return shapes.ellipse((cx, cy), (rx, ry), turn_deg, height, width)
    if shape.tag == "mask":
        return _runs(shape, height, width)
    known = "polygon, box, ellipse or mask"
    raise ConfigurationError(
        f"has no area, expected {known}" if shape.tag in NO_AREA else f"unknown, expected {known}"
    )


def _runs(shape: ET.Element, height: int, width: int) -> NDArray[np.bool_]:
    """CVAT's run lengths: row by row inside a box, background first."""
    left, top, w, h = (int(float(shape.attrib[key])) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape.attrib["rle"].split(",")]
    if min(counts) < 0 or sum(counts) != w * h:
        raise ConfigurationError(f"found runs of {sum(counts)} pixels, expected {w} x {h}")
    if left < 0 or top < 0 or left + w > width or top + h > height:
        raise ConfigurationError(f"box {left}, {top}, {w} x {h} is not inside the image")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(h, w)
    whole = np.zeros((height, width), np.bool_)
    whole[top : top + h, left : left + w] = inside
    return whole
