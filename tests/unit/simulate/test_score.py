"""The score of a sample: thresholds, truth by cell, intervals, and a store of known answer."""

import math
from datetime import date

import numpy as np
import pytest
import yaml

from reprocess import stages
from reprocess.archive.frames import FrameStatus
from reprocess.campaign import campaign_from_mapping
from reprocess.detectors.detector import EvidenceStatus
from reprocess.errors import ArchiveError, ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.scoring.cells import cell_means
from reprocess.scoring.confusion import Confusion
from reprocess.simulate.archive import sample_text
from reprocess.simulate.score import format_score, score_sample
from reprocess.simulate.score_cells import truth_cells
from reprocess.simulate.truth import FORMS_MAX, DayTruth, save_day
from reprocess.stores.days import DayWriter
from reprocess.stores.metadata import lay_out
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Record, Records, day_block

DAY = date(2021, 6, 10)
SIZE = 96


@pytest.fixture(scope="module")
def campaign():
    return campaign_from_mapping(yaml.safe_load(sample_text(tiny=True)), source="sample.yaml")


@pytest.fixture(scope="module")
def cellmap(campaign):
    return epoch_geometry(campaign, campaign.camera[0]).cellmap


def _truth(minutes, labels, *, day=DAY, damaged=(), drift=(0.0, 10.0), change=(0.0, -0.3)):
    n = len(minutes)
    per_form = np.zeros((n, FORMS_MAX), np.float32)
    drifts, changes = per_form.copy(), per_form.copy()
    drifts[:, :2], changes[:, :2] = drift, change
    zero = np.zeros(n, np.float32)
    time = np.datetime64(day, "us") + np.array(minutes) * np.timedelta64(60, "s")
    return DayTruth(
        time=time, name=np.array([f"{m}.jpg" for m in minutes]), session=np.full(n, "made"),
        damaged=np.isin(np.arange(n), damaged), label=np.stack(labels).astype(np.uint8),
        form_kind=np.ones((n, FORMS_MAX), np.uint8), form_drift_deg_per_min=drifts,
        form_change_per_min=changes, form_peak_dn=per_form, form_area=per_form,
        sun_elevation_deg=zero - 30, moon_elevation_deg=zero - 30, moon_phase=zero,
        cloud_cover=zero, gain=zero + 1,
    )  # fmt: skip


def _picture(form=0, columns=slice(None)):
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[:, columns] = form
    return label


def test_truth_takes_the_frames_way_to_the_cells(campaign, cellmap):
    left = _picture(1, slice(0, 48))
    truth = _truth([0, 1, 2, 3], [_picture(), _picture(2), left, _picture(1)], damaged=[3])
    cells = truth_cells(campaign, truth)
    assert len(cells.time) == 3
    visible = cellmap.n_pixels > 0
    assert (cells.share[0, visible] == 0).all()
    np.testing.assert_allclose(cells.share[1, visible], 1)
    share = cells.share[2, visible]
    assert 0.4 < np.average(share, weights=cellmap.n_pixels[visible]) < 0.6
    assert ((share > 0.02) & (share < 0.98)).any()
    assert set(np.unique(cells.ceiling[1, visible])) == {254}
    assert (cells.ceiling[:, ~visible] == 255).all()
    np.testing.assert_array_equal(cells.drift_deg_per_min[1, visible], 10)
    np.testing.assert_allclose(cells.change_per_min[1, visible], 0.3, rtol=1e-6)
    assert np.isnan(cells.drift_deg_per_min[0]).all()


def test_the_grid_ceiling_loses_what_is_finer_than_the_networks_grid(campaign, cellmap):
    stripes = _picture()
    stripes[:, ::6] = stripes[:, 1::6] = 1
    cells = truth_cells(campaign, _truth([0], [stripes]))
    visible = cellmap.n_pixels > 0
    assert (cells.share[0, visible] > 0.2).mean() > 0.5
    assert (cells.ceiling[0, visible] < 127).mean() > 0.9


def test_the_form_that_covers_most_of_a_cell_gives_its_drift(campaign, cellmap):
    halves = _picture(1)
    halves[:, 48:] = 2
    cells = truth_cells(campaign, _truth([0], [halves]))
    n_cells = len(cellmap.observed)
    column = np.broadcast_to(np.arange(64)[None, :, None], (64, 64, 1)).astype(np.uint8)
    where = cell_means(column, cellmap.cell, cellmap.weight, n_cells)[:, 0]
    assert (cells.drift_deg_per_min[0, where < 24] == 0).all()
    assert (cells.drift_deg_per_min[0, where > 40] == 10).all()


# --- a whole store --------------------------------------------------------------


MINUTES = [480, 481, 482, 483, 484, 485]
DAMAGED = 4


def _committed(objects, block, layout, arrays):
    lay_out(objects, layout)
    writer = DayWriter(objects, layout.path, date.fromisoformat(block.day), 1440, lambda: None)
    for variable in layout.variables:
        values = np.full((1440, *variable.shape), variable.fill, variable.dtype)
        for slot, value in arrays.get(variable.name, {}).items():
            values[slot] = value
        writer.write(variable.name, 0, values)
    Records(objects).write(Record(block, "0" * 48, writer.finish(list(arrays)), {}))


def _store(folder, campaign, truth, shift_s=0):
    """A store in which fcn is right, and difference sees nothing; damaged frames lie about both."""
    objects = open_objects(str(folder))
    cells = truth_cells(campaign, _truth(MINUTES, list(truth.label)))
    us = truth.time.astype(np.int64) + shift_s * 1_000_000
    acquired = dict(zip(MINUTES, us, strict=True))
    # A frame that the simulator knows nothing of.
    acquired[700] = int(np.datetime64(DAY, "us").astype(np.int64)) + 700 * 60_000_000
    status = dict.fromkeys(acquired, EvidenceStatus.OBSERVED)
    shares = np.floor(254 * np.nan_to_num(cells.share))
    fraction = dict(zip(MINUTES, shares, strict=True))
    fraction[MINUTES[DAMAGED]] = fraction[700] = np.full(400, 254)
    logit = {
        m: np.full((8, 8), 4.0 if label.any() else -4.0)
        for m, label in zip(MINUTES, truth.label, strict=True)
    }
    image = {m: truth.label[i].any() * 80 for i, m in enumerate(MINUTES)}
    day = DAY
    _committed(
        objects, day_block("frames", "", day), stages.frames_layout(campaign, 2021),
        {"image": image, "acquired": acquired, "status": dict.fromkeys(acquired, FrameStatus.OK)},
    )  # fmt: skip
    per_frame = {
        "mlt": dict.fromkeys(acquired, 23.5),
        # One clear frame in twilight: scored, but no part of any occurrence.
        "sun_elevation": dict.fromkeys(acquired, -30.0) | {MINUTES[3]: -12.0},
        "moon_elevation": dict.fromkeys(acquired, -30.0),
    }  # fmt: skip
    nothing = {m: np.zeros(400) for m in acquired}
    difference = status | {MINUTES[0]: EvidenceStatus.NO_PARTNER}
    for label, values, seen, evidence in (
        ("fcn", fraction, status, {"logit": logit}),
        ("difference", nothing, difference, {"delta": dict.fromkeys(acquired, 0.0)}),
    ):
        common = {"acquired": acquired, "status": seen}
        _committed(
            objects, day_block("evidence", label, day),
            stages.evidence_layout(campaign, label, 2021), {**evidence, **common},
        )  # fmt: skip
        _committed(
            objects, day_block("detections", label, day),
            stages.detections_layout(campaign, label, 2021),
            {"fraction": values, **per_frame, **common},
        )  # fmt: skip


@pytest.fixture(scope="module")
def sample(tmp_path_factory, campaign):
    folder = tmp_path_factory.mktemp("scored")
    labels = [_picture(f) for f in (1, 1, 2, 0, 0, 1)]
    truth = _truth(MINUTES, labels, damaged=[DAMAGED])
    save_day(folder / "truth", DAY, truth)
    _store(folder / "store", campaign, truth)
    return folder


def test_a_store_whose_answer_is_known(sample, campaign, cellmap):
    score = score_sample(str(sample / "store"), campaign, sample)
    n_cells = int((cellmap.n_pixels > 0).sum())
    # Of the six frames one is damaged and one has no partner; the unknown one is no sample frame.
    assert (score.n_days, score.n_frames, score.n_damaged, score.n_unobserved) == (1, 4, 1, 1)
    assert score.n_cell_frames == 4 * n_cells
    found = {(m.method, m.truth): m.confusion for m in score.methods}
    right = Confusion(hits=3 * n_cells, false=0, missed=0, clear=n_cells)
    assert found["fcn", "t"] == right
    assert found["grid ceiling", "t"] == right
    assert found["colour and brightness", "t"] == right
    assert found["difference", "t"] == Confusion(0, 0, 3 * n_cells, n_cells)
    # At 08:03 the sky is clear, two minutes earlier it was not.
    assert found["difference", "t or t - lag"] == Confusion(0, 0, 4 * n_cells, 0)


def test_recall_by_drift_at_one_false_cell_rate(sample, campaign, cellmap):
    score = score_sample(str(sample / "store"), campaign, sample)
    n_cells = int((cellmap.n_pixels > 0).sum())
    counts = {b.name: b.n for b in score.bins}
    assert counts["drift 0 to 0.2"] == counts["slow steady: the lowest of both"] == 2 * n_cells
    assert counts["drift >= 8"] == counts["change 0.1 to 1"] == n_cells
    points = {(p.method, p.truth): p for p in score.points}
    fcn, difference = points["fcn", "t"], points["difference", "t"]
    assert (fcn.overall, difference.overall) == (1.0, 0.0)
    assert max(p.false_rate for p in score.points if not math.isnan(p.false_rate)) <= score.rate_max
    slow = [b.name for b in score.bins].index("slow steady: the lowest of both")
    assert (fcn.recall[slow], difference.recall[slow]) == (1.0, 0.0)


def test_occurrence_rows_and_text(sample, campaign):
    score = score_sample(str(sample / "store"), campaign, sample)
    rows = {row.group: row for row in score.occurrence}
    assert "MLT 23 to 24 h" in rows
    assert len([g for g in rows if g.startswith("elevation")]) == 10
    everything = {e.detector: e for e in rows["all"].errors}
    assert rows["all"].n_observed == score.n_cell_frames * 3 // 4
    assert rows["all"].true_rate == 1.0
    assert (everything["fcn"].error, everything["difference"].error) == (0.0, -1.0)
    assert math.isnan(everything["fcn"].low)
    text = format_score(score)
    tables = text.split("\n\n")
    titles = [t.splitlines()[0] for t in tables if not t.startswith("  ")]
    assert len(titles) == 3
    assert all("simulated" in title for title in titles)
    assert "generous baseline" in text


def test_another_samples_store_is_refused(sample, campaign, tmp_path):
    labels = [_picture()] * 6
    _store(tmp_path / "store", campaign, _truth(MINUTES, labels), shift_s=30)
    with pytest.raises(ConfigurationError, match="no frame that every detector observed"):
        score_sample(str(tmp_path / "store"), campaign, sample)
    with pytest.raises(ConfigurationError, match="no day of the sample's truth"):
        score_sample(str(tmp_path / "nothing"), campaign, sample)
    with pytest.raises(ArchiveError, match="no truth"):
        score_sample(str(sample / "store"), campaign, tmp_path)
