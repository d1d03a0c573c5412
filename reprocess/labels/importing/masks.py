"""Masks painted as images: one for each image, under the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from reprocess.errors import ConfigurationError
from reprocess.labels.importing.annotations import IMAGE_SUFFIXES, Annotated

VALUES_MAX = 32


class MaskReader:
    """A folder of PNG masks, grey, palette or one bit; the label of a pixel is its value as text.

    Of a palette (as in Pascal VOC) the value is the palette's index. A value
    of 0 is background. Images lie in the folder given, under the mask's name
    with any suffix of an image.
    """

    def read(self, source: Path, images: Path | None) -> Iterator[Annotated]:
        if images is None:
            raise ConfigurationError("format masks: expected --images FOLDER beside the masks")
        masks = sorted(source.glob("*.png"))
        if not masks:
            raise ConfigurationError(f"{source}: no .png in it, expected masks")
        of_stem: dict[str, list[Path]] = {}
        for path in sorted(images.iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                of_stem.setdefault(path.stem, []).append(path)
        for path in masks:
            found = of_stem.get(path.stem, [])
            if len(found) != 1:
                raise ConfigurationError(
                    f"{path}: found {len(found)} images of that name in {images}, expected one"
                )
            values = _values(path)
            drawn = [int(v) for v in np.unique(values) if v]
            if len(drawn) > VALUES_MAX:
                raise ConfigurationError(
                    f"{path}: found {len(drawn)} different values, expected a mask of few classes"
                )
            shapes = tuple((str(value), values == value) for value in drawn)
            height, width = values.shape
            yield Annotated(found[0], height, width, shapes, path)


def _values(path: Path) -> NDArray[np.int64]:
    try:
        with Image.open(path, formats=("PNG",)) as stored:
            if stored.mode not in ("1", "L", "P", "I;16", "I"):
                raise ConfigurationError(
                    f"{path}: found {stored.mode} colours, expected grey, palette or one bit"
                )
            return np.array(stored).astype(np.int64)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise ConfigurationError(f"{path}: is not a whole PNG: {error}") from error
