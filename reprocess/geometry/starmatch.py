"""Find the bright stars of a list in images, and the lens that puts them there.

Points of light are looked for in each image without any knowledge of stars;
a rough lens is turned, shifted and scaled until most listed stars have a
point nearby; from there points and stars are paired ever more closely while
the lens is fitted again. Whether the pairs mean anything is told by the same
count with the lens turned away, where only chance pairs are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from reprocess.campaign import EquidistantLens, Fisheye
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import RadialLens, lens_from_settings
from reprocess.geometry.starfit import (
    Model,
    StarFit,
    StarList,
    degrees_per_px,
    refine_lens,
)

Array = NDArray[np.float64]

PAIRING_DEG = (1.5, 1.0, 0.7, 0.5, 0.4, 0.4)
"""How far a point may lie from its star, in the successive rounds."""
PAIRS_MIN, STARS_MIN = 8, 2
TURNED_AWAY = 24
SIGNIFICANT = 6.0
STATIC_SHARE = 0.5
STATIC_PX = 1.0
STATIC_SPAN_S = 900.0


@dataclass(frozen=True)
class StarFrame:
    """One image's points of light, and the stars that stood above it.

    Attributes
    ----------
    time : UTC
    x_px, y_px : (point,) float64 array, brightest first
    name, azimuth_deg, elevation_deg : of the stars, brightest first
    """

    time: np.datetime64
    x_px: Array
    y_px: Array
    name: tuple[str, ...]
    azimuth_deg: Array
    elevation_deg: Array


@dataclass(frozen=True)
class StarMatch:
    """A lens from images alone, and what says that it is no accident.

    Attributes
    ----------
    fit : of `stars`, one entry for each star of each frame that was paired
    frame : (star,) int64 array, index of the entry's frame
    by_chance : mean number of pairs with the lens turned away by 10 degrees and more
    spread : standard deviation of that number
    n_listed : stars looked for, over all frames
    """

    stars: StarList
    fit: StarFit
    frame: NDArray[np.int64]
    by_chance: float
    spread: float
    n_listed: int


def find_points(
    image: NDArray[np.generic], sky: NDArray[np.bool_], n_max: int
) -> tuple[Array, Array]:
    """Find points of light in an image.

    Parameters
    ----------
    image : (y, x, 3), as stored; not modified
    sky : (y, x) bool array, where to look
    n_max : brightest points kept

    Returns
    -------
    (x_px, y_px) : float64 arrays, brightest first
        To a fraction of a pixel, from the centroid of 5 x 5 pixels.

    Notes
    -----
    The green channel's share is doubled, as in a camera's filter. A point stands out
    by five times the local scatter of the difference of two blurs (1.2 and 3.6 pixels), is
    a maximum among its neighbours, and is about as wide in all directions.
    """
    grey = np.asarray(image, np.float32) @ np.array([0.25, 0.5, 0.25], np.float32)
    band = cv2.GaussianBlur(grey, (0, 0), 1.2) - cv2.GaussianBlur(grey, (0, 0), 3.6)
    inner = cv2.erode(sky.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    # The scatter around a point without the point itself: of values cut at three times the median.
    typical = float(np.median(np.abs(band[inner]))) if inner.any() else 0.0
    cut = np.clip(band, -6.0 * typical, 6.0 * typical) if typical > 0 else band
    scatter = np.sqrt(cv2.GaussianBlur(cut * cut, (0, 0), 16.0)) + 1e-3
    peak = (band == cv2.dilate(band, np.ones((7, 7), np.uint8))) & inner & (band > 5.0 * scatter)
    rows, columns = np.nonzero(peak)
    found = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        window = np.maximum(band[row - 3 : row + 4, column - 3 : column + 4], 0.0)
        if window.shape != (7, 7):
            continue
        v, u = np.mgrid[-3:4, -3:4]
        total = float(window.sum())
        du, dv = float((window * u).sum()) / total, float((window * v).sum()) / total
        across = float((window * (u - du) ** 2).sum()) / total
        down = float((window * (v - dv) ** 2).sum()) / total
        tilt = float((window * (u - du) * (v - dv)).sum()) / total
        half, root = (across + down) / 2, np.hypot((across - down) / 2, tilt)
        if half - root < 0.25 * (half + root):
            continue  # a streak or an edge
        found.append((float(band[row, column] / scatter[row, column]), column + du, row + dv))
    found.sort(reverse=True)
    points = np.array([(x, y) for _, x, y in found[:n_max]]).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def drop_static(frames: Sequence[StarFrame]) -> list[StarFrame]:
    """Drop points that stay where they are while the sky turns: lamps, hot pixels, text.

    Notes
    -----
    Only if the frames span 15 minutes and are four or more; a point counts as static if half
    of the frames have one within a pixel. Polaris goes with them.
    """
    times = [frame.time for frame in frames]
    span_s = (max(times) - min(times)) / np.timedelta64(1, "s") if times else 0.0
    if len(frames) < 4 or span_s < STATIC_SPAN_S:
        return list(frames)
    trees = [cKDTree(_points(frame)) for frame in frames]
    kept = []
    for frame in frames:
        points = _points(frame)
        met = np.zeros(len(points))
        for tree in trees:
            if tree.n and len(points):
                met += tree.query(points)[0] < STATIC_PX
        moving = met < max(STATIC_SHARE * len(frames), 2)
        kept.append(
            StarFrame(frame.time, frame.x_px[moving], frame.y_px[moving], frame.name,
                      frame.azimuth_deg, frame.elevation_deg)
        )  # fmt: skip
    return kept


def match_stars(
    frames: Sequence[StarFrame],
    start: Fisheye,
    model: Model = "polynomial",
    terms: int = 2,
    turn_deg: float = 5.0,
    shift_deg: float = 2.0,
) -> StarMatch:
    """Find the lens that puts the listed stars on the images' points.

    Parameters
    ----------
    frames : of one camera epoch
    start : the lens as far as it is known; its handedness is believed
    turn_deg : how far its north may be wrong; 180 looks all around
    shift_deg : how far its zenith may be wrong

    Raises
    ------
    ConfigurationError
        If fewer than eight pairs of two different stars are found, or not many more than by
        chance: the images are cloudy, bright, of another site or time, or the lens is further off.

    Notes
    -----
    Deterministic. Scales from 4 % smaller to 4 % larger than `start`'s are tried.
    """
    listed = sum(len(frame.name) for frame in frames)
    lens = _coarse(frames, start, turn_deg, shift_deg)
    fit, stars, index = None, None, np.empty(0, np.int64)
    for turn, reach_deg in enumerate(PAIRING_DEG):
        stars, index = _pairs(frames, lens, reach_deg)
        if len(stars) < PAIRS_MIN or len(set(stars.name)) < STARS_MIN:
            raise ConfigurationError(
                f"stars: {len(stars)} of {listed} listed stars have a point of light within "
                f"{reach_deg} deg ({len(set(stars.name))} different ones), expected at least "
                f"{PAIRS_MIN} of {STARS_MIN} stars: use clear, dark images, more of them, or a "
                f"better first lens"
            )
        fit = refine_lens(stars, lens, "equidistant" if turn < 2 else model, terms)
        lens = fit.lens
    assert fit is not None
    assert stars is not None
    turned = [10.0 + 340.0 * i / (TURNED_AWAY - 1) for i in range(TURNED_AWAY)]
    chance = [
        len(_pairs(frames, lens.model_copy(update={"north_deg": _turn(lens.north_deg + t)}),
                   PAIRING_DEG[-1])[0])
        for t in turned
    ]  # fmt: skip
    mean, spread = float(np.mean(chance)), float(np.std(chance))
    if len(stars) < mean + SIGNIFICANT * max(spread, np.sqrt(max(mean, 1.0))):
        raise ConfigurationError(
            f"stars: {len(stars)} of {listed} listed stars paired, but {mean:.0f} +- {spread:.0f} "
            f"would be by chance alone: no lens can be told from these images; use clear, dark "
            f"ones, more of them, or a better first lens"
        )
    return StarMatch(stars, fit, index, mean, spread, listed)


def _coarse(
    frames: Sequence[StarFrame], start: Fisheye, turn_deg: float, shift_deg: float
) -> Fisheye:
    """The turned, shifted and scaled lens under which most stars have a point nearby."""
    per_deg = 1.0 / degrees_per_px(start)
    reach_px = 0.8 * per_deg
    turns = np.arange(-turn_deg, turn_deg + 0.01, 1.0)
    shifts = np.arange(-shift_deg, shift_deg + 0.01, 1.0) * per_deg
    best, best_score = start, -1.0
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, 12).astype(int))]
    for scale in (1.0, 0.98, 1.02, 0.96, 1.04):
        for turn in turns:
            turned = start.model_copy(update={"north_deg": _turn(start.north_deg + float(turn))})
            lens = _lens(turned)
            score = np.zeros((len(shifts), len(shifts)))
            for frame in chosen:
                if len(frame.x_px) == 0:
                    continue
                x, y = lens.pixel(frame.azimuth_deg, frame.elevation_deg)
                x = lens.center_x_px + scale * (x - lens.center_x_px)
                y = lens.center_y_px + scale * (y - lens.center_y_px)
                grid = np.stack(
                    np.broadcast_arrays(
                        x[None, None] + shifts[None, :, None], y[None, None] + shifts[:, None, None]
                    ),
                    axis=-1,
                )
                off = cKDTree(_points(frame)).query(grid, distance_upper_bound=reach_px)[0]
                score += np.maximum(0.0, 1.0 - (off / reach_px) ** 2).sum(axis=-1)
            if score.max() > best_score:
                row, column = np.unravel_index(int(score.argmax()), score.shape)
                best_score = float(score.max())
                best = EquidistantLens(
                    center_x_px=start.center_x_px + float(shifts[column]),
                    center_y_px=start.center_y_px + float(shifts[row]),
                    px_per_deg=per_deg * scale,
                    north_deg=turned.north_deg,
                    east=start.east,
                ) if isinstance(start, EquidistantLens) else _moved(
                    turned, float(shifts[column]), float(shifts[row]), scale
                )  # fmt: skip
    return best


def _moved(settings: Fisheye, dx: float, dy: float, scale: float) -> Fisheye:
    changes: dict[str, object] = {
        "center_x_px": settings.center_x_px + dx,
        "center_y_px": settings.center_y_px + dy,
    }
    for key in ("px_per_deg", "focal_px"):
        if hasattr(settings, key):
            changes[key] = getattr(settings, key) * scale
    if hasattr(settings, "px_per_deg_odd"):
        changes["px_per_deg_odd"] = tuple(k * scale for k in settings.px_per_deg_odd)
    return settings.model_copy(update=changes)


def _pairs(
    frames: Sequence[StarFrame], settings: Fisheye, reach_deg: float
) -> tuple[StarList, NDArray[np.int64]]:
    """Stars and points that are each other's nearest, within reach."""
    lens = _lens(settings)
    reach_px = reach_deg / degrees_per_px(settings)
    names: list[str] = []
    rows: list[tuple[float, float, float, float]] = []
    index: list[int] = []
    for number, frame in enumerate(frames):
        if len(frame.x_px) == 0 or not frame.name:
            continue
        points = _points(frame)
        x, y = lens.pixel(frame.azimuth_deg, frame.elevation_deg)
        where = np.stack([x, y], axis=1)
        known = np.isfinite(x) & np.isfinite(y)
        where = np.where(known[:, None], where, -1e6)
        off, point = cKDTree(points).query(where)
        back = cKDTree(where).query(points)[1]
        for star in np.flatnonzero(known & (np.asarray(off) < reach_px)):
            if back[point[star]] == star:
                names.append(frame.name[star])
                rows.append(
                    (frame.azimuth_deg[star], frame.elevation_deg[star], *points[point[star]])
                )
                index.append(number)
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    stars = StarList(tuple(names), table[:, 0], table[:, 1], table[:, 2], table[:, 3])
    return stars, np.array(index, np.int64)


def _points(frame: StarFrame) -> Array:
    return np.stack([frame.x_px, frame.y_px], axis=1)


def _turn(angle_deg: float) -> float:
    return (angle_deg + 180.0) % 360.0 - 180.0


def _lens(settings: Fisheye) -> RadialLens:
    lens = lens_from_settings(settings)  # type: ignore[arg-type]
    assert isinstance(lens, RadialLens)
    return lens
