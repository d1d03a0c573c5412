"""Score the detections of a simulated sample against its truth, by sky cell and frame.

What is scored: cell-frames that every detector of the campaign observed, of
frames whose file is whole. Everything comes from the store's committed blocks
and from `DIR/truth`; no image is decoded and no network runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import Campaign, Fcn
from reprocess.cube.count import fraction_min, mlt_bin_index, mlt_bounds, select_frames
from reprocess.detectors.detector import FRACTION_FULL, FRACTION_UNOBSERVED
from reprocess.geometry.calibration import epoch_geometry
from reprocess.scoring.bootstrap import DRAWS, relative_error
from reprocess.scoring.confusion import confusion
from reprocess.scoring.levels import threshold_at, tune_colour
from reprocess.simulate.score_read import Sample, read_sample
from reprocess.simulate.score_tables import (
    Bin,
    MethodScore,
    OccurrenceRow,
    OperatingPoint,
    RateError,
    SampleScore,
    format_score,
)
from reprocess.simulate.truth import DayTruth, load_truth
from reprocess.stores.objects import open_objects

__all__ = ["SampleScore", "format_score", "score_sample"]

DRIFT_DEG_PER_MIN = (0.0, 0.2, 2.0, 8.0)
CHANGE_PER_MIN = (0.0, 0.01, 0.1, 1.0)
FALSE_RATE_MAX = 0.01
NOW, EITHER = "t", "t or t - lag"


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
    sample = read_sample(open_objects(store_url, campaign.store_access), campaign, truth)
    score = _score(sample, campaign, truth)
    values = {f.name: getattr(score, f.name) for f in fields(score)}
    return SampleScore(**{**values, "seconds": time.perf_counter() - started})


def _score(sample: Sample, campaign: Campaign, truth: Mapping[date, DayTruth]) -> SampleScore:
    labels = tuple(campaign.detectors)
    limit = fraction_min(campaign.cube.cell_fraction_min)
    scored = np.isfinite(sample.share)
    for label in labels:
        scored &= sample.fractions[label] != FRACTION_UNOBSERVED
    kept = scored.any(axis=1)
    # The stored fractions are rounded down to 254ths; so is the truth, for one rule.
    now = scored & (np.floor(FRACTION_FULL * np.nan_to_num(sample.share)) >= limit)
    either = {
        label: now | (scored & (np.floor(FRACTION_FULL * np.nan_to_num(before)) >= limit))
        for label, before in sample.before.items()
    }
    flags = {label: scored & (sample.fractions[label] >= limit) for label in labels}
    tuned = tune_colour(sample.colours, now, scored)
    compared = [(label, NOW, flags[label], now) for label in labels]
    compared += [(label, EITHER, flags[label], positive) for label, positive in either.items()]
    compared += [
        ("colour and brightness", NOW, tuned.flags(sample.colours), now),
        ("grid ceiling", NOW, sample.ceiling >= limit, now),
    ]
    methods = [
        MethodScore(method, truth_at, confusion(flagged, positive, scored))
        for method, truth_at, flagged, positive in compared
    ]
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
    either: Mapping[str, NDArray[np.bool_]],
    bins: Mapping[str, NDArray[np.bool_]],
) -> Iterator[OperatingPoint]:
    def point(
        method: str, truth: str, threshold: str, flagged: NDArray[np.bool_]
    ) -> OperatingPoint:
        clear = scored & ~(now if truth == NOW else either[method])
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
            for truth, positive in ((NOW, now), (EITHER, either[label])):
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
        per_frame = (values & chosen).sum(axis=1).astype(np.float64)
        return np.asarray(np.bincount(day, per_frame, n_days), np.float64)

    observed, true = by_day(chosen), by_day(now)
    errors = []
    for label, flagged in flags.items():
        found = by_day(flagged)
        error, low, high = relative_error(found, true, observed)
        errors.append(RateError(label, float(found.sum() / observed.sum()), error, low, high))
    return OccurrenceRow(
        name, int((observed > 0).sum()), int((true > 0).sum()), int(observed.sum()),
        float(true.sum() / observed.sum()), tuple(errors),
    )  # fmt: skip
