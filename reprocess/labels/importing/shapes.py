"""From drawn shapes to pixels, by COCO's own rasteriser.

One rasteriser for all formats: the same outline gives the same pixels whether
it came from LabelMe, CVAT or COCO. Coordinates are continuous, x right and y
down, with the first pixel from 0 to 1.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError
from reprocess.extras import require

ELLIPSE_CORNERS = 180


def polygon(points: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill a polygon.

    Parameters
    ----------
    points : n >= 3 corners (x, y), pixels

    Returns
    -------
    (height, width) bool array

    Raises
    ------
    ConfigurationError
        If there are fewer corners, or one is not finite.
    """
    corners = np.asarray(points, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ConfigurationError(f"found {len(points)} points, expected a polygon of 3 or more")
    if not np.isfinite(corners).all():
        raise ConfigurationError("found a corner that is not finite")
    return polygons([corners.ravel().tolist()], height, width)


def polygons(parts: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill several polygons as COCO lists them, x and y in turn; their union."""
    mask = _coco_mask()
    try:
        encoded = mask.frPyObjects([list(map(float, part)) for part in parts], height, width)
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigurationError(f"is not a list of polygons: {error}") from error
    return _decode(mask.merge(encoded))


def run_lengths(counts: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Decode COCO's run lengths, plain or compressed; column by column.

    Raises
    ------
    ConfigurationError
        If the runs do not cover the image exactly.
    """
    mask = _coco_mask()
    encoded: Any = {"size": [height, width], "counts": counts}
    if isinstance(counts, list):
        if any(not isinstance(n, int) or n < 0 for n in counts) or sum(counts) != height * width:
            raise ConfigurationError(
                f"found runs of {sum(n for n in counts if isinstance(n, int))} pixels, expected "
                f"{height} x {width}"
            )
        encoded = mask.frPyObjects(encoded, height, width)
    elif not isinstance(counts, str):
        raise ConfigurationError(
            f"found counts of {type(counts).__name__}, expected a list or text"
        )
    try:
        return _decode(encoded)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"run lengths cannot be decoded: {error}") from error


def rectangle(
    corner: Sequence[float], opposite: Sequence[float], height: int, width: int
) -> NDArray[np.bool_]:
    """Fill a rectangle between two corners (x, y)."""
    (x0, y0), (x1, y1) = corner, opposite
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], height, width)


def ellipse(
    centre: Sequence[float],
    radii: Sequence[float],
    turn_deg: float,
    height: int,
    width: int,
) -> NDArray[np.bool_]:
    """Fill an ellipse (centre and radii in x, y; turned clockwise as seen), as a polygon."""
    t = np.linspace(0, 2 * math.pi, ELLIPSE_CORNERS, endpoint=False)
    x, y = radii[0] * np.cos(t), radii[1] * np.sin(t)
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    corners = np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1)
    return polygon(corners.tolist(), height, width)


def _decode(encoded: Any) -> NDArray[np.bool_]:
    with warnings.catch_warnings():
        # pycocotools 2.0.11 hands NumPy 2 an array without the copy keyword; the pixels are right.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return np.asarray(_coco_mask().decode(encoded), np.bool_)


def _coco_mask() -> Any:
    require("pycocotools", "labels", "importing polygons")
    from pycocotools import mask

    return mask
