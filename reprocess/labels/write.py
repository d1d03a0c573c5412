"""A labelled set on disk: images, masks, and an index that is written last."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.labels.cameras import cameras_json
from reprocess.labels.labelled import CAMERAS_NAME, COLUMNS, INDEX_NAME
from reprocess.labels.read import CODES

Value = str | float | int | bool | None


class LabelWriter:
    """Write a labelled set image by image; the index comes last, so half a set is none.

    Parameters
    ----------
    directory : new or empty folder
    conditions : names of the free columns; each row may leave some out
    cameras : camera's name → epoch, as far as known; more may come with `add`

    Raises
    ------
    ConfigurationError
        If the folder holds something, or a condition has the name of a fixed column.

    Notes
    -----
    Use it in a `with` statement: `index.csv` is written at its end, and not
    after an error. The same calls give the same bytes.
    """

    def __init__(
        self,
        directory: str | Path,
        conditions: Sequence[str] = (),
        cameras: Mapping[str, CameraEpoch] | None = None,
    ) -> None:
        self._base = Path(directory)
        if self._base.is_dir() and any(self._base.iterdir()):
            raise ConfigurationError(
                f"{self._base}: holds something already, expected a new or empty folder"
            )
        columns = [*COLUMNS, *conditions]
        if len(set(columns)) != len(columns):
            raise ConfigurationError(
                f"conditions {', '.join(conditions)}: expected each once, and none of "
                f"{', '.join(COLUMNS)}"
            )
        self._conditions = tuple(conditions)
        self._cameras = dict(cameras or {})
        self._rows: list[list[str]] = []
        self._names: set[str] = set()
        for part in ("images", "masks"):
            (self._base / part).mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        image: NDArray[np.uint8] | Path,
        mask: NDArray[np.uint8],
        *,
        time: datetime | np.datetime64,
        station: str,
        camera: str,
        conditions: Mapping[str, Value] | None = None,
        epoch: CameraEpoch | None = None,
        name: str | None = None,
    ) -> str:
        """Write one image with its mask.

        Parameters
        ----------
        image : (y, x, 3) uint8 array, counts, R G B (written as PNG, exactly), or a JPEG, PNG or
            TIFF file, which is copied as it is
        mask : (y, x) uint8 array of 0, 128 and 255, of the image's size
        time : UTC; a datetime without zone is UTC too
        conditions : values of this row's free columns; None is left empty
        epoch : the camera's epoch, if it was not given before
        name : of the files, without suffix; default the row's number

        Returns
        -------
        str
            Path of the image in the set: the row's name.
        """
        stem = f"{len(self._rows):06d}" if name is None else name
        if stem in self._names or "/" in stem or stem in ("", ".", ".."):
            raise ConfigurationError(f"name {stem!r}: expected a new file name without '/'")
        if not np.isin(np.unique(mask), CODES).all():
            raise ValueError("a mask holds 0, 128 and 255 only")
        extra = sorted(set(conditions or {}) - set(self._conditions))
        if extra:
            raise ValueError(f"conditions {', '.join(extra)} were not declared")
        if isinstance(image, Path):
            target = f"images/{stem}{image.suffix.lower()}"
            content = image.read_bytes()
        else:
            if image.shape != (*mask.shape, 3) or image.dtype != np.uint8:
                raise ValueError(f"image {image.dtype} {image.shape}, mask {mask.shape}")
            target, content = f"images/{stem}.png", _png(image[:, :, ::-1])
        (self._base / target).write_bytes(content)
        (self._base / f"masks/{stem}.png").write_bytes(_png(mask))
        if epoch is not None and self._cameras.setdefault(camera, epoch) != epoch:
            raise ConfigurationError(f"camera {camera}: found two epochs, expected one a name")
        values = [_text((conditions or {}).get(column)) for column in self._conditions]
        self._rows.append([target, f"masks/{stem}.png", _iso(time), station, camera, *values])
        self._names.add(stem)
        return target

    def _finish(self) -> None:
        if self._cameras:
            _replace(self._base / CAMERAS_NAME, cameras_json(self._cameras).encode())
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([*COLUMNS, *self._conditions])
        lines.writerows(self._rows)
        _replace(self._base / INDEX_NAME, text.getvalue().encode())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ValueError(f"pixels of {pixels.shape} cannot be written as PNG")
    return bytes(data)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def _iso(time: datetime | np.datetime64) -> str:
    moment: datetime = (
        time.astype("datetime64[us]").item() if isinstance(time, np.datetime64) else time
    )
    utc = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat()}Z"


def _text(value: Value) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
