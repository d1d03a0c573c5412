"""Lenses: from a pixel of the stored image to a direction in the sky, and back.

Pixel coordinates are x to the right and y downwards, 0 at the centre of the
top left pixel of the *stored* image. Directions are geographic azimuth
(north 0, east 90) and elevation above the horizon, degrees.

A lens model is one class with the two methods of `Lens` and one line in
`_BUILDERS`; everything after it (skymap, cells, solid angles) is generic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import EquidistantLens
from reprocess.errors import ConfigurationError

Array = NDArray[np.float64]


class Lens(Protocol):
    """Where a camera's pixels look."""

    def direction(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Array, Array]:
        """Geographic azimuth (0 to 360) and elevation of pixels, degrees; NaN where no sky is."""
        ...

    def pixel(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> tuple[Array, Array]:
        """Pixel position (x, y) of directions; NaN where the lens has none."""
        ...


class LensSettings(Protocol):
    """What every lens section of a campaign tells: its model's name."""

    @property
    def model(self) -> str: ...


@dataclass(frozen=True)
class Equidistant:
    """Fisheye whose distance from the zenith pixel is proportional to zenith angle.

    Notes
    -----
    r = px_per_deg * zenith angle; the angle in the image, from +x towards +y
    (y down, so clockwise as seen), is theta = north_deg - 90 + s * azimuth,
    s = +1 where east is right of north and -1 where it is left (a camera that
    looks up, not mirrored). Defined for zenith angles up to 180 degrees: how
    much of that is sky is the camera epoch's `zenith_max_deg`, not the lens.
    """

    center_x_px: float
    center_y_px: float
    px_per_deg: float
    north_deg: float
    east: Literal["left", "right"]

    def direction(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Array, Array]:
        """Look up where pixels look.

        Parameters
        ----------
        x_px, y_px : float arrays of one shape, pixels of the stored image

        Returns
        -------
        (azimuth_deg, elevation_deg) : float64 arrays of that shape
            Azimuth in [0, 360), 0 at the zenith pixel by convention. NaN further
            than 180 degrees from the zenith and where the input is NaN.
        """
        dx = np.asarray(x_px, dtype=np.float64) - self.center_x_px
        dy = np.asarray(y_px, dtype=np.float64) - self.center_y_px
        zenith = np.hypot(dx, dy) / self.px_per_deg
        theta = np.degrees(np.arctan2(dy, dx))
        azimuth = wrap_degrees(self._sign * (theta - (self.north_deg - 90.0)))
        azimuth = np.where(zenith == 0.0, 0.0, azimuth)
        beyond = ~(zenith <= 180.0)
        return np.where(beyond, np.nan, azimuth), np.where(beyond, np.nan, 90.0 - zenith)

    def pixel(self, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> tuple[Array, Array]:
        """Look up where directions fall in the stored image.

        Parameters
        ----------
        azimuth_deg, elevation_deg : float arrays of one shape, degrees
            Geographic azimuth, unrefracted or refracted elevation as calibrated.

        Returns
        -------
        (x_px, y_px) : float64 arrays of that shape
            May lie outside the image. NaN where the input is NaN.
        """
        azimuth = np.asarray(azimuth_deg, dtype=np.float64)
        radius = self.px_per_deg * (90.0 - np.asarray(elevation_deg, dtype=np.float64))
        theta = np.radians(self.north_deg - 90.0 + self._sign * azimuth)
        x = self.center_x_px + radius * np.cos(theta)
        y = self.center_y_px + radius * np.sin(theta)
        return x, y

    @property
    def _sign(self) -> float:
        return 1.0 if self.east == "right" else -1.0


def wrap_degrees(angle_deg: Array) -> Array:
    """Angles in [0, 360); NaN stays NaN.

    Notes
    -----
    The remainder of a tiny negative number rounds to 360.0 itself: that is 0.
    """
    wrapped: Array = np.mod(angle_deg, 360.0)
    return np.where(wrapped >= 360.0, 0.0, wrapped)


def lens_from_settings(settings: LensSettings) -> Lens:
    """Build the lens of a camera epoch.

    Raises
    ------
    ConfigurationError
        If no such model is known; lists those that are.
    """
    builder = _BUILDERS.get(settings.model)
    if builder is None:
        raise ConfigurationError(
            f"lens model {settings.model!r} is unknown; expected one of "
            f"{', '.join(sorted(_BUILDERS))}"
        )
    return builder(settings)


def _equidistant(settings: LensSettings) -> Lens:
    if not isinstance(settings, EquidistantLens):
        raise ConfigurationError(
            f"lens model 'equidistant': expected its settings, found {type(settings).__name__}"
        )
    return Equidistant(
        center_x_px=settings.center_x_px,
        center_y_px=settings.center_y_px,
        px_per_deg=settings.px_per_deg,
        north_deg=settings.north_deg,
        east=settings.east,
    )


_BUILDERS: dict[str, Callable[[LensSettings], Lens]] = {"equidistant": _equidistant}
