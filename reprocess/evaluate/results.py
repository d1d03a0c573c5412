"""The numbers of an evaluation: a `Score` a group, unit and method, and what stands beside."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from reprocess.scoring.confusion import Confusion

Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """Pixels or cells of a group by what a method and the truth say.

    Attributes
    ----------
    by, value : the group, such as "elevation", "10 to 18 deg"
    unit : "pixel" or "cell"
    method : "network", "colour and brightness", "difference, tuned", or a
        campaign's own ("LABEL, campaign")
    on : "all" images, or those with a partner a lag before ("pairs")
    truth : "t", or "t or t - lag": aurora that has left counts as well
    images, days : with anything in the group
    confusion : counts
    f1, iou : 95 % intervals over days; NaN with fewer than two days
    """

    by: str
    value: str
    unit: str
    method: str
    on: str
    truth: str
    images: int
    days: int
    confusion: Confusion
    f1: Interval
    iou: Interval


@dataclass(frozen=True)
class Rate:
    """Occurrence rate found by a method against the true one: relative error, interval over days.

    `n` cell-frames. NaN without true aurora.
    """

    by: str
    value: str
    method: str
    on: str
    n: int
    true: float
    found: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliable:
    """Pixels of one bin of probability: the mean of it, and the share that truly is aurora."""

    low: float
    high: float
    n: int
    mean: float
    observed: float
    interval: Interval


@dataclass(frozen=True)
class Curve:
    """Scores at other thresholds of the network's probability.

    Attributes
    ----------
    threshold : 0.005 to 0.995
    pixel_f1, pixel_precision, pixel_recall, cell_f1 : at each
    best, best_f1 : threshold of the best pixel F1 and that F1; `best_interval` over days
    half_f1 : at 0.5
    cost : best_f1 - half_f1, with its interval over days
    area_error_half, area_error_best : flagged area over true area - 1
    """

    threshold: tuple[float, ...]
    pixel_f1: tuple[float, ...]
    pixel_precision: tuple[float, ...]
    pixel_recall: tuple[float, ...]
    cell_f1: tuple[float, ...]
    best: float
    best_interval: Interval
    best_f1: float
    half_f1: float
    cost: float
    cost_interval: Interval
    area_error_half: float
    area_error_best: float


@dataclass(frozen=True)
class Doubt:
    """Pixels that nobody judged: how many, and the share that a method calls aurora."""

    method: str
    n: int
    flagged: float


@dataclass(frozen=True)
class Wrong:
    """One image by its wrong pixels, as shares of the judged ones."""

    row: int
    image: str
    time: str
    camera: str
    true: float
    false: float
    missed: float


@dataclass(frozen=True)
class Tables:
    """All numbers of an evaluation; `docs/evaluation.md` tells how to read each."""

    scores: tuple[Score, ...]
    occurrence: tuple[Rate, ...]
    reliability: tuple[Reliable, ...]
    calibration_error: float
    brier: float
    curve: Curve
    doubt: tuple[Doubt, ...]
    wrong: tuple[Wrong, ...]
    colour_pixels: str
    colour_cells: str
    difference_rule: str
    n_pairs: int


def score_document(score: Score) -> dict[str, object]:
    """A score as JSON has it, with the shares that its counts make."""
    c = score.confusion
    return {
        **{key: value for key, value in asdict(score).items() if key != "confusion"},
        **asdict(c), "precision": c.precision, "recall": c.recall, "f1": c.f1, "iou": c.iou,
        "false_rate": c.false_rate, "f1_interval": score.f1, "iou_interval": score.iou,
    }  # fmt: skip
