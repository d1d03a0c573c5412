"""From stars with known directions and measured pixels to a camera's lens, robustly.

Wrong stars are expected: a slip of the hand, a neighbour taken for the star.
Every pair of stars is tried as the whole truth (two stars and the handedness
fix an equidistant lens), the proposal that most stars agree with wins, the lens
asked for is fitted to those by least squares with a soft loss, and a star further off
than five standard deviations of the rest is left out, named, and told of.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from reprocess.campaign import EqualAreaLens, EquidistantLens, Fisheye, PolynomialLens
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import RadialLens, lens_from_settings

Array = NDArray[np.float64]
Model = Literal["equidistant", "polynomial", "equal-area"]

PAIRS_MAX = 3000
"""Pairs of stars tried; of more stars than that a fixed sample."""
AGREES_DEG = 4.0
"""How far a star may lie from an equidistant proposal: real lenses bend by up to 3 degrees."""
REJECT_SIGMA = 5.0
SIGMA_FLOOR_PX = 0.1
_RADIUS_SIGMA = 1.1774  # median over sigma of the distance from the origin in two dimensions


@dataclass(frozen=True)
class StarList:
    """Stars with a direction and a measured pixel.

    Attributes
    ----------
    name : (star,) tuple of str
    azimuth_deg, elevation_deg : (star,) float64 array; geographic, without refraction
    x_px, y_px : (star,) float64 array; stored pixels, 0-based centres
    """

    name: tuple[str, ...]
    azimuth_deg: Array
    elevation_deg: Array
    x_px: Array
    y_px: Array

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class StarFit:
    """A fitted lens and how well it puts the stars where they were seen.

    Attributes
    ----------
    lens : settings for a camera epoch
    used : (star,) bool array, False for stars left out as wrong
    x_px, y_px : (star,) float64 array, where the lens puts the stars
    residual_px : (star,) float64 array, distance to where they were seen; of all stars
    standard_error : one standard deviation of each fitted setting, from the used stars' scatter
    """

    lens: Fisheye
    used: NDArray[np.bool_]
    x_px: Array
    y_px: Array
    residual_px: Array
    standard_error: dict[str, float]

    @property
    def median_px(self) -> float:
        """Median residual of the stars that were used."""
        return float(np.median(self.residual_px[self.used]))

    @property
    def degrees_per_px(self) -> float:
        """Zenith angle per pixel at the zenith."""
        return degrees_per_px(self.lens)


def fit_stars(
    stars: StarList,
    model: Model = "polynomial",
    terms: int = 2,
    agrees_deg: float = AGREES_DEG,
) -> StarFit:
    """Fit a lens to stars.

    Parameters
    ----------
    stars : at least three more than twice the coefficients need, see errors
    model : which of the fisheye models
    terms : coefficients of the polynomial (k1, k3 …)
    agrees_deg : how far from an equidistant proposal a star still agrees with it

    Returns
    -------
    StarFit

    Raises
    ------
    ConfigurationError
        If there are too few stars (5 for equidistant and equal-area, 4 + terms for a
        polynomial), fewer than that or than half of them agree, or they do not tell whether
        the image is mirrored.

    Notes
    -----
    Deterministic. The standard errors assume independent errors of equal size in x and y.
    """
    needed = 4 + terms if model == "polynomial" else 5
    if len(stars) < needed:
        raise ConfigurationError(
            f"stars: found {len(stars)}, expected at least {needed} to fit an {model} lens; mark "
            f"more, spread over the whole sky"
        )
    start, agree = _propose(stars, agrees_deg)
    if agree.sum() < max(needed, (len(stars) + 1) // 2):
        raise ConfigurationError(
            f"stars: only {agree.sum()} of {len(stars)} agree with one lens, expected at least "
            f"{max(needed, (len(stars) + 1) // 2)}; check site, time, names, and that pixels are "
            f"x to the right, y down"
        )
    return _refine(stars, start, agree, model, terms)


def refine_lens(
    stars: StarList, start: Fisheye, model: Model = "polynomial", terms: int = 2
) -> StarFit:
    """Fit a lens to stars from a lens that is already right to a few pixels.

    Raises
    ------
    ConfigurationError
        If there are too few stars, as `fit_stars`.
    """
    needed = 4 + terms if model == "polynomial" else 5
    if len(stars) < needed:
        raise ConfigurationError(f"stars: found {len(stars)}, expected at least {needed}")
    k = 1.0 / degrees_per_px(start)
    first = _Start(start.center_x_px, start.center_y_px, k, start.north_deg, start.east)
    if isinstance(start, PolynomialLens) and model == "polynomial":
        return _refine(stars, first, np.ones(len(stars), bool), model, terms, start.px_per_deg_odd)
    return _refine(stars, first, np.ones(len(stars), bool), model, terms)


def degrees_per_px(settings: Fisheye) -> float:
    """Zenith angle per pixel at the zenith."""
    lens = lens_from_settings(settings)  # type: ignore[arg-type]
    assert isinstance(lens, RadialLens)
    return 0.1 / float(lens.radius_px(np.asarray(0.1)))


@dataclass(frozen=True)
class _Start:
    center_x_px: float
    center_y_px: float
    px_per_deg: float
    north_deg: float
    east: Literal["left", "right"]


def _propose(stars: StarList, agrees_deg: float) -> tuple[_Start, NDArray[np.bool_]]:
    """The equidistant lens through two stars that most stars agree with, of either handedness."""
    found = {east: _vote(stars, east, agrees_deg) for east in ("left", "right")}
    (left, left_cost), (right, right_cost) = found["left"], found["right"]
    counts = left.sum(), right.sum()
    if counts[0] == counts[1] and max(left_cost, right_cost) < 2.0 * min(left_cost, right_cost):
        raise ConfigurationError(
            f"stars: {counts[0]} of {len(stars)} fit a mirrored and an unmirrored image alike; "
            f"expected stars on all sides of the zenith: mark more"
        )
    east: Literal["left", "right"] = (
        "left" if (counts[0], -left_cost) > (counts[1], -right_cost) else "right"
    )
    agree = left if east == "left" else right
    complex_plane = _plane(stars, east)
    scale, center = _similarity(complex_plane[agree], _seen(stars)[agree])
    return _start(scale, center, east), agree


def _vote(stars: StarList, east: str, agrees_deg: float) -> tuple[NDArray[np.bool_], float]:
    """The largest set of stars that agree with a lens through two of them, and its mean miss."""
    sky, seen = _plane(stars, east), _seen(stars)
    pairs = np.array(list(itertools.combinations(range(len(stars)), 2)))
    if len(pairs) > PAIRS_MAX:
        pairs = np.random.default_rng(1).choice(pairs, PAIRS_MAX, replace=False)
    a, b = sky[pairs[:, 0]], sky[pairs[:, 1]]
    apart = np.abs(a - b) > 5.0  # degrees; closer pairs say little
    pairs, a, b = pairs[apart], a[apart], b[apart]
    best, best_cost = np.zeros(len(stars), bool), np.inf
    if len(pairs) == 0:
        return best, best_cost
    scale = (seen[pairs[:, 0]] - seen[pairs[:, 1]]) / (a - b)
    center = seen[pairs[:, 0]] - scale * a
    for one, middle in zip(scale, center, strict=True):
        if abs(one) < 1e-6:
            continue
        miss = np.abs(seen - middle - one * sky) / abs(one)
        agree = miss < agrees_deg
        cost = float(np.mean(np.minimum(miss, agrees_deg)))
        if (agree.sum(), -cost) > (best.sum(), -best_cost):
            best, best_cost = agree, cost
    return best, best_cost


def _plane(stars: StarList, east: str) -> NDArray[np.complex128]:
    """Zenith angle and azimuth as a point of the complex plane, east as in the image."""
    sign = 1.0 if east == "right" else -1.0
    angle = np.radians(sign * stars.azimuth_deg)
    return np.asarray((90.0 - stars.elevation_deg) * np.exp(1j * angle), dtype=np.complex128)


def _seen(stars: StarList) -> NDArray[np.complex128]:
    return stars.x_px + 1j * stars.y_px


def _similarity(
    sky: NDArray[np.complex128], seen: NDArray[np.complex128]
) -> tuple[complex, complex]:
    """Least squares of seen = center + scale * sky."""
    sky_0, seen_0 = sky.mean(), seen.mean()
    scale = np.vdot(sky - sky_0, seen - seen_0) / np.vdot(sky - sky_0, sky - sky_0)
    return complex(scale), complex(seen_0 - scale * sky_0)


def _start(scale: complex, center: complex, east: Literal["left", "right"]) -> _Start:
    # theta = north_deg - 90 + s * azimuth, and the plane's angle is s * azimuth.
    north = float(np.degrees(np.angle(scale))) + 90.0
    return _Start(center.real, center.imag, abs(scale), _turn(north), east)


def _turn(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0


def _refine(
    stars: StarList,
    start: _Start,
    agree: NDArray[np.bool_],
    model: Model,
    terms: int,
    odd: Sequence[float] | None = None,
) -> StarFit:
    build, names, unit = _parametrisation(model, terms, start.east)
    k = start.px_per_deg
    radial = {
        "equidistant": [k],
        "equal-area": [k * np.degrees(1.0)],
        "polynomial": list(odd or [k])[:terms] + [0.0] * (terms - len(odd or [k])),
    }[model]
    scale = np.array([1.0, 1.0, 0.1, *unit])
    values = np.array([start.center_x_px, start.center_y_px, start.north_deg, *radial]) / scale

    def miss(at: Array, which: NDArray[np.bool_]) -> Array:
        lens = _lens(build(at * scale))
        x, y = lens.pixel(stars.azimuth_deg[which], stars.elevation_deg[which])
        both = np.concatenate([x - stars.x_px[which], y - stars.y_px[which]])
        off: Array = np.nan_to_num(both, nan=1e4)  # beyond where a polynomial turns back
        return off

    everyone = np.ones(len(stars), bool)
    used = agree
    solution = None
    needed = len(values) // 2 + 1
    for turn in range(12):
        sigma = max(_sigma(miss(values, used)), SIGMA_FLOOR_PX) if turn else 0.01 * k * 90.0
        solution = least_squares(miss, values, args=(used,), loss="soft_l1", f_scale=sigma)
        values = solution.x
        off = miss(values, everyone)
        distance = np.hypot(off[: len(stars)], off[len(stars) :])
        sigma = max(float(np.median(distance[used])) / _RADIUS_SIGMA, SIGMA_FLOOR_PX)
        keep = distance <= REJECT_SIGMA * sigma
        if keep.sum() <= needed or (turn > 2 and np.array_equal(keep, used)):
            break
        used = keep
    assert solution is not None
    settings = build(values * scale)
    x, y = _lens(settings).pixel(stars.azimuth_deg, stars.elevation_deg)
    return StarFit(
        lens=_rounded(settings),
        used=used,
        x_px=x,
        y_px=y,
        residual_px=np.hypot(x - stars.x_px, y - stars.y_px),
        standard_error=_standard_error(solution, names, scale),
    )


def _sigma(off: Array) -> float:
    half = len(off) // 2
    return float(np.median(np.hypot(off[:half], off[half:]))) / _RADIUS_SIGMA


def _standard_error(solution: Any, names: list[str], scale: Array) -> dict[str, float]:
    jacobian = solution.jac
    free = len(solution.fun) - len(names)
    if free <= 0:
        return dict.fromkeys(names, float("nan"))
    variance = float(solution.fun @ solution.fun) / free
    covariance = np.linalg.pinv(jacobian.T @ jacobian) * variance
    return dict(zip(names, (np.sqrt(np.diag(covariance)) * scale).tolist(), strict=True))


def _parametrisation(
    model: Model, terms: int, east: Literal["left", "right"]
) -> tuple[Callable[[Array], Fisheye], list[str], list[float]]:
    """Settings from fitted numbers; their names, and steps that move the horizon by about 1 px."""
    names = ["center_x_px", "center_y_px", "north_deg"]

    def turned(at: Array) -> dict[str, Any]:
        return {
            "center_x_px": float(at[0]),
            "center_y_px": float(at[1]),
            "north_deg": _turn(float(at[2])),
            "east": east,
        }

    if model == "equidistant":
        return (
            lambda at: EquidistantLens(px_per_deg=max(float(at[3]), 1e-9), **turned(at)),
            [*names, "px_per_deg"],
            [1.0 / 90.0],
        )
    if model == "equal-area":
        return (
            lambda at: EqualAreaLens(
                model="equal-area", focal_px=max(float(at[3]), 1e-9), **turned(at)
            ),
            [*names, "focal_px"],
            [1.0],
        )
    return (
        lambda at: PolynomialLens(
            model="polynomial",
            px_per_deg_odd=(max(float(at[3]), 1e-9), *(float(k) for k in at[4:])),
            **turned(at),
        ),
        [*names, *(f"k{2 * i + 1}" for i in range(terms))],
        [90.0 ** -(2 * i + 1) for i in range(terms)],
    )


def _rounded(settings: Fisheye) -> Fisheye:
    """Numbers as a person would write them into a campaign: well below what a pixel can tell."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.9g}")
        return tuple(short(v) for v in value) if isinstance(value, tuple) else value

    return type(settings).model_validate({k: short(v) for k, v in settings.model_dump().items()})


def _lens(settings: Fisheye) -> RadialLens:
    lens = lens_from_settings(settings)  # type: ignore[arg-type]
    assert isinstance(lens, RadialLens)
    return lens
