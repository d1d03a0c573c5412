"""What is committed of a simulated sample, beside its truth: whole days, checked bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.campaign import Campaign, Difference
from reprocess.cube.count import fraction_min
from reprocess.detectors.change import CHANNELS
from reprocess.detectors.detector import EvidenceStatus
from reprocess.detectors.difference import DELTA, match_lag
from reprocess.detectors.fcn import LOGIT
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.scoring.cells import cell_colours
from reprocess.scoring.levels import difference_levels, network_levels
from reprocess.simulate.score_cells import TruthCells, truth_cells
from reprocess.simulate.truth import DayTruth
from reprocess.stores.days import DayReader
from reprocess.stores.layout import NOT_ACQUIRED_US, chunk_slots
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Block, Records, day_block


@dataclass(frozen=True, eq=False)
class Sample:
    """All scored frames of a sample, in order of time.

    Attributes
    ----------
    day : (n,) int64, index of the frame's UTC day among the scored days
    mlt, sun_elevation, moon_elevation : (n,) float32
    share, drift, change, ceiling : (n, cell), as `TruthCells`
    before : label → (n, cell) float32, `share` of the frame a lag earlier; NaN without one;
        only of difference detectors
    colours : (n, cell, 3) float32
    fractions, levels : label → (n, cell); levels of a difference detector are (n, 2, cell),
        the campaign's rule and the stronger channel's
    """

    day: NDArray[np.int64]
    mlt: NDArray[np.float32]
    sun_elevation: NDArray[np.float32]
    moon_elevation: NDArray[np.float32]
    share: NDArray[np.float32]
    drift: NDArray[np.float32]
    change: NDArray[np.float32]
    ceiling: NDArray[np.uint8]
    colours: NDArray[np.float32]
    before: Mapping[str, NDArray[np.float32]]
    fractions: Mapping[str, NDArray[np.uint8]]
    levels: Mapping[str, NDArray[np.float32]]


def read_sample(objects: ObjectStore, campaign: Campaign, truth: Mapping[date, DayTruth]) -> Sample:
    """Read what is committed of the days that the truth describes, for every detector.

    Raises
    ------
    ConfigurationError
        If no day is committed for every detector, or no frame in common has a truth.
    StoreError
        If stored bytes are not those that were committed.
    """
    records = Records(objects)
    listing = records.list({day.year for day in truth})
    blocks = [("frames", ""), *((s, x) for x in campaign.detectors for s in stages.STAGES[1:3])]
    days = [
        day
        for day in truth
        if all(len(listing.get(day_block(stage, label, day), ())) == 1 for stage, label in blocks)
    ]
    if not days:
        raise ConfigurationError(
            f"{objects.url}: found no day of the sample's truth committed for every detector "
            f"({', '.join(campaign.detectors)}), expected {', '.join(map(str, truth))}; run the "
            f"sample campaign into this store first"
        )
    cells = {day: truth_cells(campaign, truth[day]) for day in days}
    parts: list[dict[str, Any]] = []
    for number, day in enumerate(days):
        readers = {
            (stage, label): _reader(objects, records, campaign, listing, stage, label, day)
            for stage, label in blocks
        }
        parts.append(_read_day(campaign, readers, cells, day, number))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(joined["day"]):
        raise ConfigurationError(
            f"{objects.url}: found no frame that every detector observed and whose time the truth "
            f"knows, expected frames as from {truth[days[0]].time[0]} on; is this another sample's "
            f"store?"
        )
    return Sample(
        before=_taken(joined, "before"),
        fractions=_taken(joined, "fraction"),
        levels=_taken(joined, "level"),
        **joined,
    )


def _taken(columns: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """Move the columns of one kind out of the others: label → array."""
    wanted = [key for key in columns if key.startswith(f"{name} ")]
    return {key.partition(" ")[2]: columns.pop(key) for key in wanted}


def _reader(
    objects: ObjectStore,
    records: Records,
    campaign: Campaign,
    listing: Mapping[Block, list[str]],
    stage: str,
    label: str,
    day: date,
) -> DayReader:
    block = day_block(stage, label, day)
    path = {
        "frames": stages.frames_path(day.year),
        "evidence": stages.evidence_path(label, day.year),
        "detections": stages.detections_path(label, day.year),
    }[stage]
    record = records.read(block, listing[block][0])
    return DayReader(objects, path, day, campaign.slots_per_day, record.objects)


def _read_day(
    campaign: Campaign,
    readers: Mapping[tuple[str, str], DayReader],
    cells: Mapping[date, TruthCells],
    day: date,
    number: int,
) -> dict[str, NDArray[Any]]:
    """One day's columns of `Sample`, of the frames that every detector observed."""
    labels = tuple(campaign.detectors)
    acquired = readers["frames", ""].read("acquired")
    observed = acquired != NOT_ACQUIRED_US
    for label in labels:
        detections = readers["detections", label]
        observed &= detections.read("acquired") == acquired
        observed &= detections.read("status") == EvidenceStatus.OBSERVED
    slots = np.flatnonzero(observed)
    times = acquired[slots].astype("datetime64[us]")
    true = cells[day]
    row = np.searchsorted(true.time, times)
    found = np.zeros(len(times), np.bool_)
    inside = row < len(true.time)
    found[inside] = true.time[row[inside]] == times[inside]
    slots, times, row = slots[found], times[found], row[found]
    epoch = campaign.epoch_index(times)
    first = readers["detections", labels[0]]
    columns: dict[str, NDArray[Any]] = {
        "day": np.full(len(slots), number, np.int64),
        **{n: first.read(n)[slots] for n in ("mlt", "sun_elevation", "moon_elevation")},
        "share": true.share[row],
        "drift": true.drift_deg_per_min[row],
        "change": true.change_per_min[row],
        "ceiling": true.ceiling[row],
        "colours": _colours(campaign, readers["frames", ""], slots, epoch),
    }
    for label, settings in campaign.detectors.items():
        if isinstance(settings, Difference):
            columns[f"before {label}"] = _before(settings, cells, times)
        columns[f"fraction {label}"] = readers["detections", label].read("fraction")[slots]
        columns[f"level {label}"] = _levels(
            campaign, label, readers["evidence", label], slots, epoch
        )
    return columns


def _before(
    settings: Difference, cells: Mapping[date, TruthCells], times: NDArray[np.datetime64]
) -> NDArray[np.float32]:
    """(n, cell) true shares of the frame that each was compared with; NaN without one."""
    everything = np.concatenate([c.time for c in cells.values()])
    share = np.concatenate([c.share for c in cells.values()])
    partner = match_lag(times, everything, settings.lag_s, settings.lag_tolerance_s)
    return np.where((partner >= 0)[:, None], share[partner], np.float32(np.nan))


def _colours(
    campaign: Campaign, reader: DayReader, slots: NDArray[np.int64], epoch: NDArray[np.int64]
) -> NDArray[np.float32]:
    chunk = chunk_slots(campaign.slots_per_day)
    n_cells = stages.campaign_cells_count(campaign)
    parts = [np.empty((0, n_cells, 3), np.float32)]
    for start in np.unique(slots // chunk) * chunk:
        mine = (slots >= start) & (slots < start + chunk)
        images = reader.read("image", int(start), chunk)[slots[mine] - start]
        maps = [epoch_geometry(campaign, campaign.camera[i]).cellmap for i in epoch[mine]]
        parts.append(cell_colours(images, maps))
    return np.concatenate(parts)


def _levels(
    campaign: Campaign,
    label: str,
    reader: DayReader,
    slots: NDArray[np.int64],
    epoch: NDArray[np.int64],
) -> NDArray[np.float32]:
    settings = campaign.detectors[label]
    n_cells = stages.campaign_cells_count(campaign)
    shape = (len(slots), 2, n_cells) if isinstance(settings, Difference) else (len(slots), n_cells)
    levels = np.full(shape, np.nan, np.float32)
    evidence = reader.read(DELTA if isinstance(settings, Difference) else LOGIT)[slots]
    for index in np.unique(epoch):
        frames, camera = epoch == index, campaign.camera[index]
        if isinstance(settings, Difference):
            rule = stages.detector_of(campaign, label).detection_settings(camera)
            noise = rule.get("noise", {f"{c}_dn": 1.0 for c in CHANNELS})
            unit = np.stack([np.broadcast_to(noise[f"{c}_dn"], n_cells) for c in CHANNELS])
            for i, combine in enumerate((settings.combine, "or")):
                levels[frames, i] = difference_levels(
                    evidence[frames], unit.astype(np.float64), settings.statistic, combine
                )
        else:
            levels[frames] = network_levels(
                evidence[frames],
                epoch_geometry(campaign, camera).cellmap,
                campaign.image.size_px,
                fraction_min(campaign.cube.cell_fraction_min),
            )
    return levels
