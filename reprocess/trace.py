"""From a number of the cube back to what it came from: settings, weights, days, records, files.

The frames behind one count are found again from the committed detections, by the selection that
the cube says of itself; a count that they do not give is an error, and no trace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import xarray as xr

from reprocess.archive.inputs import Column
from reprocess.campaign import Cube
from reprocess.cube.chosen import Chosen, ChosenDay
from reprocess.cube.committed import Detections
from reprocess.cube.count import fraction_min
from reprocess.cube.open import open_stored_cube
from reprocess.cube.selection import limits
from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED
from reprocess.errors import ConfigurationError, StoreError
from reprocess.plot import captions
from reprocess.plot.stored import Stored
from reprocess.stores.layout import NOT_ACQUIRED_US
from reprocess.stores.records import Record


@dataclass(frozen=True)
class Frame:
    """One frame that a count holds: its file, and the share of the cell that has aurora."""

    time: np.datetime64
    mlt_h: float
    file: str
    digest: str
    share: float
    aurora: bool


@dataclass(frozen=True)
class TracedDay:
    """What one UTC day gave, and the records that vouch for it."""

    day: date
    detections: Record
    evidence: Record
    frames_fingerprint: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Trace:
    """A number of the cube, and the days that it is the sum of."""

    label: str
    month: np.datetime64
    mlt_bounds_h: tuple[float, float]
    cell: int
    where: str
    observed: int
    aurora: int
    selection: tuple[str, ...]
    days: tuple[TracedDay, ...]


def trace(stored: Stored, label: str, month: str, mlt_h: float, cell: int) -> Trace:
    """Find the frames behind one count of the cube.

    Parameters
    ----------
    stored : the store; with a campaign, if the cube was counted with flag tables
    label : a detector of the cube
    month : such as 2021-06
    mlt_h : an MLT, hours; the bin that holds it is traced
    cell : index of the sky cell

    Raises
    ------
    ConfigurationError
        If the cube has no such label, month or cell.
    StoreError
        If the detections do not give the cube's count, or a record is missing.
    """
    cube = open_stored_cube(stored.objects)
    at, bin_index = _place(cube, label, month, mlt_h, cell)
    flags = stored.campaign.cube.flags if list(cube.attrs.get("flags", ())) else ()
    bounds = cube["mlt_bounds"].to_numpy()
    chosen = Cube(
        mlt_bins=len(bounds), mlt_centred=bool(bounds[0, 0] < 0), **limits(cube.attrs, flags)
    )
    days = tuple(_days(stored, label, at, chosen, bin_index, cell))
    observed, aurora = (
        int(cube[name].sel(time=at, detector=label).isel(mlt=bin_index, cell=cell))
        for name in ("n_observed", "n_aurora")
    )
    found = [frame for day in days for frame in day.frames]
    if (len(found), sum(frame.aurora for frame in found)) != (observed, aurora):
        raise StoreError(
            f"{stored.url}: the cube has {observed} frames observed and {aurora} with aurora, the "
            f"detections {len(found)} and {sum(frame.aurora for frame in found)}; expected the "
            f"same: run the campaign again, or `reprocess verify`"
        )
    low, high = (float(edge) for edge in bounds[bin_index])
    return Trace(
        label, at, (low, high), cell, _where(cube, cell), observed, aurora,
        (*captions.selection(cube.attrs), captions.screening(cube.attrs)), days,
    )  # fmt: skip


def _place(
    cube: xr.Dataset, label: str, month: str, mlt_h: float, cell: int
) -> tuple[np.datetime64, int]:
    """Where in the cube; refuses what it does not have."""
    labels = [str(name) for name in cube["detector"].to_numpy()]
    months = cube["time"].to_numpy().astype("datetime64[M]")
    if not re.fullmatch(r"\d{4}-\d{2}", month) or np.datetime64(month, "M") not in months:
        raise ConfigurationError(
            f"--month: found {month}, expected one from {months[0]} to {months[-1]}"
        )
    if label not in labels:
        raise ConfigurationError(f"--detector: found {label}, expected {' or '.join(labels)}")
    if not 0 <= cell < cube.sizes["cell"]:
        raise ConfigurationError(
            f"--cell: found {cell}, expected 0 to {cube.sizes['cell'] - 1}; "
            f"`reprocess plot cells` shows where they are"
        )
    if not 0 <= mlt_h < 24:
        raise ConfigurationError(f"--mlt: found {mlt_h:g}, expected hours from 0 to below 24")
    low, high = cube["mlt_bounds"].to_numpy().T
    inside = ((mlt_h - low) % 24) < (high - low)
    at = cube["time"].to_numpy()[months == np.datetime64(month, "M")][0]
    return at, int(np.flatnonzero(inside)[0])


def _where(cube: xr.Dataset, cell: int) -> str:
    zenith, azimuth = (
        cube[f"cell_{name}_bounds"].to_numpy()[cell] for name in ("zenith", "azimuth")
    )
    reference, _ = captions.north(cube)
    return (
        f"zenith {zenith[0]:.1f} to {zenith[1]:.1f} degrees, azimuth {azimuth[0]:.1f} to "
        f"{azimuth[1]:.1f} degrees from {reference} north"
    )


def _days(
    stored: Stored, label: str, month: np.datetime64, chosen: Cube, bin_index: int, cell: int
) -> Iterator[TracedDay]:
    first = month.astype("datetime64[M]")
    source = Detections.find(stored.objects, [label], [int(str(first)[:4])]).within(
        first.astype("datetime64[D]").item(), (first + 1).astype("datetime64[D]").item()
    )
    threshold = fraction_min(chosen.cell_fraction_min)
    for day in Chosen(source, chosen).days():
        fraction = day.fractions[label][:, cell]
        bins = day.mlt_bin if day.mlt_bin.ndim == 1 else day.mlt_bin[:, cell]
        counted = day.selected & (bins == bin_index) & (fraction != FRACTION_UNOBSERVED)
        if not counted.any():
            continue
        detections, evidence, frames = _records(stored, label, day.day)
        names = _files(day, frames)
        yield TracedDay(
            day.day, detections, evidence, frames.fingerprint,
            tuple(
                Frame(day.times[slot], float(day.mlt[slot]), *names[slot],
                      float(fraction[slot]) / FRACTION_FULL, bool(fraction[slot] >= threshold))
                for slot in np.flatnonzero(counted).tolist()
            ),
        )  # fmt: skip


def _records(stored: Stored, label: str, day: date) -> Sequence[Record]:
    found = [
        stored.record(stage, name, day)
        for stage, name in (("detections", label), ("evidence", label), ("frames", ""))
    ]
    if None in found:
        raise StoreError(
            f"{stored.url}: {day} has detections of {label} without the records of their evidence "
            f"and frames; expected them all: run the campaign again"
        )
    return [record for record in found if record is not None]


def _files(day: ChosenDay, frames: Record) -> dict[int, tuple[str, str]]:
    """File and digest by slot: both the record and the slots are in order of time."""
    placed = [
        (name, digest)
        for name, digest, column, _ in frames.facts["frames"]
        if column in (Column.OK, Column.UNREADABLE)
    ]
    filled = np.flatnonzero(day.times.astype(np.int64) != NOT_ACQUIRED_US)
    filled = filled[np.argsort(day.times[filled], kind="stable")]
    if len(placed) != len(filled):
        raise StoreError(
            f"the record of the frames of {day.day} names {len(placed)} files, the detections "
            f"have {len(filled)} frames; expected the same: run the campaign again"
        )
    return dict(zip(filled.tolist(), placed, strict=True))


def text(found: Trace, *, frames: bool) -> str:
    """The trace for reading: the count, how it was made, a line a day, and a line a frame."""
    rate = f", {100 * found.aurora / found.observed:.1f} %" if found.observed else ""
    low, high = found.mlt_bounds_h
    lines = [
        f"{found.label}, {str(found.month)[:7]}, MLT {captions.mlt_range(low, high)}, cell "
        f"{found.cell} ({found.where})",
        f"  {found.observed} frames observed, {found.aurora} with aurora{rate}, on "
        f"{len(found.days)} UTC day{'' if len(found.days) == 1 else 's'}",
        f"  counted: {'; '.join(found.selection)}",
    ]
    for what, values in _settings(found.days):
        lines += [f"  {what}: {value}" for value in values]
    lines += ["", "day         observed  aurora  detections  evidence    frames"]
    for day in found.days:
        prints = (day.detections.fingerprint, day.evidence.fingerprint, day.frames_fingerprint)
        lines.append(
            f"{day.day}  {len(day.frames):8d}  {sum(f.aurora for f in day.frames):6d}  "
            + "  ".join(f"{fingerprint[:10]:10}" for fingerprint in prints)
        )
        for frame in day.frames if frames else ():
            seen = "aurora" if frame.aurora else "  -   "
            lines.append(
                f"  {str(frame.time)[11:19]}  {frame.mlt_h:5.2f} h  {100 * frame.share:5.1f} %  "
                f"{seen}  {frame.file}  {frame.digest[:12]}"
            )
    if frames:
        lines += [
            "",
            "A frame: UTC, MLT of the station, share of the cell with aurora, file, digest.",
        ]
    lines += ["", "Fingerprints are those of the records under records/, files are of the archive."]
    return "\n".join(lines)


def _settings(days: Sequence[TracedDay]) -> list[tuple[str, list[str]]]:
    """What the records say decided the numbers; more than one line where days differ."""
    evidence = {_said(day.evidence.facts["settings"]) for day in days}
    profiles = {str(day.evidence.facts["profile"]) for day in days}
    thresholds = {
        f"{_said(rule)}, camera epoch {epoch}"
        for day in days
        for epoch, rule in day.detections.facts["thresholds"].items()
    }
    return [
        ("evidence", sorted(evidence)),
        ("computed by", sorted(profiles)),
        ("detections", sorted(thresholds)),
    ]


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())
