"""Lenses given as files: the azimuth and elevation of every stored pixel.

Two kinds of file: a pair of FITS images, and the U. Calgary skymaps (`.sav`,
IDL), whose `FULL_AZIMUTH` and `FULL_ELEVATION` are used. Between pixel
centres the directions' unit vectors are interpolated, so the north crossing
of the azimuth and the zenith need no special case.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import SkymapLens
from reprocess.errors import ConfigurationError

Array = NDArray[np.float64]
_NEWTON_STEPS = 8
_CLOSE_PX, _ROUGH_PX = 1e-6, 0.25


@dataclass(frozen=True)
class PixelMap:
    """A lens known pixel by pixel.

    Attributes
    ----------
    vector : (y, x, 3) float64 array
        Unit vectors east, north, up of the pixel centres; NaN where none is known.

    Notes
    -----
    Bilinear between the four nearest centres and continued by half a pixel
    beyond the outermost; NaN where one of the four has no direction.
    """

    vector: Array
    _tree: list[Any] = field(default_factory=list, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.vector.shape[0], self.vector.shape[1]

    def direction(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Array, Array]:
        """Look up where pixels look.

        Parameters
        ----------
        x_px, y_px : float arrays of one shape, pixels of the stored image

        Returns
        -------
        (azimuth_deg, elevation_deg) : float64 arrays of that shape
            NaN outside the map and beside pixels without a direction.
        """
        east, north, up = np.moveaxis(self._at(x_px, y_px), -1, 0)
        azimuth = np.mod(np.degrees(np.arctan2(east, north)), 360.0)
        azimuth = np.where(azimuth >= 360.0, 0.0, azimuth)
        elevation = np.degrees(np.arctan2(up, np.hypot(east, north)))
        return azimuth, elevation

    def pixel(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> tuple[Array, Array]:
        """Look up where directions fall: nearest pixel centre, then Newton's method.

        Returns
        -------
        (x_px, y_px) : float64 arrays of the inputs' shape
            NaN where the map does not reach. Exact on a smooth map; where a map is
            rounded to steps, as the Poker Flat one is near the horizon, to 0.25 px.
        """
        azimuth, elevation = np.broadcast_arrays(
            np.radians(np.asarray(azimuth_deg, dtype=np.float64)),
            np.radians(np.asarray(elevation_deg, dtype=np.float64)),
        )
        wanted = _unit(azimuth, elevation).reshape(-1, 3)
        x = np.full(len(wanted), np.nan)
        y = np.full(len(wanted), np.nan)
        known = np.flatnonzero(np.isfinite(wanted).all(axis=1))
        if len(known):
            tree, where = self._nearest()
            _, index = tree.query(wanted[known])
            x[known], y[known] = self._refined(wanted[known], where[index].astype(np.float64))
        return x.reshape(azimuth.shape), y.reshape(azimuth.shape)

    def _refined(self, wanted: Array, start: Array) -> tuple[Array, Array]:
        """Least-squares Newton steps on the interpolated map from (row, column) starts."""
        y, x = start[:, 0].copy(), start[:, 1].copy()
        left = np.full(len(x), np.inf)
        for _ in range(_NEWTON_STEPS):
            here = self._at(x, y)
            # Central differences over half a pixel, one-sided where the map ends.
            x_low, x_high, y_low, y_high = x - 0.25, x + 0.25, y - 0.25, y + 0.25
            along_x = (self._at(x_high, y) - self._at(x_low, y)) * 2.0
            along_y = (self._at(x, y_high) - self._at(x, y_low)) * 2.0
            miss = wanted - here
            a = np.einsum("ij,ij->i", along_x, along_x)
            b = np.einsum("ij,ij->i", along_x, along_y)
            d = np.einsum("ij,ij->i", along_y, along_y)
            p = np.einsum("ij,ij->i", along_x, miss)
            q = np.einsum("ij,ij->i", along_y, miss)
            with np.errstate(divide="ignore", invalid="ignore"):
                step_x = (d * p - b * q) / (a * d - b * b)
                step_y = (a * q - b * p) / (a * d - b * b)
            left = np.hypot(step_x, step_y)
            x += np.clip(step_x, -2.0, 2.0)
            y += np.clip(step_y, -2.0, 2.0)
            if np.all(~(left > _CLOSE_PX)):
                break
        good = left < _ROUGH_PX
        return np.where(good, x, np.nan), np.where(good, y, np.nan)

    def _at(self, x_px: ArrayLike, y_px: ArrayLike) -> Array:
        """Interpolated unit vectors, (..., 3)."""
        x, y = np.broadcast_arrays(
            np.asarray(x_px, dtype=np.float64), np.asarray(y_px, dtype=np.float64)
        )
        height, width = self.shape
        inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
        x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
        column = np.clip(np.floor(x).astype(np.int64), 0, width - 2)
        row = np.clip(np.floor(y).astype(np.int64), 0, height - 2)
        u, v = (x - column)[..., None], (y - row)[..., None]
        mixed = (1.0 - v) * (
            (1.0 - u) * self.vector[row, column] + u * self.vector[row, column + 1]
        ) + v * ((1.0 - u) * self.vector[row + 1, column] + u * self.vector[row + 1, column + 1])
        length = np.linalg.norm(mixed, axis=-1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            unit = mixed / length
        return np.where(inside[..., None], unit, np.nan)

    def _nearest(self) -> tuple[Any, NDArray[np.int64]]:
        if not self._tree:
            from scipy.spatial import cKDTree

            where = np.argwhere(np.isfinite(self.vector[..., 2]))
            self._tree.extend((cKDTree(self.vector[where[:, 0], where[:, 1]]), where))
        return self._tree[0], self._tree[1]


def read_pixel_map(settings: SkymapLens) -> PixelMap:
    """Read a skymap's files.

    Raises
    ------
    ConfigurationError
        If a file cannot be read, is of another format, or azimuth and elevation
        differ in size; if no pixel is above the horizon.
    """
    azimuth, elevation = _planes(settings)
    known = np.isfinite(azimuth) & np.isfinite(elevation) & (elevation > 0.0)
    known &= elevation <= 90.0
    if not known.any():
        raise ConfigurationError(
            f"skymap {settings.azimuth}: found no pixel with an elevation above 0, expected "
            f"elevations in degrees"
        )
    quarter_turns = -settings.rotate_deg // 90  # numpy turns the other way round
    planes = [np.rot90(np.where(known, plane, np.nan), quarter_turns) for plane in
              (azimuth, elevation)]  # fmt: skip
    if settings.flip != "none":
        planes = [np.flip(plane, 1 if settings.flip == "left-right" else 0) for plane in planes]
    vector = _unit(np.radians(planes[0]), np.radians(planes[1]))
    vector.setflags(write=False)
    return PixelMap(vector)


def skymap_digests(settings: SkymapLens) -> dict[str, str]:
    """SHA-256 of the files behind a skymap, by setting; for fingerprints."""
    paths = {"azimuth": settings.azimuth, "elevation": settings.elevation}
    return {key: hashlib.sha256(_bytes(path)).hexdigest() for key, path in paths.items() if path}


def _planes(settings: SkymapLens) -> tuple[Array, Array]:
    if settings.azimuth.lower().endswith(".sav"):
        return _calgary(settings.azimuth)
    if settings.elevation is None:
        raise ConfigurationError(
            f"skymap {settings.azimuth}: elevation is missing; expected a second FITS image in "
            f"lens.elevation, or a U. Calgary .sav that holds both"
        )
    azimuth, elevation = _fits(settings.azimuth), _fits(settings.elevation)
    if azimuth.shape != elevation.shape:
        raise ConfigurationError(
            f"skymap {settings.elevation}: found {elevation.shape[1]} x {elevation.shape[0]} "
            f"pixels, expected {azimuth.shape[1]} x {azimuth.shape[0]} as in {settings.azimuth}"
        )
    return azimuth, elevation


def _fits(path: str) -> Array:
    from astropy.io import fits

    data = _bytes(path)
    try:
        with fits.open(io.BytesIO(data)) as file:
            plane = np.asarray(file[0].data, dtype=np.float64)
    except (OSError, ValueError, TypeError, fits.VerifyError) as error:
        raise ConfigurationError(f"skymap {path}: is not a FITS image: {error}") from error
    if plane.ndim != 2:
        raise ConfigurationError(f"skymap {path}: found {plane.ndim} dimensions, expected 2")
    return plane


def _calgary(path: str) -> tuple[Array, Array]:
    from scipy.io import readsav

    _bytes(path)  # says why it cannot be read before scipy does
    try:
        with warnings.catch_warnings():
            # Such files do not state the bytes of their structures, and need not.
            warnings.filterwarnings("ignore", message="Not able to verify number of bytes")
            record = readsav(path)["skymap"][0]
        azimuth, elevation = record["full_azimuth"], record["full_elevation"]
    except Exception as error:  # what scipy raises on a file that is none of IDL's: Exception
        raise ConfigurationError(
            f"skymap {path}: is not a U. Calgary skymap, an IDL save file with a structure "
            f"`skymap` of full_azimuth and full_elevation: {error}"
        ) from error
    return np.asarray(azimuth, dtype=np.float64), np.asarray(elevation, dtype=np.float64)


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"skymap {path}: cannot be read ({error.strerror}); expected a FITS image or a "
            f"U. Calgary .sav"
        ) from error


def _unit(azimuth: Array, elevation: Array) -> Array:
    return np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.cos(elevation) * np.cos(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    )
