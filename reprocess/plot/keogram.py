"""Keogram of a day: frames and detections through the magnetic meridian, Sun and Moon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from reprocess.campaign import Campaign
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import station_mlon_deg
from reprocess.geometry.ephemeris import (
    moon_elevation_deg,
    moon_phase_fraction,
    sun_elevation_deg,
)
from reprocess.geometry.magnetic import mlt_hours
from reprocess.plot import captions
from reprocess.plot.meridian import (
    ABSENT,
    ANGLES,
    NO_FRAME,
    OK,
    UNREADABLE,
    DayAlongMeridian,
    meridian_azimuth_deg,
    read_day,
)
from reprocess.plot.page import (
    DETECTOR_COLOURS,
    HATCH_LINEWIDTH,
    NOT_OBSERVED,
    NOTE_PT,
    PAGE_MM,
    TEXT_PT,
    TITLE_PT,
    Line,
    Page,
    head_mm,
    message_figure,
    save_figure,
)
from reprocess.plot.stored import Stored

_STRETCH = 99.5
_IMAGE_MM, _STATUS_MM, _LABEL_MM, _SKY_MM, _BETWEEN_MM = 42.0, 3.0, 24.0, 24.0, 2.5
_LEFT_MM, _RIGHT_MM = 20.0, 4.0
_SUN, _MOON = "#e69f00", "#0072b2"
_NOTHING_LISTED = 12
_TICK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 900, 1800, 3600, 7200, 10800)
_MINUTES_MM, _SECONDS_MM = 11.5, 15.0
_CURVE_STEP_H, _CURVE_POINTS_MIN = 1 / 12, 25


def draw_keogram(
    store: Stored | str, day: date | str, path: str | Path, *, dpi: int = 300, **options: Any
) -> Path:
    """Write `keogram_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(keogram_figure(store, day, **options), path, dpi)


def keogram_figure(
    store: Stored | str,
    day: date | str,
    *,
    detectors: Sequence[str] | None = None,
    hours: tuple[float, float] | None = None,
    contours: bool = True,
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw a UTC day along the magnetic meridian, south to north through the zenith.

    Parameters
    ----------
    store : URL, or a `Stored`
    day : UTC day
    detectors : labels, top to bottom; default all that have detections
    hours : first and last hour UT; default the full hours that hold frames
    contours : draw the cell rule's contour of each label into the keogram
    title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        If the day or the hours cannot be read, or a label is unknown.
    StoreError
        If a stored object is not the one its record names.

    Notes
    -----
    See `read_day` for what a column is. A slot without a frame is a hatched gap
    in every panel, never interpolated. Sun and Moon: unrefracted centres,
    computed for the whole span, frames or not. A day of which nothing is
    committed makes a picture that says so.
    """
    stored = Stored(store) if isinstance(store, str) else store
    wanted = _day(day)
    campaign = stored.campaign
    labels = list(stored.labels) if detectors is None else list(detectors)
    unknown = [label for label in labels if label not in stored.labels]
    if unknown:
        raise ConfigurationError(
            f"found no detections of {', '.join(unknown)}, expected some of "
            f"{', '.join(stored.labels)}"
        )
    name = title or f"Keogram · {campaign.site.code} · {wanted.isoformat()}"
    found = read_day(stored, wanted, labels)
    present = np.flatnonzero(found.frame_status > NO_FRAME)
    if len(present) == 0:
        return message_figure(
            name, _nothing(stored, wanted), width_mm=width_mm, simulated=campaign.simulated
        )
    span = _span(hours, present, campaign)
    shown = [label for label in labels if label in found.share]
    n_frames, n_unreadable = (int((found.frame_status == s).sum()) for s in (OK, UNREADABLE))
    share = 100 * campaign.cube.cell_fraction_min
    head = [
        Line(name, TITLE_PT, "bold"),
        Line(
            f"through the zenith in the plane of AACGM north (azimuth "
            f"{meridian_azimuth_deg(campaign):.0f}° at {campaign.cells.emission_height_km:g} km) · "
            f"{n_frames} frames this day, {n_unreadable} unreadable (orange) · "
            f"hatched: no frame, or not observed"
        ),
        Line(
            f"detectors: share of the cells with aurora, pale 0 to full colour 1; outlined in the "
            f"frame: ≥ {share:g} %"
        ),
    ]
    top_mm = head_mm(head, width_mm, campaign.simulated) + 8.0
    height = top_mm + _IMAGE_MM + _STATUS_MM + 2 * _BETWEEN_MM
    height += len(shown) * (_LABEL_MM + _BETWEEN_MM) + _SKY_MM + 9.0
    page = Page(width_mm, height)
    page.head(head, campaign.simulated)
    width = width_mm - _LEFT_MM - _RIGHT_MM

    axes = page.axes(_LEFT_MM, top_mm, width, _IMAGE_MM)
    _hours(axes, span, labelled=False)
    stretch = _draw_image(axes, found, campaign)
    if contours and found.image is not None:
        for i, label in enumerate(shown):
            _contour(axes, found.share[label], campaign, DETECTOR_COLOURS[i])
    _angles(axes, "frame, elevation", low=False)
    _mlt_axis(axes, span, wanted, campaign)
    if stretch is not None:
        page.text(
            width_mm - _RIGHT_MM, top_mm - 7.5, f"counts up to {stretch:.0f} drawn as full "
            "brightness", size=NOTE_PT, ha="right",
        )  # fmt: skip
    y_mm = top_mm + _IMAGE_MM + 1.0
    axes = page.axes(_LEFT_MM, y_mm, width, _STATUS_MM)
    _draw_status(axes, found, span, campaign)
    y_mm += _STATUS_MM + _BETWEEN_MM
    for i, label in enumerate(shown):
        axes = page.axes(_LEFT_MM, y_mm, width, _LABEL_MM)
        _hours(axes, span, labelled=False)
        _draw_share(axes, found.share[label], campaign, DETECTOR_COLOURS[i])
        _angles(axes, label, low=True)
        y_mm += _LABEL_MM + _BETWEEN_MM
    axes = page.axes(_LEFT_MM, y_mm, width, _SKY_MM)
    _hours(axes, span, labelled=True)
    _draw_sun_and_moon(axes, span, wanted, campaign)
    return page.figure


def _day(day: date | str) -> date:
    if isinstance(day, date):
        return day
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise ConfigurationError(
            f"--day {day}: cannot be read, expected a UTC day such as 2021-06-10"
        ) from error


def _nothing(stored: Stored, day: date) -> str:
    days = [str(known) for known in stored.days if known.year == day.year]
    listed = ", ".join(days[:_NOTHING_LISTED]) + (" …" if len(days) > _NOTHING_LISTED else "")
    having = f"Committed days of {day.year}: {listed}." if days else f"{day.year} has none."
    return f"No frame of {day} is committed in this store: not observed. {having}"


def _span(
    hours: tuple[float, float] | None, present: NDArray[np.int64], campaign: Campaign
) -> tuple[float, float]:
    if hours is None:
        first, last = (present[[0, -1]] + [0, 1]) * campaign.cadence_s / 3600.0
        unit = 0.25 if last - first < 2 else 1.0
        return math.floor(first / unit) * unit, min(24.0, math.ceil(last / unit) * unit)
    first, last = hours
    if not 0 <= first < last <= 24:
        raise ConfigurationError(
            f"--hours {first:g} {last:g}: expected two hours UT, 0 to 24, the earlier one first"
        )
    return first, last


# --- panels -------------------------------------------------------------------


def _hours(axes: Axes, span: tuple[float, float], *, labelled: bool) -> None:
    axes.set_xlim(*span)
    ticks, names = _ticks(axes, span)
    axes.set_xticks(ticks)
    axes.tick_params(labelsize=NOTE_PT + 0.5, length=2, width=0.5, pad=1.5)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    axes.set_xticklabels(names if labelled else [""] * len(ticks))
    if labelled:
        parts = "hours:minutes:seconds" if any(name.count(":") > 1 for name in names) else ""
        axes.set_xlabel(f"UT, {parts or 'hours:minutes'}", size=TEXT_PT, labelpad=1.5)


def _ticks(
    axes: Axes, span: tuple[float, float], *, around: bool = False
) -> tuple[NDArray[np.float64], list[str]]:
    """Round times within a span of hours, as many as the axes have room for, and their names.

    `around` calls 24:00 00:00 and goes on from there, else it is the end of the day.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    width_mm = 25.4 * axes.get_position().width * figure.get_figwidth()
    long_s = 3600.0 * (span[1] - span[0])
    fit = (
        step for step in _TICK_STEPS_S
        if long_s / step <= width_mm / (_SECONDS_MM if step < 60 else _MINUTES_MM)
    )  # fmt: skip
    step = next(fit, _TICK_STEPS_S[-1])
    # To the millisecond, or a time that is on a step could fall before or behind it.
    first, last = (round(3_600_000 * hour) / 1000 for hour in span)
    seconds = np.arange(math.ceil(first / step), math.floor(last / step) + 1) * step
    named = seconds % 86_400 if around else seconds
    names = [_clock(int(s), with_seconds=step < 60) for s in named]
    if names and step < 60:
        room_mm = _RIGHT_MM + width_mm * (last - seconds[-1]) / (last - first)
        if 2 * room_mm < _SECONDS_MM:
            names[-1] = ""  # would run over the page's edge
    return seconds / 3600.0, names


def _clock(seconds: int, *, with_seconds: bool) -> str:
    """`06:05` or `06:05:30`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}" + (f":{rest:02d}" if with_seconds else "")


def _sampled(
    span: tuple[float, float], day: date
) -> tuple[NDArray[np.float64], NDArray[np.datetime64]]:
    """Hours UT for a smooth curve over a span, both ends among them, and their times."""
    n = max(_CURVE_POINTS_MIN, math.ceil((span[1] - span[0]) / _CURVE_STEP_H) + 1)
    hours = np.linspace(*span, n)
    return hours, np.datetime64(day, "us") + np.rint(3.6e9 * hours).astype("timedelta64[us]")


def _background(axes: Axes) -> None:
    axes.set_facecolor("none")
    box = axes.add_patch(
        Rectangle((0, 0), 1, 1, transform=axes.transAxes, zorder=0, **NOT_OBSERVED)
    )
    box.set_hatch_linewidth(HATCH_LINEWIDTH)


def _angles(axes: Axes, label: str, *, low: bool) -> None:
    axes.set_ylim(-90, 90)
    axes.set_yticks([-90, -60, -30, 0, 30, 60, 90])
    axes.set_yticklabels(["S 0°", "30°", "60°", "zenith", "60°", "30°", "N 0°"])
    if low:
        axes.set_yticks([-60, 0, 60])
        axes.set_yticklabels(["S 30°", "zenith", "N 30°"])
    axes.set_ylabel(label, size=TEXT_PT, labelpad=2)


def _edges(campaign: Campaign) -> NDArray[np.float64]:
    """Hours UT of the slots' edges."""
    slots = np.arange(campaign.slots_per_day + 1)
    return (slots * campaign.cadence_s + campaign.phase_s) / 3600.0


def _paint(axes: Axes, values: NDArray[Any], campaign: Campaign, **style: Any) -> None:
    edges = _edges(campaign)
    axes.imshow(
        values, extent=(edges[0], edges[-1], -90, 90), origin="lower", aspect="auto",
        interpolation="nearest", zorder=1, **style,
    )  # fmt: skip


def _draw_image(axes: Axes, found: DayAlongMeridian, campaign: Campaign) -> float | None:
    span = axes.get_xlim()
    _background(axes)
    if found.image is None:
        axes.text(
            0.5, 0.5, found.why_no_image, transform=axes.transAxes, ha="center", va="center",
            size=TEXT_PT + 1, bbox={"facecolor": "white", "edgecolor": "#808080", "lw": 0.5},
        )  # fmt: skip
        return None
    seen = np.isfinite(found.image).all(axis=2)
    if not seen.any():
        return None
    stretch = max(float(np.percentile(found.image[seen], _STRETCH)), 1.0)
    colours = np.clip(np.nan_to_num(found.image) / stretch, 0.0, 1.0)
    _paint(axes, np.dstack([colours, seen.astype(np.float32)]), campaign)
    axes.set_xlim(*span)
    return stretch


def _contour(axes: Axes, share: NDArray[np.float32], campaign: Campaign, colour: str) -> None:
    """The cell rule's contour; gaps stay gaps, because NaN ends a line."""
    if not np.isfinite(share).any():
        return
    edges = _edges(campaign)
    middles = (edges[:-1] + edges[1:]) / 2
    level = campaign.cube.cell_fraction_min - 1e-3
    inside = np.where(np.isfinite(share), share >= level, np.nan)
    if np.nanmax(inside) == 0:
        return
    span = axes.get_xlim()
    axes.contour(middles, ANGLES, inside, levels=[0.5], colors=[colour], linewidths=0.6, zorder=2)
    axes.set_xlim(*span)


def _draw_share(axes: Axes, share: NDArray[np.float32], campaign: Campaign, colour: str) -> None:
    span = axes.get_xlim()
    _background(axes)
    shades = LinearSegmentedColormap.from_list("share", ["#f2f2f2", colour])
    _paint(axes, np.ma.masked_invalid(share), campaign, cmap=shades, norm=Normalize(0, 1))
    axes.set_xlim(*span)


def _draw_status(
    axes: Axes, found: DayAlongMeridian, span: tuple[float, float], campaign: Campaign
) -> None:
    _hours(axes, span, labelled=False)
    axes.set_xticks([])
    axes.set_yticks([])
    _background(axes)
    colours = {ABSENT: "none", NO_FRAME: "none", UNREADABLE: "#d55e00", OK: "#4d4d4d"}
    values = np.ma.masked_less_equal(found.frame_status.astype(float)[None], NO_FRAME)
    _paint(
        axes, values, campaign, cmap=ListedColormap([colours[UNREADABLE], colours[OK]]),
        norm=Normalize(UNREADABLE, OK),
    )  # fmt: skip
    axes.set_ylim(-90, 90)
    axes.set_xlim(*span)
    axes.set_ylabel("frames", size=NOTE_PT, rotation=0, ha="right", va="center", labelpad=3)


def _mlt_axis(axes: Axes, span: tuple[float, float], day: date, campaign: Campaign) -> None:
    """Magnetic local time of the station along the top."""
    hours, times = _sampled(span, day)
    mlt = np.unwrap(mlt_hours(station_mlon_deg(campaign), times).astype(float), period=24.0)
    turn = 24.0 * math.floor(mlt[0] / 24.0)
    ticks, names = _ticks(axes, (mlt[0] - turn, mlt[-1] - turn), around=True)
    top = axes.secondary_xaxis("top")
    top.set_xticks(list(np.interp(ticks + turn, mlt, hours)))
    top.set_xticklabels(names)
    top.tick_params(labelsize=NOTE_PT + 0.5, length=2, width=0.5, pad=1)
    top.set_xlabel("magnetic local time of the station", size=NOTE_PT + 0.5, labelpad=2)


def _draw_sun_and_moon(
    axes: Axes, span: tuple[float, float], day: date, campaign: Campaign
) -> None:
    hours, times = _sampled(span, day)
    sun = sun_elevation_deg(campaign.site, times)
    moon = moon_elevation_deg(campaign.site, times)
    phase = float(moon_phase_fraction(times[len(times) // 2 : len(times) // 2 + 1])[0])
    axes.plot(hours, sun, color=_SUN, lw=1.0, label="Sun")
    axes.plot(hours, moon, color=_MOON, lw=1.0, ls="--", label=f"Moon, {100 * phase:.0f} % lit")
    axes.axhline(0, color="#404040", lw=0.4)
    limit = campaign.cube.sun_elevation_max_deg
    low = min(float(np.nanmin(sun)), float(np.nanmin(moon)), -20.0) - 5
    high = max(float(np.nanmax(sun)), float(np.nanmax(moon)), 5.0) + 5
    if limit < high:
        axes.axhline(limit, color=_SUN, lw=0.6, ls=":")
        axes.text(
            span[0], limit, f" counted: Sun ≤ {captions.degrees(limit)}", size=NOTE_PT - 0.5,
            va="bottom", ha="left", color="#7a5200",
        )  # fmt: skip
    if campaign.cube.moon_elevation_max_deg is not None:
        axes.axhline(campaign.cube.moon_elevation_max_deg, color=_MOON, lw=0.6, ls=":")
    axes.set_ylim(low, high + 0.25 * (high - low))  # room for the names above the lines
    axes.set_ylabel("elevation, °", size=TEXT_PT, labelpad=2)
    axes.legend(
        loc="upper right", fontsize=NOTE_PT, frameon=True, ncols=2, borderpad=0.3,
        handlelength=2.2, framealpha=0.9, edgecolor="none",
    )  # fmt: skip
