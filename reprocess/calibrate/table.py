"""From a table of stars to a camera epoch: read, fit, report.

The arithmetic is in `geometry.starfit`; here are the table's columns, the
words for a person and the YAML for the campaign file.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from reprocess.archive.readers.reader import Image, load_reader
from reprocess.campaign import Fisheye, Site
from reprocess.errors import ConfigurationError, UnreadableFrame
from reprocess.geometry.ephemeris import apparent_elevation_deg
from reprocess.geometry.lens import RadialLens, lens_from_settings
from reprocess.geometry.starfit import Model, StarFit, StarList, fit_stars
from reprocess.geometry.stars import geometric_elevation_deg, position_of

Altitudes = Literal["geometric", "apparent"]

_COLUMNS = {
    "azimuth_deg": ("azimuth_deg", "az_deg", "azimuth", "az"),
    "elevation_deg": ("elevation_deg", "altitude_deg", "alt_deg", "elevation", "altitude", "alt"),
    "time_utc": ("time_utc", "time"),
    "name": ("name", "star"),
}
_PIXELS = (("x_px", "y_px", 0.0), ("col_px_1based", "row_px_1based", 1.0))
_LISTED = 40
"""Stars listed one by one; of more, only those left out."""


@dataclass(frozen=True)
class Calibration:
    """A fit with what it was made from.

    Attributes
    ----------
    stars, fit : of one index
    image_size : width and height of the stored image, pixels
    """

    stars: StarList
    fit: StarFit
    image_size: tuple[int, int]

    @property
    def zenith_max_deg(self) -> float:
        """Zenith angle up to which the epoch may say it sees: the horizon, or the model's end."""
        lens = lens_from_settings(self.fit.lens)  # type: ignore[arg-type]
        assert isinstance(lens, RadialLens)
        return min(90.0, math.floor(lens.zenith_limit_deg))


def read_star_table(
    path: str | Path,
    site: Site | None = None,
    time: str | None = None,
    altitudes: Altitudes = "geometric",
) -> StarList:
    """Read a CSV table of stars.

    Parameters
    ----------
    path : columns `x_px`, `y_px` (0-based pixel centres; or `col_px_1based`, `row_px_1based`),
        and `azimuth_deg`, `elevation_deg` (or `az_deg`, `alt_deg`) or a `name`, with `time_utc`
        in the table or from `time`. Other columns are not read.
    site, time : for stars given by name
    altitudes : whether the table's elevations are geometric or hold refraction, which is then
        taken out (Bennett 1982)

    Raises
    ------
    ConfigurationError
        If a column, number, star, site or time is missing; names the line.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error}); expected a CSV table") from (
            error
        )
    if not rows:
        raise ConfigurationError(f"{path}: found no row, expected a header line and stars")
    header = [column for column in rows[0] if column]
    pixels = next((names for names in _PIXELS if set(names[:2]) <= set(header)), None)
    if pixels is None:
        raise ConfigurationError(
            f"{path}: found columns {', '.join(header)}, expected x_px and y_px (0-based) or "
            f"col_px_1based and row_px_1based"
        )
    found = {
        key: next((name for name in names if name in header), None)
        for key, names in _COLUMNS.items()
    }
    directions = found["azimuth_deg"], found["elevation_deg"]
    if None in directions and found["name"] is None:
        raise ConfigurationError(
            f"{path}: found columns {', '.join(header)}, expected azimuth_deg and elevation_deg, "
            f"or name"
        )
    names, azimuth, elevation, x, y = [], [], [], [], []
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        name = (row.get(found["name"] or "") or "").strip() or f"line {line}"
        if None in directions:
            when = (row.get(found["time_utc"] or "") or time or "").strip()
            one_azimuth, one_elevation = _by_name(where, site, when, name)
        else:
            one_azimuth = _number(where, row, str(directions[0]))
            one_elevation = _number(where, row, str(directions[1]))
            if altitudes == "apparent":
                one_elevation = float(geometric_elevation_deg(one_elevation))
        names.append(name)
        azimuth.append(one_azimuth)
        elevation.append(one_elevation)
        x.append(_number(where, row, pixels[0]) - pixels[2])
        y.append(_number(where, row, pixels[1]) - pixels[2])
    return StarList(tuple(names), np.array(azimuth), np.array(elevation), np.array(x), np.array(y))


def parse_utc(text: str) -> np.datetime64:
    """Read a time such as 2020-12-11T20:09:33, with or without a Z, as UTC."""
    try:
        moment = np.datetime64(text.strip().removesuffix("Z"), "us")
    except ValueError as error:
        raise ConfigurationError(
            f"time: found {text!r}, expected UTC such as 2020-12-11T20:09:33"
        ) from error
    return moment


def read_image(path: str | Path, reader: str) -> Image:
    """Read one image file, or the first image of a file of several, as the archive's reader does.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is not of the reader's format.
    """
    try:
        return load_reader(reader).read_all(Path(path).read_bytes())[0]
    except OSError as error:
        raise ConfigurationError(
            f"image {path}: cannot be read ({error.strerror}); expected an image file"
        ) from error
    except UnreadableFrame as error:
        raise ConfigurationError(f"image {path}: {error} (reader {reader})") from error


def calibrate_table(
    stars: StarList, image_size: tuple[int, int], model: Model = "polynomial", terms: int = 2
) -> Calibration:
    """Fit a lens to a table's stars; errors as `fit_stars`."""
    return Calibration(stars, fit_stars(stars, model, terms), image_size)


def report(calibration: Calibration) -> str:
    """Say how good a calibration is: residuals, what was left out, what is extrapolated."""
    stars, fit = calibration.stars, calibration.fit
    per_px = fit.degrees_per_px
    residual = fit.residual_px
    rejected = np.flatnonzero(~fit.used)
    lines = []
    shown: Sequence[int] = range(len(stars)) if len(stars) <= _LISTED else rejected.tolist()
    if len(shown):
        lines.append(f"{'star':<18}{'azimuth':>9}{'elevation':>11}{'x_px':>10}{'y_px':>10}"
                     f"{'off_px':>9}")  # fmt: skip
    for i in shown:
        note = "" if fit.used[i] else "   LEFT OUT: wrong star or wrong pixel?"
        lines.append(
            f"{stars.name[i]:<18}{stars.azimuth_deg[i]:9.2f}{stars.elevation_deg[i]:11.2f}"
            f"{stars.x_px[i]:10.1f}{stars.y_px[i]:10.1f}{residual[i]:9.2f}{note}"
        )
    used = residual[fit.used]
    refraction = float(apparent_elevation_deg(np.array([10.0]))[0]) - 10.0
    lines += [
        "",
        f"{fit.used.sum()} of {len(stars)} stars used, {len(rejected)} left out"
        + (f" ({', '.join(stars.name[i] for i in rejected[:20])})" if len(rejected) else ""),
        f"residual: median {fit.median_px:.2f} px = {fit.median_px * per_px:.3f} deg, largest "
        f"{used.max():.2f} px",
        "fitted: "
        + ", ".join(f"{name} +- {error:.2g}" for name, error in fit.standard_error.items()),
        _covered(stars, fit),
        "refraction: the lens is fitted to geometric directions, so it holds the refraction of "
        f"starlight ({refraction:.2f} deg at elevation 10), which aurora above "
        "80 km shares: directions from it are geometric too",
    ]
    return "\n".join(lines)


def epoch_yaml(calibration: Calibration, valid_from: str, comments: Sequence[str] = ()) -> str:
    """The camera epoch as YAML for a campaign's `camera:` list.

    Parameters
    ----------
    valid_from : UTC, as the campaign file wants it
    comments : lines to keep beside the numbers

    Notes
    -----
    The crop is the square around the sky down to `zenith_max_deg`; where it sticks out of the
    image the frames are black there.
    """
    lens = lens_from_settings(calibration.fit.lens)  # type: ignore[arg-type]
    assert isinstance(lens, RadialLens)
    radius = float(lens.radius_px(np.asarray(calibration.zenith_max_deg)))
    size = 2 * math.ceil(radius) + 2
    width, height = calibration.image_size
    epoch: dict[str, Any] = {
        "valid_from": valid_from,
        "lens": _plain(calibration.fit.lens),
        "image_width_px": width,
        "image_height_px": height,
        "crop": {
            "left_px": round(lens.center_x_px - size / 2),
            "top_px": round(lens.center_y_px - size / 2),
            "size_px": size,
        },
        "zenith_max_deg": calibration.zenith_max_deg,
    }
    text = yaml.safe_dump([epoch], default_flow_style=None, width=100, sort_keys=False)
    return "\n".join(["camera:", *(f"# {line}" for line in comments), text.rstrip()]) + "\n"


def _plain(lens: Fisheye) -> dict[str, Any]:
    settings = lens.model_dump(mode="json")
    first = {"model": settings.pop("model")}
    return {**first, **settings}


def _covered(stars: StarList, fit: StarFit) -> str:
    lowest = float(stars.elevation_deg[fit.used].min())
    gap, where = widest_gap(stars.azimuth_deg[fit.used])
    text = (
        f"stars down to elevation {lowest:.0f} deg; below that the lens is extrapolated. "
        f"Widest gap in azimuth: {gap:.0f} deg, from {where:.0f}"
    )
    return text + (" (more stars there would help)" if gap > 120.0 else "")


def widest_gap(azimuth_deg: NDArray[np.float64]) -> tuple[float, float]:
    """Width of the widest gap between azimuths around the circle, and where it begins, degrees."""
    azimuth = np.sort(azimuth_deg)
    gaps = np.diff(azimuth, append=azimuth[0] + 360.0)
    widest = int(np.argmax(gaps))
    return float(gaps[widest]), float(azimuth[widest])


def _by_name(where: str, site: Site | None, when: str, name: str) -> tuple[float, float]:
    if site is None or not when:
        missing = "a site" if site is None else "time_utc"
        raise ConfigurationError(
            f"{where}: a star by name needs {missing}; give --site LAT LON and time_utc in the "
            f"table or --time, or azimuth_deg and elevation_deg"
        )
    try:
        return position_of(site, parse_utc(when), name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _number(where: str, row: Mapping[str, str | None], column: str) -> float:
    text = row.get(column)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigurationError(f"{where}: {column}: found {text!r}, expected a number")
    return value
