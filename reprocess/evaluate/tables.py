"""What an evaluation says, as plain numbers: one `Score` a group, unit and method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprocess.evaluate.groups import ALL, CellGroup, FrameGroup, cell_groups, frame_groups
from reprocess.evaluate.measure import BINS, FOUR, Measured, truly
from reprocess.evaluate.results import Curve, Doubt, Rate, Reliable, Score, Tables, Wrong
from reprocess.evaluate.sky import BAND_DEG, BANDS
from reprocess.geometry.cells import SkyCells
from reprocess.labels import LabelIndex
from reprocess.scoring.bootstrap import day_interval, relative_error
from reprocess.scoring.confusion import Confusion
from reprocess.scoring.levels import ColourRule, difference_levels, tune_colour

NETWORK, COLOUR, DIFFERENCE = "network", "colour and brightness", "difference, tuned"
PIXEL, CELL = "pixel", "cell"
NOW, EITHER = "t", "t or t - lag"
EVERY, PAIRS = "all", "pairs"
CURVE = tuple(range(1, BINS))
RELIABILITY = 20


@dataclass(frozen=True, eq=False)
class CampaignRule:
    """A difference detector of the campaign: its label and what it flags, (n, cell) bool."""

    label: str
    flags: NDArray[np.bool_]


def make_tables(
    measured: Measured,
    index: LabelIndex,
    cells: SkyCells,
    fraction_min: int,
    colour: tuple[tuple[int, int], NDArray[np.int64], NDArray[np.int64]],
    rules: Sequence[CampaignRule] = (),
) -> Tables:
    """Add up what was measured.

    Parameters
    ----------
    measured : of the images of `index`
    fraction_min : least floor(254 × share) that makes a cell aurora
    colour : `best_thresholds` of `measured.colours`, and what `colour_pixels` counts with it
    rules : difference detectors with thresholds of a campaign

    Notes
    -----
    The colour rule of pixels, that of cells and the difference's threshold are
    tuned to their best F1 on these very images: no rule of their kind does
    better, so what beats them does so fairly. Deterministic: the bootstrap is
    seeded.
    """
    days, day = np.unique(index.time.astype("datetime64[D]"), return_inverse=True)
    book = _Book(measured, index, day, len(days), fraction_min)
    pixel, colour_counts, colour_doubt = colour
    rule = tune_colour(measured.colour, book.now, book.scored)
    flags = {NETWORK: book.scored & (measured.level >= 0), COLOUR: rule.flags(measured.colour)}
    text, difference = _tuned_difference(measured, book)
    on_pairs = {DIFFERENCE: difference, **{f"{r.label}, campaign": r.flags for r in rules}}
    if not book.paired.any():
        on_pairs = {}
    frames = list(frame_groups(index, measured.share, fraction_min))
    places = list(cell_groups(measured, cells, fraction_min))
    scores = [
        *_pixel_scores(book, frames, {NETWORK: measured.network, COLOUR: colour_counts}),
        *_cell_scores(book, frames, places, flags, on_pairs),
    ]
    reliability, ece, brier = _reliability(book)
    return Tables(
        scores=tuple(scores),
        occurrence=tuple(_occurrence(book, places, flags, on_pairs)),
        reliability=reliability,
        calibration_error=ece,
        brier=brier,
        curve=_curve(book),
        doubt=tuple(
            Doubt(method, int(d[:, 0].sum()), _ratio(d[:, 1].sum(), d[:, 0].sum()))
            for method, d in ((NETWORK, measured.doubt), (COLOUR, colour_doubt))
        ),
        wrong=tuple(_wrong(measured, index)),
        colour_pixels=f"mean of R, G, B >= {pixel[0] / 3:.1f} DN and G - (R + B) / 2 >= "
        f"{(pixel[1] - 510) / 2:.1f} DN",
        colour_cells=_rule_text(rule),
        difference_rule=text,
        n_pairs=int(book.paired.any(axis=1).sum()),
    )


@dataclass(frozen=True, eq=False)
class _Book:
    """What every table needs: days, truth by cell, and which cells count."""

    measured: Measured
    index: LabelIndex
    day: NDArray[np.int64]
    n_days: int
    fraction_min: int

    @property
    def scored(self) -> NDArray[np.bool_]:
        return self.measured.scored

    @property
    def now(self) -> NDArray[np.bool_]:
        return truly(self.measured.share, self.fraction_min)

    @property
    def paired(self) -> NDArray[np.bool_]:
        """(n, cell) scored cells with a difference."""
        return self.scored & np.isfinite(self.measured.delta).all(axis=(1, 2))

    @property
    def before(self) -> NDArray[np.bool_]:
        """(n, cell) cells with aurora a lag before; False without a partner."""
        partner = self.measured.partner
        return self.now[np.maximum(partner, 0)] & (partner >= 0)[:, None]

    def by_day(self, counts: NDArray[np.integer]) -> NDArray[np.float64]:
        """(day, k) sums of (n, k) counts of images."""
        sums = np.zeros((self.n_days, counts.shape[1]))
        np.add.at(sums, self.day, counts)
        return sums

    def score(
        self,
        by: str,
        value: str,
        unit: str,
        method: str,
        counts: NDArray[np.integer],
        on: str = EVERY,
        truth: str = NOW,
    ) -> Score:
        """A score of (n, outcome) counts of images, in the order clear, false, missed, hit."""
        some = counts.sum(axis=1) > 0
        clear, false, missed, hits = (int(v) for v in counts.sum(axis=0))
        per_day = self.by_day(counts)
        return Score(
            by, value, unit, method, on, truth, int(some.sum()), len(np.unique(self.day[some])),
            Confusion(hits, false, missed, clear),
            day_interval(per_day, _f1_of), day_interval(per_day, _iou_of),
        )  # fmt: skip


def _outcomes(
    flagged: NDArray[np.bool_], true: NDArray[np.bool_], chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(n, outcome) counts of the chosen cells of each image."""
    place = 2 * true.astype(np.int64) + flagged
    return np.stack([((place == k) & chosen).sum(axis=1) for k in range(FOUR)], axis=1)


def _pixel_scores(
    book: _Book, groups: Sequence[FrameGroup], methods: Mapping[str, NDArray[np.int64]]
) -> Iterator[Score]:
    for method, counts in methods.items():
        whole = counts.sum(axis=1)
        yield book.score(ALL, ALL, PIXEL, method, whole)
        for band in range(BANDS):
            low = band * BAND_DEG
            value = f"{low} to {low + BAND_DEG} deg"
            if counts[:, band].any():
                yield book.score("elevation", value, PIXEL, method, counts[:, band])
        for group in groups:
            inside = np.where(group.rows[:, None], whole, 0)
            yield book.score(group.by, group.value, PIXEL, method, inside)


def _cell_scores(
    book: _Book,
    frames: Sequence[FrameGroup],
    places: Sequence[CellGroup],
    flags: Mapping[str, NDArray[np.bool_]],
    on_pairs: Mapping[str, NDArray[np.bool_]],
) -> Iterator[Score]:
    now, scored, paired = book.now, book.scored, book.paired
    every = [CellGroup(ALL, ALL, np.ones_like(scored))]
    every += [CellGroup(g.by, g.value, np.broadcast_to(g.rows[:, None], scored.shape))
              for g in frames]  # fmt: skip
    every += places
    for group in every:
        for method, flagged in flags.items():
            counts = _outcomes(flagged, now, group.cells & scored)
            if counts.any():
                yield book.score(group.by, group.value, CELL, method, counts)
        if not (group.cells & paired).any():
            continue
        for method, flagged in {**on_pairs, **flags}.items():
            counts = _outcomes(flagged, now, group.cells & paired)
            yield book.score(group.by, group.value, CELL, method, counts, PAIRS)
    for method, flagged in on_pairs.items():
        counts = _outcomes(flagged, now | book.before, paired)
        yield book.score(ALL, ALL, CELL, method, counts, PAIRS, EITHER)


def _occurrence(
    book: _Book,
    places: Sequence[CellGroup],
    flags: Mapping[str, NDArray[np.bool_]],
    on_pairs: Mapping[str, NDArray[np.bool_]],
) -> Iterator[Rate]:
    groups = [CellGroup(ALL, ALL, np.ones_like(book.scored))]
    groups += [group for group in places if group.by == "elevation"]
    sets = [(EVERY, book.scored, flags)]
    if on_pairs:
        sets.append((PAIRS, book.paired, {**flags, **on_pairs}))
    for on, observed, methods in sets:
        for group in groups:
            chosen = observed & group.cells
            if not chosen.any():
                continue
            for method, flagged in methods.items():
                yield _rate(book, group, method, on, chosen, flagged)


def _rate(
    book: _Book,
    group: CellGroup,
    method: str,
    on: str,
    chosen: NDArray[np.bool_],
    flagged: NDArray[np.bool_],
) -> Rate:
    n, true, found = (
        book.by_day((chosen & which).sum(axis=1)[:, None])[:, 0]
        for which in (chosen, book.now, flagged)
    )
    error, low, high = relative_error(found, true, n)
    return Rate(
        group.by, group.value, method, on, int(n.sum()), _ratio(true.sum(), n.sum()),
        _ratio(found.sum(), n.sum()), error, low, high,
    )  # fmt: skip


def _tuned_difference(measured: Measured, book: _Book) -> tuple[str, NDArray[np.bool_]]:
    """The difference's best rule on these very images, and what it flags."""
    paired = book.paired
    best: tuple[float, str, NDArray[np.bool_]] = (
        -1.0, "no images a lag apart", np.zeros(paired.shape, np.bool_),
    )  # fmt: skip
    if not paired.any():
        return best[1], best[2]
    unit = np.ones(measured.delta.shape[2:])
    now = book.now
    for statistic in ("signed", "absolute"):
        for combine in ("and", "or"):
            levels = difference_levels(measured.delta, unit, statistic, combine)
            limit, f1 = best_limit(levels[paired], now[paired])
            if f1 > best[0]:
                which = "|mean Δ|" if statistic == "signed" else "mean |Δ|"
                text = f"{which} > {limit:.2f} DN in red {combine} green"
                best = (f1, text, paired & (levels > limit))
    return best[1], best[2]


def best_limit(levels: NDArray[np.floating], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Find the limit above which flagging gives the best F1.

    Parameters
    ----------
    levels, positive : (n,) arrays, n > 0

    Returns
    -------
    limit, f1 : float
        Halfway between two levels that occur, so that rounding cannot move one across; below
        the lowest level if flagging everything is best.
    """
    order = np.argsort(-levels, kind="stable")
    ranked, hit = levels[order].astype(np.float64), np.cumsum(positive[order])
    flagged = np.arange(1, len(ranked) + 1)
    f1 = 2.0 * hit / (flagged + positive.sum())
    # Equal levels are flagged together.
    f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
    best = int(f1.argmax())
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best] - 1.0
    return float((ranked[best] + below) / 2), float(f1[best])


def _reliability(book: _Book) -> tuple[tuple[Reliable, ...], float, float]:
    """Bins of probability, the calibration error that weighs them by pixels, the Brier score."""
    wide = BINS // RELIABILITY
    middle = (np.arange(BINS) + 0.5) / BINS
    total = book.measured.histogram.sum(axis=0)
    rows, error = [], 0.0
    for first in range(0, BINS, wide):
        part = slice(first, first + wide)
        n, true = int(total[:, part].sum()), int(total[1, part].sum())
        if not n:
            continue
        mean = float((total[:, part].sum(axis=0) * middle[part]).sum() / n)
        counts = book.measured.histogram[:, :, part].sum(axis=2)
        interval = day_interval(book.by_day(counts), lambda s: _divide(s[:, 1], s.sum(axis=1)))
        low, high = first / BINS, (first + wide) / BINS
        rows.append(Reliable(low, high, n, mean, true / n, interval))
        error += abs(true / n - mean) * n
    n_all = int(total.sum())
    squared = (total[0] * middle**2 + total[1] * (1 - middle) ** 2).sum()
    return tuple(rows), _ratio(error, n_all), _ratio(float(squared), n_all)


def _curve(book: _Book) -> Curve:
    per_day = np.zeros((book.n_days, 2, BINS))
    np.add.at(per_day, book.day, book.measured.histogram)
    above = per_day[:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
    positives = per_day[:, 1].sum(axis=1)

    def f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(draw, threshold) F1 of (draw, 2 × BINS + 1) sums."""
        false, hits, n = sums[:, :BINS], sums[:, BINS:-1], sums[:, -1:]
        return _divide(2 * hits, hits + false + n)[:, 1:]

    flat = np.concatenate([above[:, 0], above[:, 1], positives[:, None]], axis=1)
    whole = f1(flat.sum(axis=0)[None])[0]
    false, hits = above.sum(axis=0)[:, 1:]
    half = BINS // 2 - 1
    best = int(np.nanargmax(whole)) if np.isfinite(whole).any() else half
    threshold = np.array(CURVE) / BINS
    true = positives.sum()

    def thresholds(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.nan_to_num(f1(sums), nan=-1.0)
        return np.where(sums[:, -1] > 0, threshold[values.argmax(axis=1)], np.nan)

    def costs(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        values = np.nan_to_num(f1(sums), nan=-1.0)
        return np.where(sums[:, -1] > 0, values.max(axis=1) - values[:, half], np.nan)

    return Curve(
        threshold=tuple(threshold.tolist()),
        pixel_f1=tuple(whole.tolist()),
        pixel_precision=tuple(_divide(hits, hits + false).tolist()),
        pixel_recall=tuple(_divide(hits, np.full(len(hits), true)).tolist()),
        cell_f1=tuple(_cell_curve(book, threshold)),
        best=float(threshold[best]),
        best_interval=day_interval(flat, thresholds),
        best_f1=float(whole[best]),
        half_f1=float(whole[half]),
        cost=float(whole[best] - whole[half]),
        cost_interval=day_interval(flat, costs),
        area_error_half=_ratio(float(hits[half] + false[half]), float(true)) - 1,
        area_error_best=_ratio(float(hits[best] + false[best]), float(true)) - 1,
    )


def _cell_curve(book: _Book, threshold: NDArray[np.float64]) -> Iterator[float]:
    scored, now = book.scored, book.now
    true = np.sort(book.measured.level[scored & now])
    clear = np.sort(book.measured.level[scored & ~now])
    for p in threshold:
        limit = math.log(p / (1 - p))
        hits = len(true) - int(np.searchsorted(true, limit))
        false = len(clear) - int(np.searchsorted(clear, limit))
        yield _ratio(2 * hits, hits + false + len(true))


def _wrong(measured: Measured, index: LabelIndex) -> Iterator[Wrong]:
    """Every image by its wrong pixels, the worst first."""
    counts = measured.network.sum(axis=1)
    n = np.maximum(counts.sum(axis=1), 1)
    wrong = (counts[:, 1] + counts[:, 2]) / n
    for row in np.argsort(-wrong, kind="stable"):
        yield Wrong(
            int(row), str(index.image[row]), f"{index.time[row].astype('datetime64[s]')}Z",
            str(index.camera[row]), float((counts[row, 2] + counts[row, 3]) / n[row]),
            float(counts[row, 1] / n[row]), float(counts[row, 2] / n[row]),
        )  # fmt: skip


def _rule_text(rule: ColourRule) -> str:
    return f"mean (R+G+B)/3 >= {rule.brightness_dn:.1f} DN and G-(R+B)/2 >= {rule.excess_dn:.1f} DN"


def _f1_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of (draw, outcome) sums; a draw of days without true aurora has none."""
    _, false, missed, hits = sums.T
    return np.where(hits + missed > 0, _divide(2 * hits, 2 * hits + false + missed), np.nan)


def _iou_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of intersection over union."""
    _, false, missed, hits = sums.T
    return np.where(hits + missed > 0, _divide(hits, hits + false + missed), np.nan)


def _divide(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part over whole, NaN where the whole is 0."""
    share = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
