"""A camera epoch from a campaign's own images: find the stars, fit, compare the nights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprocess.archive.catalogue import Entry, scan
from reprocess.archive.files import ArchiveBytes
from reprocess.archive.readers.reader import load_reader
from reprocess.calibrate.table import Calibration, parse_utc, widest_gap
from reprocess.campaign import CameraEpoch, Campaign, Fisheye
from reprocess.errors import ConfigurationError, UnreadableFrame
from reprocess.geometry.ephemeris import sun_elevation_deg
from reprocess.geometry.lens import lens_from_settings
from reprocess.geometry.skymap import visible_stored
from reprocess.geometry.starfit import Model, StarList, degrees_per_px
from reprocess.geometry.starmatch import (
    StarFrame,
    StarMatch,
    drop_static,
    find_points,
    match_stars,
)
from reprocess.geometry.stars import star_positions

POINTS_PER_STAR = 2.0
"""Points of light kept in an image, for each star looked for."""
NIGHT_PAIRS_MIN = 12
SUN_MAX_DEG = -10.0
DOUBTFUL_GAP_DEG = 150.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NightDrift:
    """How one night's stars lie against the lens of all nights.

    Attributes
    ----------
    night : UTC date on which it began, by the station's own noon
    n_pairs : stars behind it
    turn_deg : the image is turned clockwise by this about the zenith, against all nights
    shift_x_px, shift_y_px : and the zenith lies this far off
    turn_error_deg, shift_error_px : one standard deviation of each
    """

    night: np.datetime64
    n_pairs: int
    turn_deg: float
    shift_x_px: float
    shift_y_px: float
    turn_error_deg: float
    shift_error_px: float


@dataclass(frozen=True)
class ImageCalibration:
    """What a campaign's images say about one camera epoch.

    Attributes
    ----------
    epoch : as in the campaign
    found : the new lens and its stars
    match : how the stars were found
    drifts : night by night, where a night has 12 pairs
    image : (y, x, 3) the image with most stars, for the picture
    n_images, n_unreadable : looked at, and not readable
    """

    epoch: CameraEpoch
    found: Calibration
    match: StarMatch
    drifts: tuple[NightDrift, ...]
    image: NDArray[np.generic]
    n_images: int
    n_unreadable: int


def calibrate_images(
    campaign: Campaign,
    spans: Sequence[tuple[str, str]] = (),
    *,
    model: Model = "polynomial",
    terms: int = 2,
    v_mag_max: float = 2.5,
    images_per_night: int = 40,
    turn_deg: float = 5.0,
    shift_deg: float = 2.0,
) -> list[ImageCalibration]:
    """Refine each camera epoch's lens from stars in its images.

    Parameters
    ----------
    spans : (start, end) UTC of clear nights; none takes all of the campaign's years
    v_mag_max : faintest stars looked for, up to 4.5
    images_per_night : read of each night, spread evenly over it
    turn_deg, shift_deg : how far north and zenith of the campaign's lens may be wrong

    Returns
    -------
    list of ImageCalibration, for each epoch with images

    Raises
    ------
    ConfigurationError
        If no image lies in the spans in darkness, an epoch's lens is a skymap, or its stars
        are not found (`match_stars`).

    Notes
    -----
    Only images with the Sun below -10 degrees. Stars above 10 degrees of elevation. Nothing is
    stored.
    """
    chosen = _chosen(campaign, spans, images_per_night)
    found = []
    for index, epoch in enumerate(campaign.camera):
        mine = [entry for entry, of in chosen if of == index]
        if mine:
            found.append(
                _of_epoch(campaign, epoch, mine, model, terms, v_mag_max, turn_deg, shift_deg)
            )
    return found


def report_images(calibration: ImageCalibration) -> str:
    """Say what was found, how it differs from the campaign, and how the nights differ."""
    match, fit = calibration.match, calibration.match.fit
    before = calibration.epoch.lens
    assert isinstance(before, Fisheye)
    after = fit.lens
    turn = (after.north_deg - before.north_deg + 180.0) % 360.0 - 180.0
    scale = degrees_per_px(before) / degrees_per_px(after) - 1.0
    names = sorted(set(match.stars.name), key=lambda n: -match.stars.name.count(n))
    lines = [
        f"camera epoch {calibration.epoch.name}: {calibration.n_images} images"
        + (f", {calibration.n_unreadable} unreadable" if calibration.n_unreadable else ""),
        f"{len(match.stars)} of {match.n_listed} listed stars found, "
        f"{match.by_chance:.1f} +- {match.spread:.1f} would be by chance; "
        f"{len(names)} different: {', '.join(names[:12])}" + (" …" if len(names) > 12 else ""),
        f"against the campaign's lens: zenith moved by "
        f"({after.center_x_px - before.center_x_px:+.2f}, "
        f"{after.center_y_px - before.center_y_px:+.2f}) px, north turned by {turn:+.2f} deg, "
        f"scale {100 * scale:+.2f} %",
    ]
    gap, where = widest_gap(match.stars.azimuth_deg[fit.used])
    if gap > DOUBTFUL_GAP_DEG:
        lines.append(
            f"DOUBTFUL: no star found over {gap:.0f} deg of azimuth from {where:.0f} on. If that "
            f"part of the sky is clear, the lens fits one side only: check the archive's clock "
            f"(archive.timezone, clock_offset_s), the site, whether the camera stands level"
        )
    if calibration.drifts:
        lines += ["", f"{'night':<12}{'stars':>6}{'turned_deg':>18}{'zenith_x_px':>13}"
                  f"{'zenith_y_px':>13}{'+-px':>7}"]  # fmt: skip
        for night in calibration.drifts:
            moved = max(
                abs(night.turn_deg) / night.turn_error_deg,
                np.hypot(night.shift_x_px, night.shift_y_px) / night.shift_error_px,
            )
            lines.append(
                f"{night.night!s:<12}{night.n_pairs:6d}{night.turn_deg:+10.3f} +- "
                f"{night.turn_error_deg:.3f}{night.shift_x_px:+13.2f}{night.shift_y_px:+13.2f}"
                f"{night.shift_error_px:7.2f}" + ("   MOVED?" if moved > 5.0 else "")
            )
    return "\n".join(lines)


def _chosen(
    campaign: Campaign, spans: Sequence[tuple[str, str]], images_per_night: int
) -> list[tuple[Entry, int]]:
    """Entries in darkness, some of each night, with the index of their epoch."""
    limits = [(parse_utc(start), parse_utc(end)) for start, end in spans]
    years = campaign.years
    if limits:
        years = tuple(sorted({int(str(t)[:4]) for limit in limits for t in limit}))
    entries = [
        entry
        for day in scan(campaign.archive, years, campaign.camera).days.values()
        for entry in day
    ]
    times = np.array([entry.acquired for entry in entries], "datetime64[us]")
    if limits:
        inside = np.any([(times >= start) & (times <= end) for start, end in limits], axis=0)
        entries = [entry for entry, keep in zip(entries, inside, strict=True) if keep]
        times = times[inside]
    epoch = campaign.epoch_index(times) if len(times) else np.empty(0, np.int64)
    dark = np.zeros(len(times), bool)
    if len(times):
        dark = (sun_elevation_deg(campaign.site, times) <= SUN_MAX_DEG) & (epoch >= 0)
    if not dark.any():
        raise ConfigurationError(
            f"calibrate images: found {len(times)} images, none of them with the Sun below "
            f"{SUN_MAX_DEG:g} deg in a camera epoch; expected clear, dark images: check --between "
            f"and the campaign's archive"
        )
    nights = _night(campaign, times)
    chosen = []
    for night in np.unique(nights[dark]):
        of = np.flatnonzero(dark & (nights == night))
        picked = np.unique(np.linspace(0, len(of) - 1, min(images_per_night, len(of))).astype(int))
        chosen += [(entries[i], int(epoch[i])) for i in of[picked]]
    return chosen


def _of_epoch(
    campaign: Campaign,
    epoch: CameraEpoch,
    entries: Sequence[Entry],
    model: Model,
    terms: int,
    v_mag_max: float,
    turn_deg: float,
    shift_deg: float,
) -> ImageCalibration:
    if not isinstance(epoch.lens, Fisheye):
        raise ConfigurationError(
            f"camera epoch {epoch.name}: its lens is a skymap; expected a fisheye model to start "
            f"from, which may be rough"
        )
    sky = visible_stored(epoch)
    source = ArchiveBytes(campaign.archive)
    reader = load_reader(campaign.archive.reader)
    frames: list[StarFrame] = []
    images: list[NDArray[np.generic]] = []
    unreadable = 0
    for entry in entries:
        try:
            image = reader.read_all(source.read(entry.file))[max(entry.frame, 0)]
        except (UnreadableFrame, IndexError):
            unreadable += 1
            continue
        if image.shape[:2] != sky.shape:
            unreadable += 1
            continue
        name, azimuth, elevation, _ = star_positions(campaign.site, entry.acquired, v_mag_max, 10.0)
        x, y = find_points(image, sky, round(POINTS_PER_STAR * len(name)) + 10)
        frames.append(StarFrame(entry.acquired, x, y, name, azimuth, elevation))
        images = [image] if not images or len(x) >= max(len(f.x_px) for f in frames) else images
    if not frames:
        raise ConfigurationError(
            f"camera epoch {epoch.name}: none of {len(entries)} images can be read as "
            f"{epoch.image_width_px} x {epoch.image_height_px} pixels by reader "
            f"{campaign.archive.reader}"
        )
    match = match_stars(drop_static(frames), epoch.lens, model, terms, turn_deg, shift_deg)
    size = (epoch.image_width_px, epoch.image_height_px)
    times = np.array([frame.time for frame in frames], "datetime64[us]")[match.frame]
    return ImageCalibration(
        epoch=epoch,
        found=Calibration(match.stars, match.fit, size),
        match=match,
        drifts=_drifts(match, _night(campaign, times)),
        image=images[0],
        n_images=len(entries),
        n_unreadable=unreadable,
    )


def _night(campaign: Campaign, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The date on which each time's night began: from noon to noon of the station's mean time."""
    east_h = ((campaign.site.longitude_deg + 180.0) % 360.0 - 180.0) / 15.0
    shift = np.timedelta64(round((east_h - 12.0) * 3600.0), "s")
    return (times.astype("datetime64[us]") + shift).astype("datetime64[D]")


def _drifts(match: StarMatch, night: NDArray[np.datetime64]) -> tuple[NightDrift, ...]:
    """Turn and shift of each night by linear least squares on its residuals."""
    stars, fit = match.stars, match.fit
    found = []
    for one in np.unique(night):
        mine = (night == one) & fit.used
        if mine.sum() < NIGHT_PAIRS_MIN:
            continue
        drift = _drift(stars, fit.lens, mine)
        if drift is not None:
            turn, x, y, turn_error, shift_error = drift
            found.append(NightDrift(one, int(mine.sum()), turn, x, y, turn_error, shift_error))
    return tuple(found)


def _drift(
    stars: StarList, settings: Fisheye, mine: NDArray[np.bool_]
) -> tuple[float, float, float, float, float] | None:
    lens = lens_from_settings(settings)  # type: ignore[arg-type]
    x, y = lens.pixel(stars.azimuth_deg[mine], stars.elevation_deg[mine])
    dx, dy = x - settings.center_x_px, y - settings.center_y_px
    ones, zeros = np.ones(len(x)), np.zeros(len(x))
    # Turned clockwise as seen (y down) by a small angle: (dx, dy) moves by (-dy, dx).
    design = np.concatenate(
        [np.stack([-dy, ones, zeros], axis=1), np.stack([dx, zeros, ones], axis=1)]
    )
    off = np.concatenate([stars.x_px[mine] - x, stars.y_px[mine] - y])
    solution, _, rank, _ = np.linalg.lstsq(design, off, rcond=None)
    if rank < 3:
        return None
    left = off - design @ solution
    variance = float(left @ left) / (len(off) - 3)
    error = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * variance)
    return (
        float(np.degrees(solution[0])),
        float(solution[1]),
        float(solution[2]),
        float(np.degrees(error[0])),
        float(max(error[1], error[2])),
    )
