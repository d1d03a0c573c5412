"""What every import yields: the shapes drawn on one image, each with its label."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from reprocess.errors import ConfigurationError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Annotated:
    """One image as an annotation program left it.

    Attributes
    ----------
    image : path of the image's file
    height, width : that the annotation says the image has, pixels
    shapes : (label, (y, x) bool array) of every shape drawn
    source : file that the annotation is in, for errors
    """

    image: Path
    height: int
    width: int
    shapes: tuple[tuple[str, NDArray[Any]], ...]
    source: Path


class AnnotationReader(Protocol):
    """A format of annotations. `FORMATS` lists those that are read."""

    def read(self, source: Path, images: Path | None) -> Iterator[Annotated]:
        """Read annotations in the order of their images' names.

        Parameters
        ----------
        source : file or folder, as the format has it
        images : folder of the images, or None for where the format puts them

        Raises
        ------
        ConfigurationError
            Naming the file and the shape: what was found, what was expected.
        """
        ...


FORMATS: dict[str, str] = {
    "coco": "reprocess.labels.importing.coco:CocoReader",
    "cvat": "reprocess.labels.importing.cvat:CvatReader",
    "labelme": "reprocess.labels.importing.labelme:LabelMeReader",
    "masks": "reprocess.labels.importing.masks:MaskReader",
}


def load_format(name: str) -> AnnotationReader:
    """Build the reader of a format.

    Raises
    ------
    ConfigurationError
        If there is none of that name; the known ones are listed.
    """
    if name not in FORMATS:
        close = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"format {name!r}: expected one of {', '.join(sorted(FORMATS))}{hint}"
        )
    module, _, attribute = FORMATS[name].partition(":")
    return cast(AnnotationReader, getattr(importlib.import_module(module), attribute)())
