"""Occurrence on a dial of magnetic local time and magnetic latitude.

A cell looks at an area of the emission layer, whose AACGM latitudes and own MLT
follow from its direction. Counts are moved there and added up before they are
divided. A cube that counts by the cell's MLT keeps its bins: only latitude is new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from reprocess.campaign import Site
from reprocess.cube.selection import mlt_place
from reprocess.errors import ConfigurationError
from reprocess.geometry.layer import layer_position
from reprocess.geometry.magnetic import aacgm, aacgm_many
from reprocess.plot import captions
from reprocess.plot.mapgrid import Scale, colour_bar
from reprocess.plot.occurrence import (
    COLOUR_MAP,
    CountedMaps,
    ScaleName,
    count_maps,
    head_lines,
    rate_scale,
)
from reprocess.plot.page import (
    HATCH_LINEWIDTH,
    MARGIN_MM,
    NOT_OBSERVED,
    NOTE_PT,
    PAGE_MM,
    TEXT_PT,
    Page,
    hatch,
    head_mm,
    save_figure,
    wrap,
)

MLAT_STEP_DEG = 1.0
_INSIDE_CELL = np.array([1, 3, 5]) / 6
_INSIDE_BIN = np.array([1, 3, 5, 7]) / 8
_LABEL_EVERY_DEG = 5


def draw_dial(cube: xr.Dataset, path: str | Path, *, dpi: int = 300, **options: Any) -> Path:
    """Write `dial_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(dial_figure(cube, **options), path, dpi)


def dial_figure(
    cube: xr.Dataset,
    *,
    detectors: Sequence[str] | None = None,
    common: bool | None = None,
    emission_height_km: float | None = None,
    magnetic_epoch: datetime | None = None,
    vmax: float | None = None,
    scale: ScaleName = "sqrt",
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw a dial for each detector: MLT around, AACGM latitude inward to the pole.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`
    emission_height_km, magnetic_epoch : where and when AACGM coordinates are taken; default
        the cube's own
    detectors, common, vmax, scale, title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        As `occurrence_figure`; if the cube's station, MLT bins, emission height or epoch are
        not known.

    Notes
    -----
    Noon is up and dawn on the right in both hemispheres; the bins of MLT are the
    cube's. The counts of a cell are spread evenly over 3 × 3 directions in it, so
    a dial bin holds parts of frames: rate = sum of aurora / sum of observed. One
    frame lies in all dial bins that its sky covers.

    Where the cube counts by the cell's MLT, counts stay in their bin. Where it
    counts by the station's, they are spread over that bin too and moved by the
    place's offset: a place's MLT is known to a bin's width, so that a bin next
    to an observed one may hold counts although nothing was observed in it.

    The number of frames is the largest behind one cell, over all MLT: a frame
    counts once in a cell, but in as many bins as its cells are in.
    """
    counted = count_maps(cube, detectors, common)
    bounds = cube["mlt_bounds"].to_numpy().astype(np.float64)
    mlat, mlt_offset, station_mlat = _positions(cube, emission_height_km, magnetic_epoch)
    observed, aurora, edges = spread(counted, bounds, mlat, mlt_offset)
    rate = np.full(observed.shape, np.nan, dtype=np.float32)
    # Less than half a frame is what spreading leaves at the rim.
    np.divide(aurora, observed, out=rate, where=observed >= 0.5, casting="same_kind")
    colours = rate_scale(rate, vmax, scale)
    head = head_lines(
        cube, counted.common, title=title or f"MLT and magnetic latitude · {_where(cube)}"
    )
    simulated = captions.is_simulated(cube.attrs)
    side = min(len(counted.labels), max(1, int(width_mm / 80)))
    dial_mm = min((width_mm - 2 * MARGIN_MM) / side, 85.0)
    below_mm = head_mm(head, width_mm, simulated) + 5
    rows = math.ceil(len(counted.labels) / side)
    words = _words(cube, bounds, emission_height_km, station_mlat, counted.days is not None)
    text_mm = width_mm - 2 * MARGIN_MM - (70 if width_mm >= 150 else 0)
    words = [part for line in words for part in wrap(line, text_mm, NOTE_PT + 0.5)]
    foot_mm = 4 + max(20.0 if width_mm >= 150 else 0.0, 3.4 * len(words))
    foot_mm += 0.0 if width_mm >= 150 else 20.0
    page = Page(width_mm, below_mm + rows * (dial_mm + 8) + foot_mm)
    page.head(head, simulated)
    for i, label in enumerate(counted.labels):
        row, column = divmod(i, side)
        x_mm = (width_mm - side * dial_mm) / 2 + column * dial_mm
        y_mm = below_mm + row * (dial_mm + 8)
        page.text(x_mm + dial_mm / 2, y_mm - 1.5, label, size=TEXT_PT + 2, weight="bold")
        axes = page.axes(x_mm, y_mm, dial_mm, dial_mm)
        _dial(axes, rate[i], edges, bounds, colours, station_mlat)
        n_frames = int(counted.observed[i].sum(axis=0).max(initial=0))
        share = aurora[i].sum() / max(observed[i].sum(), 1e-9)
        note = f"{captions.thousands(n_frames)} frames · "
        if counted.days is not None:
            note += f"≥ {captions.days(int(counted.days[i].max(initial=0)))} · "
        note += f"{100 * share:.1f} %"
        page.text(
            x_mm + dial_mm / 2, y_mm + dial_mm + 2,
            note if n_frames else "not observed", size=NOTE_PT + 1,
        )  # fmt: skip
    top_mm = page.height_mm - foot_mm
    for i, text in enumerate(words):
        page.text(MARGIN_MM, top_mm + 2 + 3.4 * i, text, size=NOTE_PT + 0.5, ha="left")
    wide = width_mm >= 150
    bar_x = width_mm - 66 if wide else MARGIN_MM + 5
    bar_y = top_mm + 1 if wide else top_mm + 3.4 * len(words) + 3
    colour_bar(page, colours, bar_x, bar_y, 60 if wide else width_mm - 2 * MARGIN_MM - 10)
    swatch = page.axes(bar_x, bar_y + 12, 6, 2.8)
    for spine in swatch.spines.values():
        spine.set_visible(False)
    hatch(swatch)
    page.text(bar_x + 7.5, bar_y + 13.4, "not observed (not 0)", size=NOTE_PT + 0.5, ha="left")
    return page.figure


def spread(
    counted: CountedMaps,
    mlt_bounds: NDArray[Any],
    mlat: NDArray[np.float64],
    mlt_offset: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Move counts from MLT and sky cell to MLT and magnetic latitude.

    Parameters
    ----------
    counted : (detector, mlt, cell) counts
    mlt_bounds : (mlt, bound) hours, of equal bins
    mlat : (cell, point) absolute AACGM latitude of points in the cells, degrees
    mlt_offset : (cell, point) hours by which a point's MLT is ahead of that counted by;
        0 leaves counts in their bin

    Returns
    -------
    observed, aurora : (detector, mlat, mlt) float64 arrays
        Parts of frames; their sums are those of the counts, but for points without coordinates.
        The bins of MLT go around from the first one given, as wide as it.
    mlat_edges : (mlat + 1,) degrees, from 90 downwards
    """
    lowest = math.floor(float(np.nanmin(mlat)) / MLAT_STEP_DEG) * MLAT_STEP_DEG
    start_h, step_h = _bins(mlt_bounds)
    n_mlat, n_mlt = round((90.0 - lowest) / MLAT_STEP_DEG), round(24.0 / step_h)
    known = np.isfinite(mlat) & np.isfinite(mlt_offset)
    row = np.where(known, np.clip((90.0 - mlat) / MLAT_STEP_DEG, 0, n_mlat - 1), 0).astype(int)
    shape = (len(counted.labels), n_mlat, n_mlt)
    observed, aurora = np.zeros(shape), np.zeros(shape)
    weight = 1.0 / (mlat.shape[1] * len(_INSIDE_BIN))
    for index, (lower, upper) in enumerate(mlt_bounds):
        for step in _INSIDE_BIN:
            around = (lower + step * (upper - lower) + mlt_offset - start_h) % 24.0
            column = np.where(known, around / step_h, 0).astype(int) % n_mlt
            place = (row * n_mlt + column).ravel()
            for counts, total in ((counted.observed, observed), (counted.aurora, aurora)):
                for detector in range(shape[0]):
                    parts = np.repeat(counts[detector, index, :, None], mlat.shape[1], 1) * known
                    total[detector] += weight * np.bincount(
                        place, parts.ravel(), minlength=n_mlat * n_mlt
                    ).reshape(n_mlat, n_mlt)
    edges = 90.0 - MLAT_STEP_DEG * np.arange(n_mlat + 1, dtype=np.float64)
    return observed, aurora, edges


def _bins(mlt_bounds: NDArray[np.float64]) -> tuple[float, float]:
    """Where the first bin of MLT begins, and how wide all are, hours."""
    lower, upper = mlt_bounds[0]
    return float(lower), float(upper - lower)


def _positions(
    cube: xr.Dataset, height_km: float | None, epoch: datetime | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """|mlat| and MLT ahead of that counted by, (cell, point); and the station's mlat."""
    if height_km is None:
        height_km = cube.attrs.get("emission_height_km")
    if epoch is None and "magnetic_epoch" in cube.attrs:
        epoch = datetime.fromisoformat(str(cube.attrs["magnetic_epoch"]))
    needed = {
        "site_latitude_deg": cube.attrs.get("site_latitude_deg"),
        "site_longitude_deg": cube.attrs.get("site_longitude_deg"),
        "north_azimuth_deg": cube.attrs.get("north_azimuth_deg"),
        "emission_height_km": height_km,
        "magnetic_epoch": epoch,
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing or height_km is None or epoch is None:
        raise ConfigurationError(
            f"dial: found no {', '.join(missing)} among the attributes of the cube, expected them "
            f"to know where its cells look; publish the cube again (--recompute cube), or give "
            f"the campaign"
        )
    latitude, longitude, north = (float(needed[name]) for name in list(needed)[:3])  # type: ignore[arg-type]
    zenith = cube["cell_zenith_bounds"].transpose("cell", ...).to_numpy().astype(np.float64)
    azimuth = cube["cell_azimuth_bounds"].transpose("cell", ...).to_numpy().astype(np.float64)
    # Equal steps of solid angle in zenith angle, of angle in azimuth.
    cosine = np.cos(np.radians(zenith))
    zeniths = np.degrees(np.arccos(cosine[:, :1] + _INSIDE_CELL * np.diff(cosine)))
    azimuths = azimuth[:, :1] + _INSIDE_CELL * np.diff(azimuth) + north
    pairs = (len(zenith), len(_INSIDE_CELL), len(_INSIDE_CELL))
    z = np.broadcast_to(zeniths[:, :, None], pairs).reshape(-1)
    a = np.broadcast_to(azimuths[:, None, :], pairs).reshape(-1)
    site = Site(code="station", latitude_deg=latitude, longitude_deg=longitude)
    mlat, mlon = aacgm_many(*layer_position(site, a, 90.0 - z, height_km), height_km, epoch)
    station_mlat, station_mlon = aacgm(latitude, longitude, height_km, epoch)
    ahead = ((mlon - station_mlon + 180.0) % 360.0 - 180.0) / 15.0
    if mlt_place(cube.attrs) == "cell":
        # The bins are the cells' own: a count moved out of its bin would be where none was made.
        ahead = np.zeros_like(ahead)
    points = (len(zenith), -1)
    return np.abs(mlat).reshape(points), ahead.reshape(points), station_mlat


def _dial(
    axes: Axes,
    rate: NDArray[np.float32],
    mlat_edges: NDArray[np.float64],
    mlt_bounds: NDArray[np.float64],
    scale: Scale,
    station_mlat: float,
) -> None:
    axes.set_axis_off()
    axes.set_aspect("equal")
    outer = 90.0 - float(mlat_edges[-1])
    axes.set_xlim(-1.2 * outer, 1.2 * outer)
    axes.set_ylim(-1.2 * outer, 1.2 * outer)
    disk = Circle((0, 0), outer, zorder=0, **NOT_OBSERVED)
    disk.set_hatch_linewidth(HATCH_LINEWIDTH)
    axes.add_patch(disk)
    outlines, values = [], []
    start_h, step_h = _bins(mlt_bounds)
    n_arc = max(9, round(8 * step_h) + 1)
    for row, column in zip(*np.nonzero(np.isfinite(rate)), strict=True):
        hours = start_h + step_h * np.linspace(column, column + 1, n_arc)
        inner, rim = 90.0 - mlat_edges[row], 90.0 - mlat_edges[row + 1]
        radius = np.repeat([rim, inner], len(hours))
        outlines.append(np.stack(_place(np.concatenate([hours, hours[::-1]]), radius), axis=1))
        values.append(rate[row, column])
    if outlines:
        patches = PolyCollection(outlines, linewidths=0.3, edgecolors="face", zorder=1)
        patches.set_array(np.array(values))
        patches.set_cmap(matplotlib.colormaps[COLOUR_MAP])
        patches.set_norm(scale.norm)
        axes.add_collection(patches, autolim=False)
    sign = "−" if station_mlat < 0 else ""
    for colatitude in range(_LABEL_EVERY_DEG, math.ceil(outer) + 1, _LABEL_EVERY_DEG):
        axes.add_patch(_circle(colatitude, "#909090", 0.3))
        x, y = _place(4.5, float(colatitude))
        axes.text(
            float(x), float(y), f"{sign}{90 - colatitude}°", size=NOTE_PT, ha="center",
            va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8},
            zorder=5,
        )  # fmt: skip
    axes.add_patch(_circle(outer, "#404040", 0.5))
    axes.add_patch(_circle(90.0 - abs(station_mlat), "#d7301f", 0.8))
    for hour in range(0, 24, 3):
        x, y = _place([hour, hour], np.array([0.0, 1.0]) * outer)
        axes.plot(x, y, color="#909090", lw=0.3, zorder=3)
        x, y = _place(float(hour), 1.1 * outer)
        axes.text(
            float(x), float(y), f"{hour:02d}", size=TEXT_PT, ha="center", va="center",
            weight="bold" if hour == 12 else "normal",
        )  # fmt: skip


def _circle(radius: float, colour: str, width: float) -> Circle:
    return Circle((0, 0), radius, facecolor="none", edgecolor=colour, lw=width, zorder=4)


def _place(hours: Any, colatitude: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = np.asarray(hours, dtype=np.float64) * (2.0 * np.pi / 24.0)
    return colatitude * np.sin(angle), -colatitude * np.cos(angle)


def _words(
    cube: xr.Dataset,
    mlt_bounds: NDArray[np.float64],
    height_km: float | None,
    station_mlat: float,
    with_days: bool,
) -> list[str]:
    height = float(height_km if height_km is not None else cube.attrs["emission_height_km"])
    step_h = _bins(mlt_bounds)[1]
    if mlt_place(cube.attrs) == "cell":
        whose = "cell"
        counted = (
            "counted by the MLT of each cell's centre and left in those bins; spread in latitude "
            "over what the cell looks at"
        )
    else:
        whose = "place"
        counted = (
            f"counted by the station's MLT, moved to what each cell looks at: known to {step_h:g} "
            f"h only, so a bin next to an observed one may be coloured although never observed"
        )
    return [
        f"around: magnetic local time of the {whose}, hours (noon up, dawn right)",
        f"inward: AACGM latitude at {height:g} km; red circle: the station, "
        f"{captions.degrees(round(station_mlat, 1))}",
        "below: most frames behind one cell, over all MLT · "
        + ("UTC days, most of one cell and MLT · " if with_days else "")
        + "rate over all bins",
        f"bins of {step_h:g} h and {MLAT_STEP_DEG:g}°; {counted}",
    ]


def _where(cube: xr.Dataset) -> str:
    parts = (str(cube.attrs.get("site", "")), captions.period(cube))
    return " · ".join(part for part in parts if part)
