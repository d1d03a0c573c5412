"""COCO: one JSON file for all images, polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError
from reprocess.labels.importing import shapes
from reprocess.labels.importing.annotations import Annotated
from reprocess.labels.importing.labelme import read_json


class CocoReader:
    """A COCO instances file; images lie beside it unless a folder is given.

    An image that the file lists without annotations has no aurora.
    """

    def read(self, source: Path, images: Path | None) -> Iterator[Annotated]:
        document = read_json(source)
        try:
            names = {c["id"]: str(c["name"]) for c in document["categories"]}
            listed = sorted(document["images"], key=lambda image: str(image["file_name"]))
            known = {image["id"] for image in listed}
            of_image = defaultdict(list)
            for annotation in document["annotations"]:
                of_image[annotation["image_id"]].append(annotation)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{source}: expected COCO with images, annotations and categories, {error} is "
                f"missing or wrong"
            ) from error
        stray = sorted(map(str, set(of_image) - known))
        if stray:
            raise ConfigurationError(
                f"{source}: annotations of image_id {', '.join(stray[:3])}, which is not listed"
            )
        folder = source.parent if images is None else images
        for image in listed:
            yield _annotated(source, image, of_image[image["id"]], names, folder)


def _annotated(
    source: Path, image: Any, annotations: list[Any], names: dict[Any, str], folder: Path
) -> Annotated:
    try:
        height, width = int(image["height"]), int(image["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{source}: image {image['file_name']}: expected height and width"
        ) from error
    found = []
    for annotation in annotations:
        try:
            label = names[annotation["category_id"]]
            found.append((label, _pixels(annotation["segmentation"], height, width)))
        except (KeyError, TypeError, ValueError, ConfigurationError) as error:
            raise ConfigurationError(
                f"{source}: annotation {annotation.get('id')} of {image['file_name']}: {error}"
            ) from error
    return Annotated(folder / str(image["file_name"]), height, width, tuple(found), source)


def _pixels(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    if isinstance(segmentation, dict):
        if list(segmentation.get("size", ())) != [height, width]:
            raise ConfigurationError(
                f"found run lengths of size {segmentation.get('size')}, expected "
                f"[{height}, {width}]"
            )
        return shapes.run_lengths(segmentation.get("counts"), height, width)
    if not isinstance(segmentation, list) or not segmentation:
        raise ConfigurationError("found no segmentation, expected polygons or run lengths")
    if any(not isinstance(part, list) or len(part) < 6 for part in segmentation):
        raise ConfigurationError("found a polygon of fewer than 3 points")
    return shapes.polygons(segmentation, height, width)
