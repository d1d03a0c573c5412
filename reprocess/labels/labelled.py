"""What a labelled set is once it is read: arrays of one length, a row for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Crop, EquidistantLens

BACKGROUND, UNJUDGED, AURORA = 0, 128, 255
"""Codes of a mask: no aurora, faint edge that nobody judged, aurora."""
INDEX_NAME = "index.csv"
CAMERAS_NAME = "cameras.json"
COLUMNS = ("image", "mask", "time", "station", "camera")
"""Columns that every index has; all others are conditions."""


@dataclass(frozen=True, eq=False)
class LabelIndex:
    """The rows of a labelled set without their pictures.

    Attributes
    ----------
    image, mask : (n,) str arrays, paths relative to the set's folder; `image` names the row
    time : (n,) datetime64[us] array, UTC; not in any order
    station, camera : (n,) str arrays
    conditions : name → (n,) array
        float64 if every value that is not empty is a number (empty: NaN), else str (empty: "").
    cameras : camera's name → its epoch, as far as the set says (`cameras.json`)
    """

    image: NDArray[np.str_]
    mask: NDArray[np.str_]
    time: NDArray[np.datetime64]
    station: NDArray[np.str_]
    camera: NDArray[np.str_]
    conditions: Mapping[str, NDArray[Any]]
    cameras: Mapping[str, CameraEpoch]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: NDArray[Any]) -> LabelIndex:
        """The rows that a mask or an index array selects."""
        return LabelIndex(
            image=self.image[rows],
            mask=self.mask[rows],
            time=self.time[rows],
            station=self.station[rows],
            camera=self.camera[rows],
            conditions={name: values[rows] for name, values in self.conditions.items()},
            cameras=self.cameras,
        )


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Images and masks of a labelled set, cropped and scaled as the detectors see frames.

    Attributes
    ----------
    image : (n, y, x, 3) uint8 array, counts, R G B, row 0 on top
    mask : (n, y, x) uint8 array of `BACKGROUND`, `UNJUDGED` and `AURORA`
    index : the rows: names, times, stations, cameras, conditions
    cameras : camera's name → epoch, for every camera in `index`
    assumed : names of cameras of which the set says nothing: `assumed_camera` stands for them
    digest : SHA-256 of the whole set, hexadecimal: every row of the index with the bytes of its
        image and mask, whether it was selected or not
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    index: LabelIndex
    cameras: Mapping[str, CameraEpoch]
    assumed: frozenset[str]
    digest: str

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: NDArray[Any]) -> LabelledSet:
        """The rows that a mask or an index array selects."""
        return LabelledSet(
            self.image[rows], self.mask[rows], self.index[rows], self.cameras, self.assumed,
            self.digest,
        )  # fmt: skip

    @property
    def name(self) -> NDArray[np.str_]:
        """(n,) path of each image in the set's folder; what a split lists."""
        return self.index.image

    @property
    def time(self) -> NDArray[np.datetime64]:
        return self.index.time

    @property
    def station(self) -> NDArray[np.str_]:
        return self.index.station

    @property
    def camera(self) -> NDArray[np.str_]:
        return self.index.camera

    @property
    def conditions(self) -> Mapping[str, NDArray[Any]]:
        return self.index.conditions

    @property
    def size_px(self) -> int:
        return int(self.image.shape[1])


def assumed_camera(width_px: int, height_px: int) -> CameraEpoch:
    """The camera epoch of an image of which nothing is known.

    Notes
    -----
    The largest square in the middle of the image, an equidistant fisheye that
    fills it from edge to edge, north up. Good enough for the distance from the
    zenith where the sky disk fills the image, and for nothing else; whoever
    uses it says so (`LabelledSet.assumed`).
    """
    side = min(width_px, height_px)
    left, top = (width_px - side) // 2, (height_px - side) // 2
    return CameraEpoch.model_validate(
        {
            "valid_from": "1970-01-01T00:00:00Z",
            "lens": EquidistantLens(
                center_x_px=left + (side - 1) / 2,
                center_y_px=top + (side - 1) / 2,
                px_per_deg=side / 180.0,
                north_deg=0.0,
                east="left",
            ),
            "image_width_px": width_px,
            "image_height_px": height_px,
            "crop": Crop(left_px=left, top_px=top, size_px=side),
        }
    )
