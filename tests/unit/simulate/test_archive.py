"""The sample archive: the same bytes each time, its disorder counted, its campaign valid."""

import hashlib
import json
from collections import Counter
from datetime import date

import numpy as np
import pytest

from reprocess.archive.catalogue import scan
from reprocess.campaign import load_campaign
from reprocess.simulate.archive import sample_text, write_sample
from reprocess.simulate.aurora import DEG_PER_MIN_OVERHEAD
from reprocess.simulate.families import TEST
from reprocess.simulate.schedule import NIGHTS, SEED, session_forms
from reprocess.simulate.truth import load_truth


def _digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_sample(folder, tiny=True, processes=1)
    return folder


def test_the_same_bytes_each_time_and_on_any_number_of_processes(tiny, tmp_path):
    write_sample(tmp_path, tiny=True, processes=2)
    assert _digests(tmp_path) == _digests(tiny)


def test_fewer_days_are_the_same_days(tiny, tmp_path):
    write_sample(tmp_path, tiny=True, days=1, processes=1)
    some, everything = _digests(tmp_path / "archive"), _digests(tiny / "archive")
    assert some.items() < everything.items()


def test_the_catalogue_sees_the_files_and_ignores_the_strangers(tiny):
    campaign = load_campaign(tiny / "sample.yaml")
    catalogue = scan(campaign.archive, campaign.years)
    manifest = json.loads((tiny / "truth" / "manifest.json").read_text())
    for day, counts in manifest.items():
        entries = catalogue.days[date.fromisoformat(day)]
        assert len(entries) == counts["frames"] + counts["copies"]
    assert len(catalogue.ignored) == sum(c["strangers"] for c in manifest.values())


def test_truth_has_one_row_for_each_simulated_frame(tiny):
    truth = load_truth(tiny)
    assert len(truth) == 2
    for day, rows in truth.items():
        assert set(np.asarray(rows.time, "datetime64[D]").tolist()) == {day}
        assert rows.label.shape == (len(rows), 96, 96)
        assert rows.mask.any()
        assert 0 < rows.damaged.sum() < len(rows)
        for name in rows.name:
            assert (tiny / "archive" / str(name)).is_file()
        steps = np.diff(rows.time) / np.timedelta64(60, "s")
        assert (steps == steps.astype(int)).all()


def test_copies_have_the_content_of_another_file(tiny):
    repeated = Counter(
        hashlib.sha256(p.read_bytes()).hexdigest() for p in (tiny / "archive").rglob("jbs_*.jpg")
    )
    manifest = json.loads((tiny / "truth" / "manifest.json").read_text())
    assert sum(n - 1 for n in repeated.values()) >= sum(c["copies"] for c in manifest.values())


def test_campaign_of_the_sample_is_valid_and_of_the_test_family(tmp_path):
    for is_tiny in (False, True):
        path = tmp_path / "sample.yaml"
        path.write_text(sample_text(tiny=is_tiny), encoding="utf-8")
        campaign = load_campaign(path)
        assert campaign.site.latitude_deg == -74.62
        for epoch in campaign.camera:
            low, high = TEST.disk_fill[0]
            assert low <= epoch.lens.px_per_deg * 180 / epoch.image_width_px <= high
            radius = 90 * epoch.lens.px_per_deg
            left, top = epoch.crop.left_px - 0.5, epoch.crop.top_px - 0.5
            assert left <= epoch.lens.center_x_px - radius
            assert epoch.lens.center_x_px + radius <= left + epoch.crop.size_px
            assert top <= epoch.lens.center_y_px - radius
            assert epoch.lens.center_y_px + radius <= top + epoch.crop.size_px


def test_schedule_has_steady_arcs_quiet_nights_and_two_years():
    assert {night.day.year for night in NIGHTS} == {2021, 2022}
    situations = Counter(s.situation for night in NIGHTS for s in night.sessions)
    assert situations["steady_arc"] + situations["steady_horizon_arc"] >= 6
    assert sum(all(s.situation == "quiet" for s in n.sessions) for n in NIGHTS) >= 2
    assert sum(s.minutes for n in NIGHTS for s in n.sessions) <= 900
    hours = {s.start_min // 60 for n in NIGHTS for s in n.sessions}
    assert len(hours) >= 10


def test_steady_arcs_stand_still_and_fast_ones_do_not():
    for number in range(20):
        for form in session_forms("steady_arc", SEED + number):
            assert abs(form.drift_km_s) * DEG_PER_MIN_OVERHEAD < 0.05
            assert form.swing * 2 * np.pi / form.period_s * 60 < 0.01
        for form in session_forms("fast_arc", SEED + number):
            assert 8 <= abs(form.drift_km_s) * DEG_PER_MIN_OVERHEAD <= 21
    assert session_forms("quiet", SEED) == ()
    with pytest.raises(ValueError, match="unknown situation"):
        session_forms("storm", SEED)
