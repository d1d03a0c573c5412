"""One frame beside what each detector saw in it: the source's Figure 4.

From left to right: the stored frame turned so that magnetic north is up, then
for each label its mask (where the evidence is the network's logits) or its
cells. What cannot be shown says why in its place.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reprocess.archive.frames import FrameStatus
from reprocess.detectors.coverage import aurora_mask, logit
from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED, EvidenceStatus
from reprocess.errors import ConfigurationError
from reprocess.geometry.skymap import processed_pixel
from reprocess.plot import captions
from reprocess.plot.page import (
    DETECTOR_COLOURS,
    MARGIN_MM,
    NOTE_PT,
    PAGE_MM,
    TEXT_PT,
    TITLE_PT,
    Line,
    Page,
    hatch,
    head_mm,
    save_figure,
    wrap,
)
from reprocess.plot.sky import East, Sky, sky_of
from reprocess.plot.stored import Stored
from reprocess.stores.layout import NOT_ACQUIRED_US

TIMES_MAX = 24
RASTER_PX = 480
"""Edge of a drawn frame: 55 mm at 220 pixels an inch."""
HORIZON_DEG = 90.0
_EDGE_DEG = 108.0
_STRETCH = 99.7
_WHY = {
    EvidenceStatus.NO_FRAME: "no frame in this slot",
    EvidenceStatus.NO_PARTNER: "not observed:\nno frame one lag earlier",
    EvidenceStatus.EXPOSURE_CHANGED: "not observed:\nexposure changed",
    EvidenceStatus.SKY_SHIFTED: "not observed:\nthe whole sky changed",
    EvidenceStatus.EPOCH_CHANGED: "not observed:\ncamera epoch changed",
    EvidenceStatus.UNREADABLE: "not observed:\nframe unreadable",
}


def draw_compare(
    store: Stored | str, times: Sequence[Any], path: str | Path, *, dpi: int = 300, **options: Any
) -> Path:
    """Write `compare_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(compare_figure(store, times, **options), path, dpi)


def compare_figure(
    store: Stored | str,
    times: Sequence[Any],
    *,
    detectors: Sequence[str] | None = None,
    east: East = "left",
    stretch: float | None = None,
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw frames and detections, one row a time.

    Parameters
    ----------
    store : URL, or a `Stored`
    times : UTC, anything that `numpy.datetime64` reads; the frame nearest to each within a
        cadence is drawn
    detectors : labels, left to right; default all that have detections
    stretch : counts drawn as full brightness, the same for all rows and colours; default the
        99.7th percentile of the drawn frames
    east, title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        If a time cannot be read, or there are more than 24; if a label is unknown.
    StoreError
        If a stored object is not the one its record names.

    Notes
    -----
    Frames are resampled bilinearly with the lens of their camera epoch, masks
    to the nearest pixel. Below the elevation at which the cells end the frame is
    drawn to the horizon; the masks end at the cells. A removed frames store, an
    empty slot and a frame that a detector did not observe are said in their places.
    """
    stored = Stored(store) if isinstance(store, str) else store
    moments = [_time(time) for time in times]
    if not 0 < len(moments) <= TIMES_MAX:
        raise ConfigurationError(
            f"--time: found {len(moments)} times, expected 1 to {TIMES_MAX} in one picture"
        )
    known = stored.labels
    labels = list(known) if detectors is None else list(detectors)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ConfigurationError(
            f"found no detections of {', '.join(unknown)}, expected some of {', '.join(known)}"
        )
    rows = [_read(stored, labels, moment) for moment in moments]
    images = [row.image for row in rows if row.image is not None]
    if stretch is None:
        stretch = max((float(np.percentile(image, _STRETCH)) for image in images), default=1.0)
    columns = 1 + len(labels)
    panel_mm = min((width_mm - 2 * MARGIN_MM) / columns, 62.0)
    campaign = stored.campaign
    head = [
        Line(title or f"Frames and detections · {campaign.site.code}", TITLE_PT, "bold"),
    ]
    if images:
        said = f"counts up to {stretch:.0f} drawn as full brightness, the same for all frames"
        head.append(Line(said))
    below_mm = head_mm(head, width_mm, campaign.simulated) + 1
    row_mm = panel_mm + 4.5
    words = _words(stored, labels, rows, east)
    words = [part for line in words for part in wrap(line, width_mm - 5, NOTE_PT + 0.5)]
    page = Page(width_mm, below_mm + 4 + len(rows) * row_mm + 3.4 * len(words) + 3)
    page.head(head, campaign.simulated)
    left_mm = (width_mm - columns * panel_mm) / 2
    for column, name in enumerate(["frame", *labels]):
        x_mm = left_mm + (column + 0.5) * panel_mm
        page.text(x_mm, below_mm + 1.5, name, size=TEXT_PT + 1, weight="bold")
    for index, row in enumerate(rows):
        y_mm = below_mm + 4 + index * row_mm
        page.text(MARGIN_MM, y_mm + 1.2, row.caption, ha="left", size=TEXT_PT, weight="bold")
        sky = sky_of(row.cells, east) if row.cells is not None else None
        for column in range(columns):
            axes = page.axes(left_mm + column * panel_mm, y_mm + 2.5, panel_mm, panel_mm)
            label = "" if column == 0 else labels[column - 1]
            why = row.why.get(label)
            if why is not None or sky is None:
                _say(axes, sky, why or "nothing is committed for this day")
            elif column == 0:
                _draw_frame(axes, sky, row, campaign, stretch)
            else:
                colour = DETECTOR_COLOURS[(column - 1) % len(DETECTOR_COLOURS)]
                _draw_detection(axes, sky, row, label, campaign, colour)
    for i, text in enumerate(words):
        y_mm = page.height_mm - 3.4 * (len(words) - i) - 0.5
        page.text(MARGIN_MM, y_mm, text, size=NOTE_PT + 0.5, ha="left")
    return page.figure


@dataclass
class _Row:
    """One asked time: what was found for it; `why` says what was not, by label ("" = frame)."""

    caption: str
    epoch: int = -1
    image: NDArray[np.uint8] | None = None
    cells: Any = None
    fraction: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    mask: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    threshold: dict[str, float] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)


def _time(value: Any) -> np.datetime64:
    text = str(value).strip().removesuffix("Z").replace(" ", "T")
    try:
        moment = np.datetime64(text, "us")
    except ValueError as error:
        raise ConfigurationError(
            f"--time {value}: cannot be read, expected UTC such as 2021-06-10T11:30:30"
        ) from error
    if np.isnat(moment):
        raise ConfigurationError(f"--time {value}: expected UTC such as 2021-06-10T11:30:30")
    return moment


def _read(stored: Stored, labels: Sequence[str], moment: np.datetime64) -> _Row:
    day = moment.astype("datetime64[D]").astype(date)
    asked = str(moment.astype("datetime64[s]")).replace("T", " ")
    frames = stored.reader("frames", "", day)
    readers = {label: stored.reader("detections", label, day) for label in labels}
    slot, acquired = _slot(stored, [frames, *readers.values()], moment)
    row = _Row(f"{asked} UT")
    shown = next((label for label, reader in readers.items() if reader is not None), None)
    if shown is not None:
        row.cells = stored.cells(shown, day.year)
    elif stored.labels:
        years = [b.year for b in stored.listing if b.label == stored.labels[0]]
        row.cells = stored.cells(stored.labels[0], min(years, key=lambda y: abs(y - day.year)))
    if slot is None or acquired is None:
        why = (
            "no frame within a cadence of this time"
            if frames is not None or shown is not None
            else "nothing is committed for this day"
        )
        row.why = dict.fromkeys(["", *labels], why)
        return row
    row.epoch = int(stored.campaign.epoch_index(np.array([acquired]))[0])
    row.caption = f"{str(acquired.astype('datetime64[s]')).replace('T', ' ')} UT"
    if str(acquired.astype("datetime64[s]")).replace("T", " ") != asked:
        row.caption += f" (asked for {asked[11:]})"
    _read_frame(stored, row, frames, day, slot)
    for label, reader in readers.items():
        if reader is None:
            row.why[label] = "not committed for this day"
            continue
        status = int(reader.read("status", slot, 1)[0])
        if "mlt" not in row.caption.lower():
            mlt = float(reader.read("mlt", slot, 1)[0])
            row.caption += f" · {mlt:.1f} MLT" if np.isfinite(mlt) else ""
        if status != EvidenceStatus.OBSERVED:
            row.why[label] = _WHY[EvidenceStatus(status)]
            continue
        row.fraction[label] = reader.read("fraction", slot, 1)[0]
        _read_mask(stored, row, label, day, slot)
    return row


def _read_frame(stored: Stored, row: _Row, frames: Any, day: date, slot: int) -> None:
    if frames is None:
        removed = stored.record("frames", "", day) is not None
        row.why[""] = "frames store removed" if removed else "frames not committed for this day"
        return
    status = int(frames.read("status", slot, 1)[0])
    if status == FrameStatus.OK:
        row.image = frames.read("image", slot, 1)[0]
    else:
        unreadable = status == FrameStatus.UNREADABLE
        row.why[""] = "frame unreadable" if unreadable else "no frame in this slot"


def _slot(
    stored: Stored, readers: Sequence[Any], moment: np.datetime64
) -> tuple[int | None, np.datetime64 | None]:
    """The slot of the frame nearest to a time, within a cadence, and the frame's time."""
    for reader in readers:
        if reader is None:
            continue
        acquired = reader.read("acquired")
        held = np.flatnonzero(acquired != NOT_ACQUIRED_US)
        if len(held) == 0:
            continue
        away = np.abs(acquired[held] - moment.astype(np.int64))
        if away.min() <= stored.campaign.cadence_s * 1_000_000:
            slot = int(held[np.argmin(away)])
            return slot, acquired[slot].view("datetime64[us]")
    return None, None


def _read_mask(stored: Stored, row: _Row, label: str, day: date, slot: int) -> None:
    """The mask of a label whose evidence is logits; others are drawn by cell."""
    settings = stored.campaign.detectors[label]
    if settings.kind != "fcn":
        return
    evidence = stored.reader("evidence", label, day)
    if evidence is None:
        row.why[label] = "evidence removed"
        return
    # The threshold that the cells were made with, which a later campaign may have changed.
    record = stored.record("detections", label, day)
    epoch = stored.campaign.camera[row.epoch].name
    said = record.facts.get("thresholds", {}).get(epoch, {}) if record is not None else {}
    row.threshold[label] = float(said.get("threshold", settings.threshold))
    logits = evidence.read("logit", slot, 1)
    size_px = stored.campaign.image.size_px
    row.mask[label] = aurora_mask(logits, size_px, logit(row.threshold[label]))[0]


# --- panels -------------------------------------------------------------------


def _raster(
    sky: Sky, row: _Row, campaign: Any, source: NDArray[Any], reach_deg: float, nearest: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A processed image turned to the map: north up, and where it has sky."""
    step = 2 * reach_deg / RASTER_PX
    across = -reach_deg + step * (np.arange(RASTER_PX) + 0.5)
    x, y = np.meshgrid(across, -across)
    zenith = np.hypot(x, y)
    turn = -1.0 if sky.east == "left" else 1.0
    azimuth = np.degrees(np.arctan2(turn * x, y)) + (sky.north_deg or 0.0)
    u, v = processed_pixel(
        campaign.camera[row.epoch], campaign.image.size_px, azimuth, 90.0 - zenith
    )
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    drawn = cv2.remap(source, u.astype(np.float32), v.astype(np.float32), how)
    size = campaign.image.size_px
    inside = (u > -0.5) & (u < size - 0.5) & (v > -0.5) & (v < size - 0.5)
    return np.asarray(drawn), inside & (zenith <= reach_deg)


def _show(axes: Axes, raster: NDArray[Any], reach_deg: float) -> None:
    limits = (axes.get_xlim(), axes.get_ylim())
    extent = (-reach_deg, reach_deg, -reach_deg, reach_deg)
    axes.imshow(raster, extent=extent, interpolation="nearest", zorder=1)
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _frame_axes(axes: Axes, sky: Sky) -> None:
    # Outside the horizon, so that frames fit that reach lower than the cells.
    sky.frame(axes, TEXT_PT, _EDGE_DEG / sky.zenith_max_deg, letters_deg=0.93 * _EDGE_DEG)


def _draw_frame(axes: Axes, sky: Sky, row: _Row, campaign: Any, stretch: float) -> None:
    assert row.image is not None
    reach = min(campaign.camera[row.epoch].zenith_max_deg, HORIZON_DEG)
    raster, inside = _raster(sky, row, campaign, row.image, reach, nearest=False)
    bright = np.clip(raster / max(stretch, 1.0), 0.0, 1.0)
    _frame_axes(axes, sky)
    _show(axes, np.dstack([bright, inside.astype(float)]), reach)
    sky.rings(axes, colour="#c0c0c0", lw=0.25)


def _draw_detection(
    axes: Axes, sky: Sky, row: _Row, label: str, campaign: Any, colour: str
) -> None:
    _frame_axes(axes, sky)
    fraction = row.fraction[label]
    observed = fraction != FRACTION_UNOBSERVED
    flat = ListedColormap(["#f2f2f2", colour])
    mask = row.mask.get(label)
    if mask is None:
        share = np.where(observed, fraction / FRACTION_FULL, np.nan)
        aurora = np.where(observed, share >= campaign.cube.cell_fraction_min, np.nan)
        sky.cells(axes, aurora.astype(np.float64), flat, Normalize(0, 1))
    else:
        sky.cells(axes, np.where(observed, 0.0, np.nan), flat, Normalize(0, 1))
        reach = sky.zenith_max_deg
        drawn, inside = _raster(sky, row, campaign, mask.astype(np.uint8), reach, nearest=True)
        painted = np.zeros((*drawn.shape, 4))
        painted[(drawn > 0) & inside] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] + [1]
        _show(axes, painted, reach)
    sky.edges(axes)
    sky.rings(axes, colour="#303030", lw=0.3)
    full = observed & (fraction >= campaign.cube.cell_fraction_min * FRACTION_FULL)
    n = int(observed.sum())
    axes.text(
        0.02, 0.02, f"{int(full.sum())} of {n} cells", transform=axes.transAxes, size=NOTE_PT,
        ha="left", va="bottom",
    )  # fmt: skip


def _say(axes: Axes, sky: Sky | None, why: str) -> None:
    if sky is None:
        hatch(axes)
    else:
        _frame_axes(axes, sky)
        sky.rings(axes)
    axes.text(
        0.5, 0.5, "\n".join(textwrap.wrap(why, 24)), transform=axes.transAxes, ha="center",
        va="center", size=TEXT_PT, zorder=6,
        bbox={"facecolor": "white", "edgecolor": "#808080", "lw": 0.5, "pad": 2},
    )  # fmt: skip


def _words(stored: Stored, labels: Sequence[str], rows: Sequence[_Row], east: East) -> list[str]:
    cells = next((row.cells for row in rows if row.cells is not None), None)
    found = []
    if cells is not None:
        sky = sky_of(cells, east)
        found.append("; ".join(sky.words()[:2]) + "; cells outlined; hatched: not observed")
    share = 100 * stored.campaign.cube.cell_fraction_min
    for label in labels:
        settings = stored.campaign.detectors[label]
        if settings.kind == "fcn":
            used = sorted({row.threshold[label] for row in rows if label in row.threshold})
            least = ", ".join(f"{value:g}" for value in used or [settings.threshold])
            found.append(
                f"{label}: pixels with a probability of at least {least}; counted are cells of "
                f"which ≥ {share:g} % is filled"
            )
        else:
            found.append(f"{label}: cells whose change over {settings.lag_s:g} s passes")
    if captions.is_simulated({"simulated": stored.campaign.simulated}):
        found.append("The frames are simulated.")
    return found
