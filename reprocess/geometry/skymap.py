"""Where each pixel of the processed image looks, and how much sky it covers.

The processed image is the camera epoch's crop square resized to
`size_px` x `size_px`. Processed pixel u covers the stored span
left - 0.5 + u * crop / size to left - 0.5 + (u + 1) * crop / size.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import Lens, RadialLens, lens_from_settings
from reprocess.geometry.pixelmap import PixelMap

MASK_BYTES_MAX = 1 << 28

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Skymap:
    """Directions and solid angles of the processed image's pixels, row 0 on top.

    Attributes
    ----------
    azimuth_deg, elevation_deg : (y, x) float32 array, degrees
        Geographic (north 0, east 90), at pixel centres. NaN where the pixel
        looks beyond the epoch's `zenith_max_deg`.
    solid_angle_sr : (y, x) float32 array, steradian
        Of the whole pixel; 0 where the directions are NaN.
    visible : (y, x) bool array
        Inside `zenith_max_deg`, inside the stored image, above the horizon table,
        outside the hidden shapes and not masked.
    """

    azimuth_deg: NDArray[np.float32]
    elevation_deg: NDArray[np.float32]
    solid_angle_sr: NDArray[np.float32]
    visible: NDArray[np.bool_]


def build_skymap(epoch: CameraEpoch, size_px: int) -> Skymap:
    """Compute direction, solid angle and visibility of every processed pixel.

    Parameters
    ----------
    epoch : camera epoch with its lens, crop, mask and zenith limit
    size_px : int, > 0
        Edge of the processed image, pixels.

    Returns
    -------
    Skymap
        Read-only arrays of (size_px, size_px).

    Raises
    ------
    ConfigurationError
        If the mask cannot be read, is not of the stored size, or nothing of
        the sky is visible; as `checked_lens`.

    Notes
    -----
    The solid angle is that of the two spherical triangles between the
    directions of the pixel's corners (Van Oosterom & Strackee 1983,
    doi 10.1109/TBME.1983.325207): right for any lens. A processed pixel is
    masked by the mask's value at its centre (nearest stored pixel); the mask
    is not blurred. Deterministic.
    """
    lens = checked_lens(epoch)
    centre = np.arange(size_px, dtype=np.float64) + 0.5
    x_px = _stored(centre, epoch.crop.left_px, epoch.crop.size_px, size_px)
    y_px = _stored(centre, epoch.crop.top_px, epoch.crop.size_px, size_px)
    azimuth, elevation = lens.direction(*np.meshgrid(x_px, y_px))
    inside = 90.0 - elevation <= epoch.zenith_max_deg
    solid_angle = np.where(inside, _solid_angle_sr(lens, epoch, size_px), 0.0)
    in_image = _in_image(y_px, epoch.image_height_px)[:, None] & _in_image(
        x_px, epoch.image_width_px
    )
    visible = inside & in_image & (solid_angle > 0.0)
    visible &= ~below_horizon(epoch, azimuth, elevation)
    visible &= ~hidden(epoch, x_px, y_px)
    if epoch.mask is not None:
        visible &= _mask_at(epoch, epoch.mask, x_px, y_px)
    if not visible.any():
        raise ConfigurationError(
            f"camera epoch {epoch.name}: no visible sky in the crop square "
            f"(left {epoch.crop.left_px}, top {epoch.crop.top_px}, size {epoch.crop.size_px}); "
            f"expected it around the sky disk, and a mask that is non-zero where the sky is"
        )
    return Skymap(
        azimuth_deg=_frozen(np.where(inside, azimuth, np.nan).astype(np.float32)),
        elevation_deg=_frozen(np.where(inside, elevation, np.nan).astype(np.float32)),
        solid_angle_sr=_frozen(np.nan_to_num(solid_angle).astype(np.float32)),
        visible=_frozen(visible),
    )


def processed_pixel(
    epoch: CameraEpoch,
    size_px: int,
    azimuth_deg: NDArray[np.float64],
    elevation_deg: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Look up where directions fall in the processed image: the inverse of the skymap.

    Parameters
    ----------
    epoch : camera epoch with its lens and crop
    size_px : int, edge of the processed image, pixels
    azimuth_deg, elevation_deg : float arrays of one shape, degrees; geographic azimuth

    Returns
    -------
    (u, v) : float64 arrays of that shape
        Column and row of the processed image, 0 at the centre of its top left pixel. May lie
        outside the image; NaN where the input is.
    """
    x_px, y_px = lens_from_settings(epoch.lens).pixel(azimuth_deg, elevation_deg)
    scale = size_px / epoch.crop.size_px
    u = (x_px - epoch.crop.left_px + 0.5) * scale - 0.5
    v = (y_px - epoch.crop.top_px + 0.5) * scale - 0.5
    return u, v


def visible_stored(epoch: CameraEpoch) -> NDArray[np.bool_]:
    """Tell which pixels of the stored image see sky: as `Skymap.visible`, at full size.

    Returns
    -------
    (image_height_px, image_width_px) bool array

    Raises
    ------
    ConfigurationError
        As `build_skymap`.
    """
    lens = checked_lens(epoch)
    x_px = np.arange(epoch.image_width_px, dtype=np.float64)
    y_px = np.arange(epoch.image_height_px, dtype=np.float64)
    azimuth, elevation = lens.direction(*np.meshgrid(x_px, y_px))
    visible = 90.0 - elevation <= epoch.zenith_max_deg
    visible &= ~below_horizon(epoch, azimuth, elevation)
    visible &= ~hidden(epoch, x_px, y_px)
    if epoch.mask is not None:
        visible &= _mask_at(epoch, epoch.mask, x_px, y_px)
    found: NDArray[np.bool_] = visible
    return found


def checked_lens(epoch: CameraEpoch) -> Lens:
    """Build a camera epoch's lens and make sure that it reaches as far as the epoch says.

    Raises
    ------
    ConfigurationError
        If a fisheye model ends, or begins to fold back, inside `zenith_max_deg`; if a skymap
        cannot be read or is not of the stored size.
    """
    lens = lens_from_settings(epoch.lens)
    if isinstance(lens, RadialLens) and lens.zenith_limit_deg < epoch.zenith_max_deg:
        raise ConfigurationError(
            f"camera epoch {epoch.name}: its lens model is defined up to a zenith angle of "
            f"{lens.zenith_limit_deg:.1f} deg, where r stops growing, expected at least "
            f"zenith_max_deg ({epoch.zenith_max_deg:g}); set zenith_max_deg lower, or fit fewer "
            f"coefficients"
        )
    expected = (epoch.image_height_px, epoch.image_width_px)
    if isinstance(lens, PixelMap) and lens.shape != expected:
        raise ConfigurationError(
            f"camera epoch {epoch.name}: found a skymap of {lens.shape[1]} x {lens.shape[0]} "
            f"pixels, expected {expected[1]} x {expected[0]}, the stored image"
        )
    return lens


def below_horizon(
    epoch: CameraEpoch, azimuth_deg: NDArray[np.float64], elevation_deg: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which directions lie below the epoch's horizon table.

    Returns
    -------
    bool array of the directions' shape
        All False without a table, and where a direction is NaN. The table is
        interpolated linearly in azimuth, around the circle.
    """
    if not epoch.horizon:
        return np.zeros(np.shape(azimuth_deg), np.bool_)
    azimuth, elevation = np.array(epoch.horizon, dtype=np.float64).T
    lowest = np.interp(np.nan_to_num(azimuth_deg), azimuth, elevation, period=360.0)
    found: NDArray[np.bool_] = elevation_deg < lowest
    return found


def hidden(
    epoch: CameraEpoch, x_px: NDArray[np.float64], y_px: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell which pixels lie inside the epoch's hidden shapes.

    Parameters
    ----------
    x_px, y_px : (x,) and (y,) arrays, stored pixel coordinates of columns and rows

    Returns
    -------
    (y, x) bool array
        By the pixel's centre. All edges of a rectangle belong to it, of a polygon the left and
        top ones; a polygon that crosses itself hides by the even-odd rule.
    """
    found = np.zeros((len(y_px), len(x_px)), np.bool_)
    x, y = np.meshgrid(x_px, y_px)
    for shape in epoch.hide:
        if len(shape) == 2:
            (left, right), (top, bottom) = (sorted(pair) for pair in zip(*shape, strict=True))
            found |= (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
            continue
        inside = np.zeros_like(found)
        for (x0, y0), (x1, y1) in zip(shape, shape[1:] + shape[:1], strict=True):
            if y0 != y1:
                crosses = ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
                inside ^= crosses
        found |= inside
    return found


def read_mask(path: str) -> NDArray[np.bool_]:
    """Read a mask image: True where any channel is non-zero.

    Returns
    -------
    (y, x) bool array, read-only. Transparency is ignored.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is not an image.
    """
    try:
        data = mask_bytes(path)
    except OSError as error:
        raise ConfigurationError(
            f"mask {path}: cannot be read ({error.strerror}); expected an image of the stored size"
        ) from error
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # empty, or declares more pixels than OpenCV allows
        decoded = None
    if decoded is None:
        raise ConfigurationError(f"mask {path}: is not an image; expected PNG, TIFF or JPEG")
    pixels = np.asarray(decoded)
    bright = pixels[..., :3].max(axis=2) if pixels.ndim == 3 else pixels
    return _frozen(np.not_equal(bright, 0))


def mask_bytes(path: str) -> bytes:
    """The bytes of a mask's file; nothing else than a plain file of a sane size is opened."""
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no plain file", path)
    if found.st_size > MASK_BYTES_MAX:
        raise OSError(errno.EFBIG, f"has {found.st_size} bytes", path)
    return Path(path).read_bytes()


def _stored(
    position: NDArray[np.float64], first_px: int, crop_px: int, size_px: int
) -> NDArray[np.float64]:
    """Stored pixel coordinate of positions in processed pixels from the crop's edge."""
    return first_px + position * (crop_px / size_px) - 0.5


def _in_image(position_px: NDArray[np.float64], length_px: int) -> NDArray[np.bool_]:
    return (position_px >= -0.5) & (position_px < length_px - 0.5)


def _mask_at(
    epoch: CameraEpoch, path: str, x_px: NDArray[np.float64], y_px: NDArray[np.float64]
) -> NDArray[np.bool_]:
    sky = read_mask(path)
    expected = (epoch.image_height_px, epoch.image_width_px)
    if sky.shape != expected:
        raise ConfigurationError(
            f"mask {path}: found {sky.shape[1]} x {sky.shape[0]} pixels, expected "
            f"{expected[1]} x {expected[0]}, the stored image of camera epoch {epoch.name}"
        )
    column = np.clip(np.floor(x_px + 0.5).astype(np.int64), 0, expected[1] - 1)
    row = np.clip(np.floor(y_px + 0.5).astype(np.int64), 0, expected[0] - 1)
    found: NDArray[np.bool_] = sky[np.ix_(row, column)]
    return found


def _solid_angle_sr(lens: Lens, epoch: CameraEpoch, size_px: int) -> NDArray[np.float64]:
    """Solid angle of each processed pixel from the directions of its corners; NaN without one."""
    edge = np.arange(size_px + 1, dtype=np.float64)
    x_px = _stored(edge, epoch.crop.left_px, epoch.crop.size_px, size_px)
    y_px = _stored(edge, epoch.crop.top_px, epoch.crop.size_px, size_px)
    azimuth, elevation = (np.radians(angle) for angle in lens.direction(*np.meshgrid(x_px, y_px)))
    corner = np.stack(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.cos(elevation) * np.cos(azimuth),
            np.sin(elevation),
        ],
        axis=-1,
    )
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    return np.abs(_triangle_sr(a, b, c) + _triangle_sr(a, c, d))


def _triangle_sr(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed solid angle of spherical triangles of unit vectors (..., 3)."""
    triple = np.einsum("...i,...i->...", a, np.cross(b, c))
    ab = np.einsum("...i,...i->...", a, b)
    bc = np.einsum("...i,...i->...", b, c)
    ca = np.einsum("...i,...i->...", c, a)
    angle: NDArray[np.float64] = 2.0 * np.arctan2(triple, 1.0 + ab + bc + ca)
    return angle


def _frozen(array: NDArray[Kind]) -> NDArray[Kind]:
    array.setflags(write=False)
    return array
