"""What is measured on labelled images, and what is made of it, against sums done by hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from reprocess.cube.count import fraction_min
from reprocess.evaluate.measure import (
    BINS,
    Measured,
    colour_pixels,
    measure,
    probability,
)
from reprocess.evaluate.results import Score, Tables
from reprocess.evaluate.sky import BANDS, INVISIBLE, Views, judged_cells
from reprocess.evaluate.tables import best_limit, make_tables
from reprocess.evaluate.text import find
from reprocess.labels import AURORA, UNJUDGED, LabelledSet, LabelWriter, read_labels
from reprocess.scoring.levels import best_thresholds

SIZE = 128
LIMIT = fraction_min(0.5)


def sky(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(20, 30, (SIZE, SIZE, 3), dtype=np.uint8)


def write(folder: Path) -> LabelledSet:
    """Three days: a patch that stays, one that moves, an empty sky; green, over a grey sky."""
    with LabelWriter(folder, ("family", "moon_elevation_deg")) as writer:
        for day in range(3):
            for minute in range(0, 6, 2):
                image, mask = sky(10 * day + minute), np.zeros((SIZE, SIZE), np.uint8)
                if day < 2:
                    left = 40 + 16 * day * minute // 2
                    mask[48:80, left : left + 32] = AURORA
                    mask[80:84, left : left + 32] = UNJUDGED
                    image[mask == AURORA] += np.array([20, 60, 20], np.uint8)
                writer.add(
                    image, mask, time=datetime(2021, 6, 1 + day, 10, minute), station="s",
                    camera="c", conditions={"family": "made", "moon_elevation_deg": 5.0 * day},
                )  # fmt: skip
    return read_labels(folder, SIZE)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    return write(tmp_path_factory.mktemp("set") / "labels")


def block_logits(labels: LabelledSet, scale: float = 4.0) -> np.ndarray:
    """What a network would say that knows the labels on its own grid."""
    share = (labels.mask == AURORA).reshape(len(labels), SIZE // 8, 8, SIZE // 8, 8)
    return (scale * (2 * share.mean(axis=(2, 4)) - 1)).astype(np.float16)


def measured_with(labels: LabelledSet, logits: np.ndarray) -> tuple[Measured, Views]:
    views = Views(labels.cameras, SIZE, None)
    left = iter(range(0, len(labels), 16))

    def answer(images: np.ndarray) -> np.ndarray:
        start = next(left)
        return logits[start : start + len(images)]

    return measure(
        labels, answer, views, LIMIT, lag_s=120, lag_tolerance_s=15, sky_shift_max_dn=20
    ), views  # fmt: skip


def tables_with(labels: LabelledSet, logits: np.ndarray) -> tuple[Tables, Measured]:
    measured, views = measured_with(labels, logits)
    rule = best_thresholds(measured.colours)
    counts, doubt = colour_pixels(labels, measured.bands, rule)
    made = make_tables(measured, labels.index, views.cells, LIMIT, (rule, counts, doubt))
    return made, measured


def score(tables: Tables, *keys: str, **more: str) -> Score:
    found = find(tables, *keys, **more)
    assert found is not None
    return found


def test_pixels_are_counted_by_truth_and_probability(labels: LabelledSet) -> None:
    logits = block_logits(labels)
    measured, views = measured_with(labels, logits)
    band = views.of("c").band
    shown = band != INVISIBLE
    for row in range(len(labels)):
        p = probability(logits[row], SIZE)
        mask = labels.mask[row]
        judged = shown & (mask != UNJUDGED)
        truth, flagged = mask == AURORA, p >= 0.5
        assert measured.histogram[row].sum() == judged.sum()
        assert measured.histogram[row, 1].sum() == (judged & truth).sum()
        assert measured.histogram[row, 1, BINS // 2 :].sum() == (judged & truth & flagged).sum()
        by_outcome = measured.network[row].sum(axis=0)
        assert by_outcome[3] == (judged & truth & flagged).sum()
        assert by_outcome[1] == (judged & ~truth & flagged).sum()
        assert measured.doubt[row].tolist() == [
            (shown & (mask == UNJUDGED)).sum(),
            (shown & (mask == UNJUDGED) & flagged).sum(),
        ]
    assert measured.network.shape == (9, BANDS, 4)


def test_pixels_are_counted_by_truth_brightness_and_excess(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    image[60, 60:63] = ((0, 0, 0), (255, 0, 255), (0, 255, 0))
    with LabelWriter(tmp_path / "set") as writer:
        writer.add(
            image, np.zeros((SIZE, SIZE), np.uint8), time=datetime(2021, 6, 1), station="s",
            camera="c",
        )  # fmt: skip
    measured, views = measured_with(read_labels(tmp_path / "set", SIZE), np.zeros((1, 16, 16)))
    shown = image[views.of("c").band != INVISIBLE].astype(int)
    by_hand = np.zeros_like(measured.colours)
    for red, green, blue in shown:
        by_hand[0, red + green + blue, 2 * green - red - blue + 510] += 1
    np.testing.assert_array_equal(measured.colours, by_hand)


def test_bands_are_elevations_of_the_assumed_fisheye(labels: LabelledSet) -> None:
    band = Views(labels.cameras, SIZE, None).of("c").band
    y, x = np.indices(band.shape)
    zenith = np.hypot(x - 63.5, y - 63.5) * 90 / 64
    assert (band[zenith > 90] == INVISIBLE).all()
    inside = zenith < 90
    np.testing.assert_array_equal(band[inside], ((90 - zenith[inside]) // 10).astype(int))


def test_unjudged_pixels_count_for_nobody(labels: LabelledSet) -> None:
    cellmap = Views(labels.cameras, SIZE, None).of("c").cellmap
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, : SIZE // 2] = UNJUDGED
    left, scored = judged_cells(cellmap, mask)
    assert not (left.cell[:, : SIZE // 2] >= 0).any()
    gone = np.bincount(cellmap.cell[(cellmap.cell >= 0) & (mask > 0)], minlength=400)
    assert not scored[gone == cellmap.n_pixels].any()
    assert scored[(gone == 0) & cellmap.observed].all()


def test_a_network_that_knows_the_labels_is_right_everywhere(labels: LabelledSet) -> None:
    tables, _ = tables_with(labels, block_logits(labels))
    cell, pixel = score(tables, "cell", "network"), score(tables, "pixel", "network")
    assert cell.confusion.f1 > 0.98
    assert pixel.confusion.f1 > 0.95
    assert (pixel.images, pixel.days) == (9, 3)
    empty = score(tables, "pixel", "network", by="image", value="without aurora")
    assert (empty.images, empty.confusion.hits, empty.confusion.missed) == (3, 0, 0)
    assert tables.occurrence[0].error == pytest.approx(0, abs=0.03)
    wrong = score(tables_with(labels, -block_logits(labels))[0], "cell", "network")
    assert wrong.confusion.recall < 0.05
    assert wrong.f1[1] < 0.05


def test_the_colour_rule_is_the_best_of_its_kind(labels: LabelledSet) -> None:
    tables, measured = tables_with(labels, block_logits(labels))
    assert score(tables, "pixel", "colour and brightness").confusion.f1 == 1.0
    assert score(tables, "cell", "colour and brightness").confusion.f1 > 0.97
    rng = np.random.default_rng(3)
    small = np.zeros_like(measured.colours)
    small[:, 100:120, 500:515] = rng.integers(0, 50, (2, 20, 15))
    brightness, excess = best_thresholds(small)

    def f1(b: int, e: int) -> float:
        false, hits = small[0, b:, e:].sum(), small[1, b:, e:].sum()
        return float(2 * hits / (hits + false + small[1].sum()))

    every = [f1(b, e) for b in range(100, 120) for e in range(500, 515)]
    assert f1(brightness, excess) == max(every)


def test_the_difference_sees_what_moves_and_not_what_stays(labels: LabelledSet) -> None:
    tables, measured = tables_with(labels, block_logits(labels))
    assert tables.n_pairs == 6
    assert measured.partner.tolist() == [-1, 0, 1, -1, 3, 4, -1, 6, 7]
    still = score(tables, "cell", "difference, tuned", by="motion", value="stationary", on="pairs")
    moving = score(
        tables, "cell", "difference, tuned", by="motion", value="moving or changing", on="pairs"
    )
    # A few cells that the moving patch only grazes change by less than a tenth, too.
    assert still.confusion.recall < 0.2
    assert moving.confusion.recall > 0.8
    assert still.confusion.false == still.confusion.clear == 0
    # Cells that the patch has left flag too: right only against t or t - lag.
    now = score(tables, "cell", "difference, tuned", on="pairs")
    either = score(tables, "cell", "difference, tuned", on="pairs", truth="t or t - lag")
    assert either.confusion.precision > now.confusion.precision + 0.2
    # All methods on the same images.
    same = score(tables, "cell", "network", on="pairs").confusion
    n = [sum(vars(c).values()) for c in (same, now.confusion, either.confusion)]
    assert n[0] == n[1] == n[2]


def test_a_calibrated_network_lies_on_the_diagonal(labels: LabelledSet) -> None:
    """Logits of one value over an image whose share of aurora is its probability."""
    shown = Views(labels.cameras, SIZE, None).of("c").band != INVISIBLE
    truth = [(shown & (m == AURORA)).sum() / (shown & (m != UNJUDGED)).sum() for m in labels.mask]
    p = np.maximum(np.array(truth), 1e-4)
    logits = np.log(p / (1 - p)).astype(np.float16)
    tables, _ = tables_with(
        labels, np.broadcast_to(logits[:, None, None], (9, SIZE // 8, SIZE // 8))
    )
    assert tables.calibration_error < 0.005
    assert all(r.low <= r.mean <= r.high for r in tables.reliability)
    sure, _ = tables_with(labels, np.full((9, SIZE // 8, SIZE // 8), 9, np.float16))
    share = float(np.mean(truth))
    assert sure.calibration_error == pytest.approx(1 - share, abs=0.01)
    assert sure.brier == pytest.approx(1 - share, abs=0.01)


def test_the_curve_holds_the_score_at_half_and_the_best_there_is(labels: LabelledSet) -> None:
    # Wider than the labels at 0.5: a higher threshold is better, and the curve must find it.
    tables, measured = tables_with(labels, block_logits(labels) + np.float16(3))
    curve = tables.curve
    at_half = score(tables, "pixel", "network").confusion.f1
    assert curve.half_f1 == pytest.approx(at_half, abs=1e-12)
    assert curve.pixel_f1[99] == pytest.approx(at_half, abs=1e-12)
    assert curve.threshold[99] == 0.5
    assert curve.best > 0.7
    assert curve.best_f1 == max(curve.pixel_f1)
    assert curve.cost == pytest.approx(curve.best_f1 - at_half)
    assert curve.cost > 0.1
    assert curve.cell_f1[99] == pytest.approx(score(tables, "cell", "network").confusion.f1)
    assert curve.area_error_half > 0.2
    assert np.isfinite(measured.level[measured.scored]).all()


def test_the_best_limit_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 30, 400).astype(np.float32)
    positive = rng.random(400) < levels / 40
    limit, f1 = best_limit(levels, positive)

    def at(cut: float) -> float:
        flagged = levels > cut
        return float(2 * (flagged & positive).sum() / (flagged.sum() + positive.sum()))

    assert at(limit) == pytest.approx(f1)
    assert f1 == pytest.approx(max(at(cut) for cut in np.arange(-1, 31, 0.5)))
    assert best_limit(np.array([2.0, 1.0]), np.array([True, True]))[0] < 1.0


def test_groups_follow_the_sets_columns(labels: LabelledSet) -> None:
    tables, _ = tables_with(labels, block_logits(labels))
    groups = {(s.by, s.value) for s in tables.scores}
    assert ("moon_elevation_deg", "0 to 10 deg") in groups
    assert ("moon_elevation_deg", "from 10 deg") in groups
    assert not any(by == "family" for by, _ in groups), "one value is no group"
    high = score(tables, "pixel", "network", by="moon_elevation_deg", value="from 10 deg")
    assert (high.images, high.days) == (3, 1)
    assert all(np.isnan(high.f1)), "one day has no interval"
    whole = score(tables, "cell", "network")
    network = [s for s in tables.scores if (s.unit, s.method, s.on) == ("cell", "network", "all")]
    rings = [s for s in network if s.by == "elevation"]
    for key in ("hits", "false", "missed", "clear"):
        assert sum(getattr(s.confusion, key) for s in rings) == getattr(whole.confusion, key)


def test_partners_are_of_one_camera(tmp_path: Path) -> None:
    with LabelWriter(tmp_path / "set") as writer:
        for i, camera in enumerate(["a", "b", "a", "b"]):
            writer.add(
                sky(i)[:64, :64], np.zeros((64, 64), np.uint8),
                time=datetime(2021, 6, 1) + timedelta(seconds=60 * i), station="s", camera=camera,
            )  # fmt: skip
    measured, _ = measured_with(read_labels(tmp_path / "set", SIZE), np.zeros((4, 16, 16)))
    assert measured.partner.tolist() == [-1, -1, 0, 1]
