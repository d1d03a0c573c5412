"""The tables of an evaluation as rows of text: for Markdown, the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reprocess.evaluate.evaluate import Evaluation
from reprocess.evaluate.groups import ALL
from reprocess.evaluate.results import Interval, Rate, Score, Tables
from reprocess.evaluate.tables import CELL, COLOUR, EVERY, NETWORK, NOW, PAIRS, PIXEL

POSITIVES_ONLY = ("aurora over background", "motion")
"""Groups that hold true aurora alone: only the recall means anything."""
ABSENT = "–"
SIMULATED = "simulated"


@dataclass(frozen=True)
class Table:
    """A heading, a sentence on how to read it, and rows; the first `left` columns are words."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


def tables_of(found: Evaluation) -> list[Table]:
    """Every table of the page, in its order."""
    t = found.tables
    made = [_overall(t), *_pairs(t), _conditions(t, PIXEL), _conditions(t, CELL), _places(t)]
    made += [_recalls(t), _occurrence(t), _threshold(t), _reliability(t), _doubt(t)]
    mark = f" ({SIMULATED})" if found.simulated else ""
    return [Table(m.title + mark, m.note, m.head, m.rows, m.left) for m in made if m is not None]


def markdown(found: Evaluation) -> str:
    """The tables as Markdown, the cautions above each."""
    facts = found.facts
    weights, data = facts["weights"], facts["data"]
    lines = [
        f"# Evaluation of {weights['file']}",
        "",
        f"{weights['architecture']}, SHA-256 `{weights['sha256']}`, on {data['images']} images of "
        f"{data['days']} UTC days ({data['from']} to {data['to']}) of {data['folder']}, "
        f"digest `{data['sha256']}`{_part(data)}.",
        "",
    ]
    warning = [f"> {caution}" for caution in found.cautions]
    lines += [w for caution in warning for w in (caution, "")]
    for table in tables_of(found):
        lines += [f"## {table.title}", ""]
        if found.simulated:
            lines += [warning[0], ""]
        lines += [as_markdown(table), ""]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """A table and its note, without its title."""
    rule = ["---" if i < table.left else "---:" for i in range(len(table.head))]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
    return "\n".join([table.note, "", *map(_row, [table.head, rule, *rows])])


def summary(found: Evaluation) -> str:
    """The first table and the cautions, for a terminal."""
    table = tables_of(found)[0]
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    text = [table.title]
    for line in lines:
        cells = [
            cell.ljust(width) if i < table.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  " + "  ".join(cells).rstrip())
    return "\n".join([*text, *found.cautions])


def find(
    tables: Tables, unit: str, method: str, by: str = ALL, value: str = ALL, on: str = EVERY,
    truth: str = NOW,
) -> Score | None:  # fmt: skip
    """The score of a method in a group; None if there is none."""
    for s in tables.scores:
        if (s.unit, s.method, s.by, s.value, s.on, s.truth) == (unit, method, by, value, on, truth):
            return s
    return None


_HEAD = ("images", "days", "true", "precision", "recall", "F1", "95 %", "IoU", "95 %", "false")


def _overall(t: Tables) -> Table:
    rows = []
    for unit in (PIXEL, CELL):
        for method in (NETWORK, COLOUR):
            if s := find(t, unit, method):
                rows.append((f"by {unit}", method, *_whole(s)))
    return Table(
        "All images",
        f"The network at a probability of 0.5. The colour rule is tuned to its best F1 on these "
        f"very images, so no rule of its kind does better: pixels {t.colour_pixels}; cells "
        f"{t.colour_cells}. True: share that is aurora; false: share of the rest that is "
        f"flagged. Intervals are drawn over whole UTC days.",
        ("", "method", *_HEAD),
        tuple(rows),
        2,
    )


def _pairs(t: Tables) -> Iterable[Table]:
    scores = [s for s in t.scores if s.on == PAIRS and s.by == ALL]
    if not scores:
        return
    rows = tuple((s.method, s.truth, *_whole(s)) for s in scores)
    yield Table(
        "Against the difference method",
        f"Cells of the {t.n_pairs} images that have another a lag before, all methods on the same "
        f"ones. The difference is tuned to its best F1 here ({t.difference_rule}); with a "
        f"campaign, its own thresholds stand beside that. It flags aurora that has left as well, "
        f"so its truth is also given at t or t − lag.",
        ("method", "truth", *_HEAD),
        rows,
        2,
    )


def _conditions(t: Tables, unit: str) -> Table | None:
    rows = []
    for by, value in _groups(t, unit):
        if by == ALL or by in POSITIVES_ONLY or (unit == CELL and by == "elevation"):
            continue
        rows.append((by, value, *_side_by_side(t, unit, by, value)))
    if not rows:
        return None
    return Table(
        f"By condition, {unit}s",
        "Each condition by itself: conditions come together in the sky, and these rows do not take "
        "them apart. Without true aurora there is no F1; the false share then says it all.",
        ("", "", "images", "days", "true", "network: precision", "recall", "F1", "95 %", "false",
         "colour: F1", "false"),
        tuple(rows), 2,
    )  # fmt: skip


def _places(t: Tables) -> Table | None:
    rows = [
        (value, *_side_by_side(t, CELL, "elevation", value))
        for by, value in _groups(t, CELL)
        if by == "elevation"
    ]
    if not rows:
        return None
    return Table(
        "By elevation ring, cells",
        "The rings of the sky cells, horizon first.",
        ("elevation", "images", "days", "true", "network: precision", "recall", "F1", "95 %",
         "false", "colour: F1", "false"),
        tuple(rows),
    )  # fmt: skip


def _recalls(t: Tables) -> Table | None:
    others = _methods(t, PAIRS)
    rows = []
    for by, value in _groups(t, CELL):
        if by not in POSITIVES_ONLY:
            continue
        network, colour = find(t, CELL, NETWORK, by, value), find(t, CELL, COLOUR, by, value)
        if network is None or colour is None:
            continue
        pairs = [find(t, CELL, method, by, value, PAIRS) for method in others]
        rows.append(
            (by, value, _count(network.confusion.hits + network.confusion.missed),
             _number(network.confusion.recall), _number(colour.confusion.recall),
             *(ABSENT if s is None else _number(s.confusion.recall) for s in pairs))
        )  # fmt: skip
    if not rows:
        return None
    return Table(
        "Recall of true aurora, by brightness and motion, cells",
        "Share of the cell-frames of true aurora that is flagged. Stationary: aurora was there a "
        "lag before, with a brightness over background that changed by less than a tenth. The "
        "methods flag different shares of the empty sky (see above): a recall alone ranks nothing."
        + (" The difference is counted where it has a pair." if others else ""),
        ("", "", "cell-frames", NETWORK, COLOUR, *others),
        tuple(rows),
        2,
    )


def _occurrence(t: Tables) -> Table:
    rows = []
    # Rings where all methods are: on the images with a pair, if there are any.
    rings = PAIRS if any(rate.on == PAIRS for rate in t.occurrence) else EVERY
    for rate in t.occurrence:
        if rate.by != ALL and rate.on != rings:
            continue
        group = "all cells" if rate.by == ALL else rate.value
        on = "all images" if rate.on == EVERY else "images with a pair"
        rows.append(
            (on, group, rate.method, _count(rate.n), _percent(rate.true), _percent(rate.found),
             _signed(rate.error), _signed_interval(rate))
        )  # fmt: skip
    return Table(
        "Bias of the occurrence rate, cells",
        "Rate found over true rate − 1: what a map of occurrence made with this method is wrong "
        "by. A bias of zero can hide misses and false alarms that cancel.",
        ("", "elevation", "method", "cell-frames", "true rate", "found", "bias", "95 %"),
        tuple(rows),
        3,
    )


def _threshold(t: Tables) -> Table:
    c = t.curve
    rows = (
        ("0.5", _number(c.half_f1), _signed(c.area_error_half), ""),
        (f"{c.best:.3f}", _number(c.best_f1), _signed(c.area_error_best),
         _interval(c.best_interval)),
    )  # fmt: skip
    return Table(
        "What the threshold of 0.5 costs, pixels",
        f"The best threshold on these very images gains {_number(c.cost)} of F1 "
        f"(95 % {_interval(c.cost_interval)}); area: flagged over true area − 1. Do not tune it "
        f"on test images: this is the price of not knowing it.",
        ("threshold", "F1", "area", "95 % of the best"),
        rows,
    )


def _reliability(t: Tables) -> Table:
    rows = tuple(
        (f"{r.low:.2f} to {r.high:.2f}", _count(r.n), _number(r.mean), _number(r.observed),
         _interval(r.interval))
        for r in t.reliability
    )  # fmt: skip
    return Table(
        "Calibration, pixels",
        f"Among pixels with this probability, the share that truly is aurora. Expected "
        f"calibration error {_number(t.calibration_error)}, Brier score {_number(t.brier)}.",
        ("probability", "pixels", "mean", "true share", "95 %"),
        rows,
    )


def _doubt(t: Tables) -> Table | None:
    if not t.doubt[0].n:
        return None
    return Table(
        "The faint edge, pixels",
        "Pixels that the labels leave open: neither right nor wrong, and in no other table.",
        ("method", "pixels", "called aurora"),
        tuple((d.method, _count(d.n), _percent(d.flagged)) for d in t.doubt),
    )


def _groups(t: Tables, unit: str) -> list[tuple[str, str]]:
    """(by, value) of a unit's groups, each once, in their order."""
    return list(dict.fromkeys((s.by, s.value) for s in t.scores if s.unit == unit))


def _methods(t: Tables, on: str) -> list[str]:
    """Methods that are scored on pairs only, in their order."""
    found = dict.fromkeys(s.method for s in t.scores if s.on == on)
    return [method for method in found if method not in (NETWORK, COLOUR)]


def _whole(s: Score) -> tuple[str, ...]:
    c = s.confusion
    n = c.hits + c.false + c.missed + c.clear
    return (
        _count(s.images), _count(s.days), _percent((c.hits + c.missed) / n),
        _number(c.precision), _number(c.recall), _number(c.f1), _interval(s.f1),
        _number(c.iou), _interval(s.iou), _percent(c.false_rate),
    )  # fmt: skip


def _side_by_side(t: Tables, unit: str, by: str, value: str) -> tuple[str, ...]:
    network, colour = find(t, unit, NETWORK, by, value), find(t, unit, COLOUR, by, value)
    if network is None or colour is None or not network.images:
        return (ABSENT,) * 10
    c, other = network.confusion, colour.confusion
    n = c.hits + c.false + c.missed + c.clear
    some = c.hits + c.missed > 0
    shown = [_number(v) if some else ABSENT for v in (c.precision, c.recall, c.f1)]
    return (
        _count(network.images), _count(network.days), _percent((c.hits + c.missed) / n), *shown,
        _interval(network.f1) if some else ABSENT, _percent(c.false_rate),
        _number(other.f1) if some else ABSENT, _percent(other.false_rate),
    )  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _part(data: dict[str, object]) -> str:
    split = data["split"]
    if not isinstance(split, dict):
        return ", all of it"
    return f", part {split['part']} of a split by {split['by']}"


def _count(n: int) -> str:
    return f"{n:,}".replace(",", "\N{THIN SPACE}")


def _number(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.3f}"


def _percent(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{100 * value:.2f} %"


def _signed(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{100 * value:+.1f} %"


def _interval(interval: Interval) -> str:
    low, high = interval
    return ABSENT if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def _signed_interval(rate: Rate) -> str:
    return ABSENT if math.isnan(rate.low) else f"{_signed(rate.low)} to {_signed(rate.high)}"
