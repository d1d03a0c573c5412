"""Labelled images: one folder of images, masks and an index, and how it is split.

`docs/labels.md` describes the layout. Real labels come in through
`reprocess.labels.importing`, simulated ones through the simulator; training
and evaluation read both the same way.
"""

from reprocess.labels.labelled import (
    AURORA,
    BACKGROUND,
    UNJUDGED,
    LabelIndex,
    LabelledSet,
)
from reprocess.labels.read import read_index, read_labels, set_digest
from reprocess.labels.write import LabelWriter

__all__ = [
    "AURORA",
    "BACKGROUND",
    "UNJUDGED",
    "LabelIndex",
    "LabelWriter",
    "LabelledSet",
    "read_index",
    "read_labels",
    "set_digest",
]
