"""The score of a sample, as plain numbers and as text tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reprocess.scoring.confusion import Confusion

SIMULATED = "simulated"


@dataclass(frozen=True)
class MethodScore:
    """One method at its own threshold; `truth` is "t" or "t or t - lag"."""

    method: str
    truth: str
    confusion: Confusion


@dataclass(frozen=True)
class OperatingPoint:
    """One method cut so that its false-cell rate is at most the common limit.

    `false_rate` counts the cell-frames that `truth` calls clear. `recall` is
    over aurora at t, by bin as in `SampleScore.bins`; `overall` over all.
    """

    method: str
    truth: str
    threshold: str
    false_rate: float
    overall: float
    recall: tuple[float, ...]


@dataclass(frozen=True)
class Bin:
    """Cell-frames of true aurora of some drift and brightness change."""

    name: str
    n: int


@dataclass(frozen=True)
class RateError:
    """Occurrence of one detector against the truth's: relative error, with a 95 % interval.

    NaN where the truth has no aurora, and an interval of NaN with fewer than two days of it.
    """

    detector: str
    rate: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class OccurrenceRow:
    """One group of cell-frames: all, an MLT bin or an elevation ring.

    `n_days` observed it, in `n_days_aurora` of them with true aurora.
    """

    group: str
    n_days: int
    n_days_aurora: int
    n_observed: int
    true_rate: float
    errors: tuple[RateError, ...]


@dataclass(frozen=True)
class SampleScore:
    """What the detections of a simulated sample are worth.

    Attributes
    ----------
    n_days, n_frames, n_cell_frames : scored, with at least one cell observed by all detectors
    n_damaged : simulated frames left out because their file is damaged
    n_unobserved : undamaged simulated frames that not all detectors observed
    true_share : share of the scored cell-frames with true aurora
    cell_share_min : share of a cell's solid angle that makes it aurora
    colour_rule : thresholds of the baseline, tuned on this very sample
    methods : table 1
    bins, rate_max, points : table 2; the bins "slow steady" and "fast" are among `bins`
    occurrence, draws : table 3 and the number of bootstrap draws over days
    seconds : wall time of scoring
    """

    n_days: int
    n_frames: int
    n_cell_frames: int
    n_damaged: int
    n_unobserved: int
    true_share: float
    cell_share_min: float
    sun_elevation_max_deg: float
    colour_rule: str
    methods: tuple[MethodScore, ...]
    bins: tuple[Bin, ...]
    rate_max: float
    points: tuple[OperatingPoint, ...]
    occurrence: tuple[OccurrenceRow, ...]
    draws: int
    seconds: float


def format_score(score: SampleScore) -> str:
    """The three tables as aligned text; each says that the data is simulated."""
    return "\n\n".join([_methods(score), _recall(score), _occurrence(score)])


def _methods(score: SampleScore) -> str:
    head = ["method", "truth", "precision", "recall", "F1", "false cells"]
    rows = [
        [
            m.method, m.truth, _number(m.confusion.precision), _number(m.confusion.recall),
            _number(m.confusion.f1), _percent(m.confusion.false_rate),
        ]
        for m in score.methods
    ]  # fmt: skip
    return "\n".join(
        [
            f"Detections against truth, by cell and frame ({SIMULATED})",
            f"  {score.n_frames} frames of {score.n_days} days, {score.n_cell_frames} cell-frames "
            f"that every detector observed, {_percent(score.true_share)} of them with true aurora",
            f"  left out: {score.n_damaged} damaged frames, {score.n_unobserved} not observed by "
            f"every detector; a cell is aurora from {score.cell_share_min:g} of its solid angle on",
            *_table(head, rows, left=2),
            f"  colour and brightness: {score.colour_rule}; tuned to its best F1 on this very "
            "sample, so a generous baseline",
            "  grid ceiling: the truth itself, averaged to the network's grid, upsampled and cut "
            "at one half",
        ]
    )


def _recall(score: SampleScore) -> str:
    head = ["aurora at t", "cell-frames", *(f"({i})" for i in range(1, len(score.points) + 1))]
    rows = [
        [b.name, str(b.n), *(_number(point.recall[i]) for point in score.points)]
        for i, b in enumerate(score.bins)
    ]
    rows.append(
        [
            "all",
            str(round(score.true_share * score.n_cell_frames)),
            *(_number(p.overall) for p in score.points),
        ]
    )
    names = [
        [f"({i})", p.method, p.threshold, f"{_percent(p.false_rate)} of cells clear at {p.truth}"]
        for i, p in enumerate(score.points, 1)
    ]
    return "\n".join(
        [
            f"Recall by drift and brightness change at a false-cell rate of at most "
            f"{_percent(score.rate_max)} ({SIMULATED})",
            *_table(["", "method", "threshold", "false cells"], names, left=4),
            "",
            *_table(head, rows, left=1),
            "  drift: of the cell's form, as it would look overhead, deg/min; change: |d ln B/dt|, "
            "1/min",
        ]
    )


def _occurrence(score: SampleScore) -> str:
    labels = [e.detector for e in score.occurrence[0].errors] if score.occurrence else []
    head = ["group", "days", "cell-frames", "true rate"]
    for label in labels:
        head += [label, "error", "95 % interval"]
    rows = []
    for row in score.occurrence:
        cells = [
            row.group,
            f"{row.n_days_aurora} of {row.n_days}",
            str(row.n_observed),
            _percent(row.true_rate),
        ]
        for e in row.errors:
            interval = "-" if math.isnan(e.low) else f"{_signed(e.low)} to {_signed(e.high)}"
            cells += [_percent(e.rate), _signed(e.error), interval]
        rows.append(cells)
    return "\n".join(
        [
            f"Relative error of the occurrence rate, each detector at its own threshold "
            f"({SIMULATED})",
            f"  Sun at or below {score.sun_elevation_max_deg:g} deg; intervals: {score.draws} "
            f"bootstrap draws of whole UTC days; - = fewer than two days with true aurora",
            "  days: with true aurora, of those observed; an interval from two or three days is "
            "too narrow",
            *_table(head, rows, left=1),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Aligned lines; the first `left` columns to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f} %"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f} %"
