"""Lenses: from a pixel of the stored image to a direction in the sky, and back.

Pixel coordinates are x to the right and y downwards, 0 at the centre of the
top left pixel of the *stored* image. Directions are geographic azimuth
(north 0, east 90) and elevation above the horizon, degrees.

A lens model is one class with the two methods of `Lens` and one line in
`_BUILDERS`; everything after it (skymap, cells, solid angles) is generic. A
fisheye differs from another only in how radius and zenith angle belong together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprocess.campaign import (
    EqualAreaLens,
    EquidistantLens,
    Fisheye,
    PolynomialLens,
    SkymapLens,
)
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
class RadialLens:
    """A fisheye that looks at the zenith: the image radius depends on the zenith angle alone.

    Notes
    -----
    The angle in the image, from +x towards +y (y down, so clockwise as seen),
    is theta = north_deg - 90 + s * azimuth, s = +1 where east is right of
    north and -1 where it is left (a camera that looks up, not mirrored). How
    much of what the lens defines is sky is the camera epoch's
    `zenith_max_deg`, not the lens.
    """

    center_x_px: float
    center_y_px: float

    @property
    @abstractmethod
    def zenith_limit_deg(self) -> float:
        """Largest zenith angle that the model defines, degrees."""

    @abstractmethod
    def radius_px(self, zenith_deg: Array) -> Array:
        """Image radius of zenith angles; the caller sees to the limit."""

    @abstractmethod
    def zenith_deg(self, radius_px: Array) -> Array:
        """Zenith angle of image radii; beyond the limit NaN or more than the limit."""

    def direction(self, x_px: ArrayLike, y_px: ArrayLike) -> tuple[Array, Array]:
        """Look up where pixels look.

        Parameters
        ----------
        x_px, y_px : float arrays of one shape, pixels of the stored image

        Returns
        -------
        (azimuth_deg, elevation_deg) : float64 arrays of that shape
            Azimuth in [0, 360), 0 at the zenith pixel by convention. NaN beyond
            `zenith_limit_deg` and where the input is NaN.
        """
        dx = np.asarray(x_px, dtype=np.float64) - self.center_x_px
        dy = np.asarray(y_px, dtype=np.float64) - self.center_y_px
        zenith = self.zenith_deg(np.hypot(dx, dy))
        theta = np.degrees(np.arctan2(dy, dx))
        azimuth = wrap_degrees(self._sign * (theta - (self._north_deg - 90.0)))
        azimuth = np.where(zenith == 0.0, 0.0, azimuth)
        beyond = ~(zenith <= self.zenith_limit_deg)
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
            May lie outside the image. NaN where the input is NaN or lies
            beyond `zenith_limit_deg`.
        """
        azimuth = np.asarray(azimuth_deg, dtype=np.float64)
        zenith = 90.0 - np.asarray(elevation_deg, dtype=np.float64)
        inside = (zenith >= 0.0) & (zenith <= self.zenith_limit_deg)
        radius = np.where(inside, self.radius_px(np.where(inside, zenith, 0.0)), np.nan)
        theta = np.radians(self._north_deg - 90.0 + self._sign * azimuth)
        x = self.center_x_px + radius * np.cos(theta)
        y = self.center_y_px + radius * np.sin(theta)
        return x, y

    @property
    @abstractmethod
    def _orientation(self) -> tuple[float, str]: ...

    @property
    def _north_deg(self) -> float:
        return self._orientation[0]

    @property
    def _sign(self) -> float:
        return 1.0 if self._orientation[1] == "right" else -1.0


@dataclass(frozen=True)
class Equidistant(RadialLens):
    """r = px_per_deg * zenith angle; defined for zenith angles up to 180 degrees."""

    px_per_deg: float
    north_deg: float
    east: Literal["left", "right"]

    @property
    def zenith_limit_deg(self) -> float:
        return 180.0

    def radius_px(self, zenith_deg: Array) -> Array:
        return self.px_per_deg * zenith_deg

    def zenith_deg(self, radius_px: Array) -> Array:
        return radius_px / self.px_per_deg

    @property
    def _orientation(self) -> tuple[float, str]:
        return self.north_deg, self.east


@dataclass(frozen=True)
class EqualArea(RadialLens):
    """Lambert's projection, r = focal_px * 2 sin(z / 2); defined up to 180 degrees."""

    focal_px: float
    north_deg: float
    east: Literal["left", "right"]

    @property
    def zenith_limit_deg(self) -> float:
        return 180.0

    def radius_px(self, zenith_deg: Array) -> Array:
        radius: Array = 2.0 * self.focal_px * np.sin(np.radians(zenith_deg) / 2.0)
        return radius

    def zenith_deg(self, radius_px: Array) -> Array:
        half = radius_px / (2.0 * self.focal_px)
        angle: Array = np.degrees(2.0 * np.arcsin(np.minimum(half, 1.0)))
        return np.where(half > 1.0, np.nan, angle)

    @property
    def _orientation(self) -> tuple[float, str]:
        return self.north_deg, self.east


@dataclass(frozen=True)
class OddPolynomial(RadialLens):
    """r = k1 z + k3 z^3 + k5 z^5 ..., z the zenith angle in degrees.

    Notes
    -----
    Defined from the zenith to the zenith angle at which r stops growing, at
    most 180 degrees: only there is one radius one direction. The inverse is
    found by Newton's method from a table of 0.05 degrees, to 1e-9 degrees.
    """

    px_per_deg_odd: tuple[float, ...]
    north_deg: float
    east: Literal["left", "right"]

    @cached_property
    def zenith_limit_deg(self) -> float:
        slope = np.zeros(2 * len(self.px_per_deg_odd) - 1)
        for order, k in enumerate(self.px_per_deg_odd):
            slope[2 * order] = (2 * order + 1) * k
        roots = np.roots(slope[::-1])
        turning = [r.real for r in roots if abs(r.imag) < 1e-9 and 0.0 < r.real < 180.0]
        return float(min(turning, default=180.0))

    def radius_px(self, zenith_deg: Array) -> Array:
        square = zenith_deg * zenith_deg
        radius = np.zeros_like(zenith_deg, dtype=np.float64)
        for k in reversed(self.px_per_deg_odd):
            radius = radius * square + k
        return radius * zenith_deg

    def zenith_deg(self, radius_px: Array) -> Array:
        limit = self.zenith_limit_deg
        table = np.linspace(0.0, limit, int(limit / 0.05) + 2)
        reached = self.radius_px(table)
        inside = radius_px <= reached[-1]
        radius = np.where(inside, radius_px, 0.0)
        zenith = np.interp(radius, reached, table)
        for _ in range(3):
            slope = self._slope(zenith)
            step = np.where(slope > 1e-9, (self.radius_px(zenith) - radius) / slope, 0.0)
            # At the turning point the slope vanishes: there the table's own step bounds the move.
            zenith = np.clip(zenith - np.clip(step, -0.05, 0.05), 0.0, limit)
        return np.where(inside, zenith, np.nan)

    def _slope(self, zenith_deg: Array) -> Array:
        square = zenith_deg * zenith_deg
        slope = np.zeros_like(zenith_deg, dtype=np.float64)
        for order in range(len(self.px_per_deg_odd) - 1, -1, -1):
            slope = slope * square + (2 * order + 1) * self.px_per_deg_odd[order]
        return slope

    @property
    def _orientation(self) -> tuple[float, str]:
        return self.north_deg, self.east


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
    assert isinstance(settings, EquidistantLens)
    return Equidistant(px_per_deg=settings.px_per_deg, **_turned(settings))


def _equal_area(settings: LensSettings) -> Lens:
    assert isinstance(settings, EqualAreaLens)
    return EqualArea(focal_px=settings.focal_px, **_turned(settings))


def _polynomial(settings: LensSettings) -> Lens:
    assert isinstance(settings, PolynomialLens)
    return OddPolynomial(px_per_deg_odd=settings.px_per_deg_odd, **_turned(settings))


def _skymap(settings: LensSettings) -> Lens:
    from reprocess.geometry.pixelmap import read_pixel_map

    assert isinstance(settings, SkymapLens)
    return read_pixel_map(settings)


def _turned(settings: Fisheye) -> dict[str, Any]:
    return settings.model_dump(include={"center_x_px", "center_y_px", "north_deg", "east"})


_BUILDERS: dict[str, Callable[[LensSettings], Lens]] = {
    "equidistant": _equidistant,
    "equal-area": _equal_area,
    "polynomial": _polynomial,
    "skymap": _skymap,
}
