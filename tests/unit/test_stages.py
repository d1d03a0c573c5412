from datetime import date

import numpy as np
import pytest
import torch

from reprocess import stages
from reprocess.campaign import campaign_from_mapping
from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import save_network
from reprocess.stores.metadata import lay_out
from reprocess.stores.objects import MemoryObjects
from reprocess.stores.records import HALF

DAY = date(2020, 6, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    network = build_network("fcn_resnet18").eval()
    save_network(path, network, "fcn_resnet18", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2), {"seed": 5})
    return str(path)


def fingerprints(campaign, day=DAY, label="diff"):
    frames = stages.frames_fingerprint(campaign, day, "inputs")
    evidence = stages.evidence_fingerprint(campaign, label, day, frames, "tail")
    return frames, evidence, stages.detections_fingerprint(campaign, label, day, evidence)


def stale(campaign, other, **where):
    """Stages whose own settings differ between two campaigns."""
    pairs = zip(
        ("frames", "evidence", "detections"),
        fingerprints(campaign, **where),
        fingerprints(other, **where),
        strict=True,
    )
    return {stage for stage, one, two in pairs if one[HALF:] != two[HALF:]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "other"}, set()),
        ({"store": "s3://elsewhere"}, set()),
        ({"archive__url": "/moved"}, set()),
        ({"archive__pattern": "other_%Y%m%d%H%M.jpg"}, set()),
        ({"years": [2019]}, set()),
        ({"cube": {"mlt_bins": 48, "sun_elevation_max_deg": -18}}, set()),
        ({"cube": {"mlt": "cell", "mlt_elevation_min_deg": 20}}, set()),
        ({"detectors__fast__lag_s": 30.0}, set()),
        ({"process__sun_elevation_max_deg": -12.0}, {"frames"}),
        ({"phase_s": 30}, {"frames"}),
        ({"camera__0__crop__left_px": 6}, {"frames", "evidence", "detections"}),
        ({"camera__0__lens__north_deg": 21}, {"evidence", "detections"}),
        ({"cells": {"azimuth": "geographic"}}, {"evidence", "detections"}),
        ({"cells": {"layout": "beckers", "n": 300}}, {"evidence", "detections"}),
        ({"cells": {"pixels_min": 5}}, {"evidence", "detections"}),
        ({"camera__0__horizon": [[0, 15], [90, 5]]}, {"evidence", "detections"}),
        ({"camera__0__hide": [[[0, 0], [20, 20]]]}, {"evidence", "detections"}),
        ({"detectors__diff__lag_s": 90.0}, {"evidence"}),
        ({"detectors__diff__sky_shift_max_dn": 10.0}, {"evidence"}),
        ({"detectors__diff__threshold_dn": 6.0}, {"detections"}),
        ({"detectors__diff__combine": "or"}, {"detections"}),
        ({"detectors__diff__statistic": "absolute"}, {"detections"}),
    ],
)
def test_a_setting_reaches_the_stages_that_it_decides(small_campaign, changes, expected):
    assert stale(small_campaign(), small_campaign(**changes)) == expected


def test_a_fingerprint_contains_its_parents(small_campaign):
    campaign = small_campaign()
    one, two = (stages.frames_fingerprint(campaign, DAY, i) for i in ("a", "b"))
    assert one[:HALF] != two[:HALF]
    assert one[HALF:] == two[HALF:]
    evidence = [stages.evidence_fingerprint(campaign, "diff", DAY, f, "t") for f in (one, two)]
    assert evidence[0][:HALF] != evidence[1][:HALF]
    other_tail = stages.evidence_fingerprint(campaign, "diff", DAY, one, "u")
    assert other_tail[:HALF] != evidence[0][:HALF]
    detections = {stages.detections_fingerprint(campaign, "diff", DAY, e) for e in evidence}
    assert len(detections) == 2


def test_another_ephemeris_reaches_what_holds_elevations(small_campaign, monkeypatch):
    before = fingerprints(small_campaign())
    monkeypatch.setattr(stages, "EPHEMERIS", "another")
    stages._detections_settings_of.cache_clear()
    after = fingerprints(small_campaign())
    stages._detections_settings_of.cache_clear()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_the_settings_half_of_evidence_is_known_without_a_frame(small_campaign):
    campaign = small_campaign()
    _, evidence, _ = fingerprints(campaign)
    assert stages.evidence_settings_half(campaign, "diff", DAY) == evidence[HALF:]


def test_a_network_sees_no_geometry_and_no_yesterday(campaign_document, weights):
    def make(**changes):
        document = campaign_document(**changes)
        document["detectors"]["fcn"] = {"kind": "fcn", "weights": weights}
        return campaign_from_mapping(document)

    campaign = make()
    assert stages.context_s(campaign, "fcn") == 0.0
    assert stages.context_s(campaign, "diff") == 135 + 2 * 3600
    moved = make(camera__0__lens__north_deg=21)
    assert stale(campaign, moved, label="fcn") == {"detections"}
    layout = stages.evidence_layout(campaign, "fcn", 2020)
    assert "cell_zenith_deg" not in {c.name for c in layout.coordinates}
    assert layout.path == "evidence/fcn/2020.zarr"


@pytest.fixture
def moved_camera(campaign_document):
    document = campaign_document()
    second = {**document["camera"][0], "valid_from": "2020-06-02T12:00:00Z"}
    second["lens"] = {**second["lens"], "north_deg": 30}
    document["camera"].append(second)
    return campaign_from_mapping(document)


def test_epochs_of_a_day_and_of_a_year(moved_camera):
    assert stages.epochs_on(moved_camera, date(2018, 2, 28)) == ()
    assert stages.epochs_on(moved_camera, date(2018, 3, 1)) == (0,)
    assert stages.epochs_on(moved_camera, date(2020, 6, 1)) == (0,)
    assert stages.epochs_on(moved_camera, date(2020, 6, 2)) == (0, 1)
    assert stages.epochs_on(moved_camera, date(2020, 6, 3)) == (1,)
    assert stages.epochs_in(moved_camera, 2018) == (0,)
    assert stages.epochs_in(moved_camera, 2020) == (0, 1)
    assert stages.epochs_in(moved_camera, 2021) == (1,)
    assert stages.first_year(moved_camera) == 2018


def test_a_later_epoch_changes_nothing_before_it(small_campaign, moved_camera):
    before = small_campaign()
    assert stale(before, moved_camera, day=date(2020, 6, 1)) == set()
    assert stale(before, moved_camera, day=date(2020, 6, 2)) == {
        "frames", "evidence", "detections",
    }  # fmt: skip
    assert stale(before, moved_camera, day=date(2020, 6, 3)) == {"evidence", "detections"}


def test_the_instant_of_a_change_counts_on_its_day_only(moved_camera):
    later = moved_camera.model_copy(
        update={
            "camera": (
                moved_camera.camera[0],
                moved_camera.camera[1].model_copy(
                    update={"valid_from": moved_camera.camera[1].valid_from.replace(hour=13)}
                ),
            )
        }
    )
    later = campaign_from_mapping(later.model_dump())
    assert stale(moved_camera, later, day=date(2020, 6, 2)) >= {"frames"}
    assert stale(moved_camera, later, day=date(2020, 6, 3)) == set()


def test_the_cubes_fingerprint_is_of_its_days_and_settings(small_campaign):
    campaign = small_campaign()
    days = {"2020-06-01": {"diff": "a", "fast": "b"}}
    one = stages.cube_fingerprint(campaign, days)
    assert one == stages.cube_fingerprint(campaign, {"2020-06-01": {"fast": "b", "diff": "a"}})
    assert one[:HALF] != stages.cube_fingerprint(campaign, {"2020-06-01": {"diff": "a"}})[:HALF]
    for changes in ({"cube": {"mlt_bins": 48}}, {"cube": {"compare": ["diff"]}}, {"name": "x"}):
        other = stages.cube_fingerprint(small_campaign(**changes), days)
        assert other[:HALF] == one[:HALF]
        assert other[HALF:] != one[HALF:]


def layouts(campaign, year=2020):
    return [
        stages.frames_layout(campaign, year),
        stages.evidence_layout(campaign, "diff", year),
        stages.detections_layout(campaign, "diff", year),
    ]


def test_every_layout_is_laid_out_and_says_whose_it_is(small_campaign):
    campaign = small_campaign(simulated=True)
    objects = MemoryObjects()
    for layout in layouts(campaign):
        lay_out(objects, layout)
        assert f"{layout.path}/zarr.json" in objects.data
        assert {"acquired", "status"} <= {v.name for v in layout.variables}
        assert layout.attributes["simulated"] == "true"
        sky = "cell_zenith_deg" in {c.name for c in layout.coordinates}
        assert ("azimuth_reference" in layout.attributes) == (
            sky and layout.path.startswith("detections")
        )
        assert layout.attributes["site"] == "TST"


def test_variables_are_those_that_are_committed(small_campaign):
    campaign = small_campaign()
    frames, _, detections = layouts(campaign)
    assert {v.name for v in frames.variables} == set(stages.frames_variables(campaign))
    assert {v.name for v in detections.variables} == set(stages.DETECTIONS_VARIABLES)
    fraction = detections.variables[0]
    assert (fraction.name, fraction.shape, fraction.fill) == ("fraction", (400,), 255)


def test_a_year_with_a_change_tells_the_pixels_of_both_epochs(moved_camera):
    def named(year):
        return {c.name: c.values for c in stages.cell_coordinates(moved_camera, year)}

    assert named(2020)["epoch"].tolist() == ["20180301T000000Z", "20200602T120000Z"]
    assert named(2020)["cell_n_pixels"].shape == (2, 400)
    assert named(2021)["cell_n_pixels"].shape == (1, 400)
    assert "epoch" not in named(None)
    bounds = named(None)["cell_zenith_bounds"]
    assert np.all(bounds[:, 0] < bounds[:, 1])


def test_paths_of_the_stages():
    assert stages.frames_path(2020) == "frames/2020.zarr"
    assert stages.evidence_path("diff", 2020) == "evidence/diff/2020.zarr"
    assert stages.detections_path("diff", 2020) == "detections/diff/2020.zarr"
