"""Score the detections of a simulated sample against its truth, by sky cell and frame.

What is scored: cell-frames that every detector of the campaign observed, of
frames whose file is whole. Everything comes from the store's committed blocks
and from `DIR/truth`; no image is decoded and no network runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.campaign import Campaign, Difference, Fcn
from reprocess.cube.count import fraction_min, mlt_bin_index, mlt_bounds, select_frames
from reprocess.detectors.detector import FRACTION_UNOBSERVED, EvidenceStatus
from reprocess.detectors.difference import CHANNELS, DELTA, match_lag
from reprocess.detectors.fcn import LOGIT
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.simulate.score_cells import TruthCells, cell_colours, truth_cells
from reprocess.simulate.score_levels import (
    difference_levels,
    network_levels,
    threshold_at,
    tune_colour,
)
from reprocess.simulate.score_tables import (
    Bin,
    Confusion,
    MethodScore,
    OccurrenceRow,
    OperatingPoint,
    RateError,
    SampleScore,
    format_score,
)
from reprocess.simulate.truth import DayTruth, load_truth
from reprocess.stores.layout import NOT_ACQUIRED_US, DayReader, chunk_slots
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import Block, Records, day_block

__all__ = ["SampleScore", "format_score", "score_sample"]

DRIFT_DEG_PER_MIN = (0.0, 0.2, 2.0, 8.0)
CHANGE_PER_MIN = (0.0, 0.01, 0.1, 1.0)
FALSE_RATE_MAX = 0.01
DRAWS = 2000
SEED = 20250
NOW, EITHER = "t", "t or t - lag"


@dataclass(frozen=True, eq=False)
class Sample:
    """All scored frames of a sample, in order of time.

    Attributes
    ----------
    day : (n,) int64, index of the frame's UTC day among the scored days
    mlt, sun_elevation, moon_elevation : (n,) float32
    share, drift, change, ceiling : (n, cell), as `TruthCells`
    before : (n, cell) float32, `share` of the frame a lag earlier, for the first difference
        detector; NaN without one
    colours : (n, cell, 3) float32
    fractions, levels : label → (n, cell); levels of a difference detector are (n, 2, cell),
        the campaign's rule and the stronger channel's
    """

    day: NDArray[np.int64]
    mlt: NDArray[np.float32]
    sun_elevation: NDArray[np.float32]
    moon_elevation: NDArray[np.float32]
    share: NDArray[np.float32]
    before: NDArray[np.float32]
    drift: NDArray[np.float32]
    change: NDArray[np.float32]
    ceiling: NDArray[np.uint8]
    colours: NDArray[np.float32]
    fractions: Mapping[str, NDArray[np.uint8]]
    levels: Mapping[str, NDArray[np.float32]]


def score_sample(store_url: str, campaign: Campaign, sample_dir: Path) -> SampleScore:
    """Compare a store's committed detections with the truth of a simulated sample.

    Parameters
    ----------
    store_url : where the main job left its stores
    campaign : with which it ran
    sample_dir : the folder given to `write_sample`

    Raises
    ------
    ArchiveError
        If there is no truth.
    ConfigurationError
        If no day of the truth is committed for every detector, or a detector was run with
        settings that need constants the campaign does not have.
    StoreError
        If stored bytes are not those that were committed.

    Notes
    -----
    Frames are matched by their time. Deterministic apart from `seconds`: the
    bootstrap is seeded.
    """
    started = time.perf_counter()
    truth = load_truth(sample_dir)
    sample = _read(open_objects(store_url), campaign, truth)
    score = _score(sample, campaign, truth)
    values = {f.name: getattr(score, f.name) for f in fields(score)}
    return SampleScore(**{**values, "seconds": time.perf_counter() - started})


# --- reading --------------------------------------------------------------------


def _read(objects: ObjectStore, campaign: Campaign, truth: Mapping[date, DayTruth]) -> Sample:
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
    labels = tuple(campaign.detectors)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Sample(
        fractions={label: joined.pop(f"fraction {label}") for label in labels},
        levels={label: joined.pop(f"level {label}") for label in labels},
        **joined,
    )


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
        "before": _before(campaign, cells, times),
        "drift": true.drift_deg_per_min[row],
        "change": true.change_per_min[row],
        "ceiling": true.ceiling[row],
        "colours": _colours(campaign, readers["frames", ""], slots, epoch),
    }
    for label in labels:
        columns[f"fraction {label}"] = readers["detections", label].read("fraction")[slots]
        columns[f"level {label}"] = _levels(
            campaign, label, readers["evidence", label], slots, epoch
        )
    return columns


def _before(
    campaign: Campaign, cells: Mapping[date, TruthCells], times: NDArray[np.datetime64]
) -> NDArray[np.float32]:
    """(n, cell) true shares a lag before each time; NaN without a difference detector."""
    settings = next((d for d in campaign.detectors.values() if isinstance(d, Difference)), None)
    everything = np.concatenate([c.time for c in cells.values()])
    share = np.concatenate([c.share for c in cells.values()])
    if settings is None:
        return np.full((len(times), share.shape[1]), np.nan, np.float32)
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
    """Levels of a label's evidence; NaN for a kind that is not known here."""
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


# --- scoring --------------------------------------------------------------------


def _score(sample: Sample, campaign: Campaign, truth: Mapping[date, DayTruth]) -> SampleScore:
    labels = tuple(campaign.detectors)
    limit = fraction_min(campaign.cube.cell_fraction_min)
    scored = np.isfinite(sample.share)
    for label in labels:
        scored &= sample.fractions[label] != FRACTION_UNOBSERVED
    kept = scored.any(axis=1)
    # The stored fractions are rounded down to 254ths; so is the truth, for one rule.
    now = scored & (np.floor(254 * np.nan_to_num(sample.share)) >= limit)
    either = now | (scored & (np.floor(254 * np.nan_to_num(sample.before)) >= limit))
    flags = {label: scored & (sample.fractions[label] >= limit) for label in labels}
    tuned = tune_colour(sample.colours, now, scored)
    methods = []
    for label in labels:
        methods.append(MethodScore(label, NOW, confusion(flags[label], now, scored)))
        if isinstance(campaign.detectors[label], Difference):
            methods.append(MethodScore(label, EITHER, confusion(flags[label], either, scored)))
    methods += [
        MethodScore("colour and brightness", NOW, confusion(tuned.flags(sample.colours), now,
                                                            scored)),
        MethodScore("grid ceiling", NOW, confusion(sample.ceiling >= limit, now, scored)),
    ]  # fmt: skip
    n_damaged = sum(int(day.damaged.sum()) for day in truth.values())
    bins = _bins(sample, now)
    return SampleScore(
        n_days=len(np.unique(sample.day[kept])),
        n_frames=int(kept.sum()),
        n_cell_frames=int(scored.sum()),
        n_damaged=n_damaged,
        n_unobserved=sum(map(len, truth.values())) - n_damaged - int(kept.sum()),
        true_share=float(now.sum() / max(int(scored.sum()), 1)),
        cell_share_min=campaign.cube.cell_fraction_min,
        sun_elevation_max_deg=campaign.cube.sun_elevation_max_deg,
        colour_rule=f"mean (R+G+B)/3 >= {tuned.brightness_dn:.1f} DN and "
        f"G-(R+B)/2 >= {tuned.excess_dn:.1f} DN",
        methods=tuple(methods),
        bins=tuple(Bin(name, int(chosen.sum())) for name, chosen in bins.items()),
        rate_max=FALSE_RATE_MAX,
        points=tuple(_points(sample, campaign, scored, now, either, bins)),
        occurrence=tuple(_occurrence(sample, campaign, scored, now, flags)),
        draws=DRAWS,
        seconds=0.0,
    )


def confusion(
    flagged: NDArray[np.bool_], positive: NDArray[np.bool_], scored: NDArray[np.bool_]
) -> Confusion:
    """Count the scored cell-frames by what a method and the truth say."""
    hits = int((flagged & positive & scored).sum())
    false = int((flagged & ~positive & scored).sum())
    missed = int((~flagged & positive & scored).sum())
    return Confusion(hits, false, missed, int(scored.sum()) - hits - false - missed)


def _bins(sample: Sample, now: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Cell-frames of true aurora by drift, by change, and the two extremes."""
    found = {}
    drifts, changes = (
        (sample.drift, DRIFT_DEG_PER_MIN, "drift"), (sample.change, CHANGE_PER_MIN, "change"),
    )  # fmt: skip
    for values, edges, name in (drifts, changes):
        for low, high in pairwise([*edges, math.inf]):
            text = f"{name} >= {low:g}" if math.isinf(high) else f"{name} {low:g} to {high:g}"
            found[text] = now & (values >= low) & (values < high)
    slow = (sample.drift < DRIFT_DEG_PER_MIN[1]) & (sample.change < CHANGE_PER_MIN[1])
    found["slow steady: the lowest of both"] = now & slow
    found["fast: the highest drift"] = now & (sample.drift >= DRIFT_DEG_PER_MIN[-1])
    return found


def _points(
    sample: Sample,
    campaign: Campaign,
    scored: NDArray[np.bool_],
    now: NDArray[np.bool_],
    either: NDArray[np.bool_],
    bins: Mapping[str, NDArray[np.bool_]],
) -> Iterator[OperatingPoint]:
    def point(
        method: str, truth: str, threshold: str, flagged: NDArray[np.bool_]
    ) -> OperatingPoint:
        clear = scored & ~(now if truth == NOW else either)
        return OperatingPoint(
            method, truth, threshold, _share(flagged, clear), _share(flagged, now),
            tuple(_share(flagged, chosen) for chosen in bins.values()),
        )  # fmt: skip

    for label, settings in campaign.detectors.items():
        if isinstance(settings, Fcn):
            levels = sample.levels[label]
            limit = threshold_at(levels, scored & ~now, FALSE_RATE_MAX).limit
            p = 1 / (1 + math.exp(-limit)) if math.isfinite(limit) else math.nan
            yield point(label, NOW, f"logit > {limit:.2f} (p > {p:.3f})", levels > limit)
            continue
        unit = "DN" if settings.threshold_dn is not None else "sigma"
        rules = dict.fromkeys((settings.combine, "or"))
        for i, combine in enumerate(rules):
            levels = sample.levels[label][:, i]
            for truth, positive in ((NOW, now), (EITHER, either)):
                limit = threshold_at(levels, scored & ~positive, FALSE_RATE_MAX).limit
                threshold = f"red {combine} green > {limit:.2f} {unit}"
                yield point(label, truth, threshold, levels > limit)
    rule = tune_colour(sample.colours, now, scored, FALSE_RATE_MAX)
    yield point(
        "colour and brightness", NOW,
        f"{rule.brightness_dn:.1f} and {rule.excess_dn:.1f} DN", rule.flags(sample.colours),
    )  # fmt: skip


def _share(flagged: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> float:
    return float(flagged[chosen].mean()) if chosen.any() else math.nan


def _occurrence(
    sample: Sample,
    campaign: Campaign,
    scored: NDArray[np.bool_],
    now: NDArray[np.bool_],
    flags: Mapping[str, NDArray[np.bool_]],
) -> Iterator[OccurrenceRow]:
    cube = campaign.cube
    dark = select_frames(
        sample.sun_elevation, sample.moon_elevation,
        cube.sun_elevation_max_deg, cube.moon_elevation_max_deg,
    )[:, None]  # fmt: skip
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    groups = {"all": np.ones_like(scored)}
    bounds = mlt_bounds(cube.mlt_bins, cube.mlt_centred)[1]
    mlt = mlt_bin_index(sample.mlt, cube.mlt_bins, cube.mlt_centred)
    for index in np.unique(mlt[mlt >= 0]):
        low, high = bounds[index]
        groups[f"MLT {low:g} to {high:g} h"] = np.broadcast_to(
            (mlt == index)[:, None], scored.shape
        )
    for low in np.unique(cells.zenith_min_deg):
        ring = cells.zenith_min_deg == low
        high = cells.zenith_max_deg[ring][0]
        groups[f"elevation {90 - high:.0f} to {90 - low:.0f} deg"] = np.broadcast_to(
            ring, scored.shape
        )
    n_days = int(sample.day.max(initial=-1)) + 1
    for name, group in groups.items():
        chosen = group & scored & dark
        if chosen.any():
            yield _occurrence_row(name, sample.day, n_days, chosen, now, flags)


def _occurrence_row(
    name: str,
    day: NDArray[np.int64],
    n_days: int,
    chosen: NDArray[np.bool_],
    now: NDArray[np.bool_],
    flags: Mapping[str, NDArray[np.bool_]],
) -> OccurrenceRow:
    def by_day(values: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(day, weights=(values & chosen).sum(axis=1), minlength=n_days)

    observed, true = by_day(chosen), by_day(now)
    errors = []
    for label, flagged in flags.items():
        found = by_day(flagged)
        error, low, high = relative_error(found, true, observed)
        errors.append(RateError(label, float(found.sum() / observed.sum()), error, low, high))
    return OccurrenceRow(
        name, int((observed > 0).sum()), int(observed.sum()),
        float(true.sum() / observed.sum()), tuple(errors),
    )  # fmt: skip


def relative_error(
    found: NDArray[np.float64], true: NDArray[np.float64], observed: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Find the relative error of an occurrence rate, and its 95 % interval over days.

    Parameters
    ----------
    found, true, observed : (day,) float64 arrays
        Cell-frames flagged, with true aurora, and observed.

    Returns
    -------
    error, low, high : float
        (rate found) / (true rate) - 1. NaN without true aurora; an interval of NaN if fewer
        than two days have any.

    Notes
    -----
    Days that observed something are drawn with replacement `DRAWS` times from
    a fixed seed. Draws without true aurora have no error and are left out.
    """
    if true.sum() == 0:
        return math.nan, math.nan, math.nan
    error = float(found.sum() / true.sum() - 1)
    if np.count_nonzero(true) < 2:
        return error, math.nan, math.nan
    days = np.flatnonzero(observed > 0)
    rng = np.random.default_rng(SEED)
    times = rng.multinomial(len(days), np.full(len(days), 1 / len(days)), size=DRAWS)
    drawn_true = times @ true[days]
    some = drawn_true > 0
    errors = (times @ found[days])[some] / drawn_true[some] - 1
    low, high = np.percentile(errors, [2.5, 97.5])
    return error, float(low), float(high)
