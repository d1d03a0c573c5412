"""What every detector promises, tested on all of them, with real geometry."""

import json
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reprocess.archive.frames import FrameBlock
from reprocess.campaign import campaign_from_mapping
from reprocess.detectors.detector import (
    DETECTORS,
    FRACTION_FULL,
    FRACTION_UNOBSERVED,
    Evidence,
    EvidenceStatus,
    load_detector,
)
from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import save_network
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry

SIZE = 64
N_FRAMES = 16
N_CONTEXT = 4
EPOCH_CHANGE = 11
MIDNIGHT = np.datetime64("2018-07-01T00:00:00", "us")


@dataclass
class Case:
    """A detector in a campaign, with a day's first frames and those before midnight."""

    label: str
    document: dict
    campaign: object
    block: FrameBlock
    context: FrameBlock

    @property
    def detector(self):
        return load_detector(self.label, self.campaign.detectors[self.label])

    def changed(self, **keys):
        """The detector with other settings."""
        settings = self.document["detectors"][self.label] | keys
        document = self.document | {"detectors": {self.label: settings}}
        campaign = campaign_from_mapping(document)
        return load_detector(self.label, campaign.detectors[self.label])

    def epochs(self):
        return self.campaign.epoch_index(self.block.acquired)


def camera_epoch(valid_from, left_px):
    return {
        "valid_from": valid_from,
        "lens": {
            "center_x_px": 60, "center_y_px": 50, "px_per_deg": 0.6,
            "north_deg": 20, "east": "left",
        },
        "image_width_px": 130,
        "image_height_px": 110,
        # The sky disk sticks out of the crop on one side: some cells are not visible.
        "crop": {"left_px": left_px, "top_px": 0, "size_px": 100},
        "noise": {"red_dn": 1.0, "green_dn": 1.5},
    }  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    network = build_network("fcn_resnet18").eval()
    save_network(path, network, "fcn_resnet18", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2), {"seed": 5})
    return str(path)


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def case(request, weights):
    settings = {
        "difference": {"kind": "difference", "k_sigma": 3.0},
        "fcn": {"kind": "fcn", "weights": weights, "threshold": 0.6},
    }
    document = {
        "name": "contract",
        "site": {
            "code": "jbs", "latitude_deg": -74.62, "longitude_deg": 164.22, "altitude_m": 30,
        },
        "camera": [
            camera_epoch("2018-01-01T00:00:00Z", 35),
            camera_epoch("2018-07-01T00:11:00Z", 40),
        ],
        "archive": {"url": "archive", "pattern": "%Y%m%d_%H%M%S.jpg"},
        "store": "store",
        "cadence_s": 60,
        "image": {"size_px": SIZE},
        "detectors": {request.param: settings[request.param]},
        "years": [2018],
    }  # fmt: skip
    campaign = campaign_from_mapping(document)
    rng = np.random.default_rng(8)
    n = N_CONTEXT + N_FRAMES
    sky = rng.integers(20, 60, (SIZE, SIZE, 3))
    image = np.clip(sky + rng.normal(0, 8, (n, SIZE, SIZE, 3)), 0, 255)
    image[12:15, 20:40, 10:50] += 60
    image[9] += 90  # the whole sky: no aurora, a change of light
    minutes = np.arange(-N_CONTEXT, N_FRAMES)
    jitter_us = rng.integers(-5_000_000, 5_000_000, n)
    acquired = (
        MIDNIGHT
        + np.timedelta64(30, "s")
        + minutes * np.timedelta64(60, "s")
        + jitter_us.astype("timedelta64[us]")
    )
    image = np.clip(image, 0, 255).astype(np.uint8)

    def cut(part, slots):
        block = FrameBlock(slots, image[part], acquired[part], campaign.epoch_index(acquired[part]))
        for array in (block.slot, block.image, block.acquired, block.epoch):
            array.flags.writeable = False
        return block

    return Case(
        label=request.param,
        document=document,
        campaign=campaign,
        block=cut(slice(N_CONTEXT, n), np.arange(N_FRAMES)),
        context=cut(slice(0, N_CONTEXT), np.arange(1440 - N_CONTEXT, 1440)),
    )


def part_of(block, start, stop):
    part = slice(max(start, 0), stop)
    return FrameBlock(block.slot[part], block.image[part], block.acquired[part], block.epoch[part])


def joined(first, second):
    return FrameBlock(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("slot", "image", "acquired", "epoch")
        )
    )


def as_bytes(evidence):
    return {
        name: array.tobytes()
        for name, array in (
            ("acquired", evidence.acquired),
            ("slot", evidence.slot),
            ("status", evidence.status),
            *evidence.values.items(),
        )
    }


@pytest.fixture(scope="module")
def evidence(case):
    return case.detector.measure(case.block, case.context, case.campaign)


def test_every_kind_has_a_case(case):
    assert case.detector.kind == case.label
    assert case.detector.label == case.label
    assert case.detector.context_s >= 0


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"detectors\.x\.kind.*difference, fcn"):
        load_detector("x", SimpleNamespace(kind="neural"))


def test_evidence_is_as_declared(case, evidence):
    variables = {v.name: v for v in case.detector.variables(case.campaign)}
    assert set(evidence.values) == set(variables)
    for name, variable in variables.items():
        values = evidence.values[name]
        assert values.dtype == variable.dtype
        assert values.shape == (N_FRAMES, *variable.shape)
        assert len(variable.dims) == len(variable.shape)
        assert variable.attrs["units"]
        assert variable.attrs["long_name"]
        json.dumps(variable.attrs)
        unseen = values[evidence.status != EvidenceStatus.OBSERVED]
        fill = np.full(unseen.shape, variable.fill, variable.dtype)
        np.testing.assert_array_equal(unseen, fill)
    assert evidence.status.dtype == np.uint8
    assert set(evidence.status) <= {int(s) for s in EvidenceStatus}
    np.testing.assert_array_equal(evidence.slot, case.block.slot)
    np.testing.assert_array_equal(evidence.acquired, case.block.acquired)
    assert (evidence.status == EvidenceStatus.OBSERVED).sum() >= 10


def test_measuring_twice_gives_the_same_bytes_and_changes_no_argument(case, evidence):
    before = [case.block.image.copy(), case.context.image.copy()]
    again = case.detector.measure(case.block, case.context, case.campaign, threads=3)
    assert as_bytes(again) == as_bytes(evidence)
    np.testing.assert_array_equal(case.block.image, before[0])
    np.testing.assert_array_equal(case.context.image, before[1])


def test_evidence_can_be_changed_without_touching_the_frames(case):
    found = case.detector.measure(case.block, case.context, case.campaign)
    assert not np.shares_memory(found.acquired, case.block.acquired)
    assert not np.shares_memory(found.slot, case.block.slot)


@pytest.mark.parametrize("cuts", [[1], [7], [15], [3, 4, 12], list(range(1, 16))])
@pytest.mark.parametrize("just_enough", [True, False])
def test_evidence_does_not_depend_on_how_a_day_is_cut(case, evidence, cuts, just_enough):
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, N_FRAMES], strict=True):
        block = part_of(case.block, start, stop)
        before = joined(case.context, part_of(case.block, 0, start))
        if just_enough:
            reach = np.timedelta64(round(case.detector.context_s * 1e6), "us")
            first = int(np.searchsorted(before.acquired, block.acquired[0] - reach))
            before = part_of(before, first, None) if first < len(before.slot) else None
        parts.append(as_bytes(case.detector.measure(block, before, case.campaign)))
    whole = as_bytes(evidence)
    assert {name: b"".join(part[name] for part in parts) for name in whole} == whole


def test_a_block_without_frames(case):
    empty = part_of(case.block, 0, 0)
    found = case.detector.measure(empty, case.context, case.campaign)
    assert len(found.status) == 0
    fraction = case.detector.fractions(found, np.empty(0, np.int64), case.campaign)
    assert fraction.shape == (0, 400)


def test_fractions_are_shares_of_observed_cells(case, evidence):
    fraction = case.detector.fractions(evidence, case.epochs(), case.campaign)
    assert fraction.dtype == np.uint8
    assert fraction.shape == (N_FRAMES, 400)
    visible = [epoch_geometry(case.campaign, e).cellmap.observed for e in case.campaign.camera]
    assert 0 < visible[0].sum() < 400
    assert (visible[0] != visible[1]).any()
    for i, epoch in enumerate(case.epochs()):
        if evidence.status[i] == EvidenceStatus.OBSERVED:
            np.testing.assert_array_equal(fraction[i] != FRACTION_UNOBSERVED, visible[epoch])
        else:
            assert (fraction[i] == FRACTION_UNOBSERVED).all()
    seen = fraction[fraction != FRACTION_UNOBSERVED]
    assert seen.max() <= FRACTION_FULL
    assert len(np.unique(seen)) > 1


def test_what_is_not_observed_is_255(case, evidence):
    for status in set(EvidenceStatus) - {EvidenceStatus.OBSERVED}:
        unseen = Evidence(
            evidence.acquired, evidence.slot, np.full(N_FRAMES, status, np.uint8), evidence.values
        )
        fraction = case.detector.fractions(unseen, case.epochs(), case.campaign)
        assert (fraction == FRACTION_UNOBSERVED).all()
    before = case.detector.fractions(evidence, np.full(N_FRAMES, -1), case.campaign)
    assert (before == FRACTION_UNOBSERVED).all()
    lost = {
        name: np.full_like(values, variable.fill)
        for (name, values), variable in zip(
            evidence.values.items(), case.detector.variables(case.campaign), strict=True
        )
    }
    nothing = Evidence(evidence.acquired, evidence.slot, evidence.status, lost)
    fraction = case.detector.fractions(nothing, case.epochs(), case.campaign)
    assert (fraction == FRACTION_UNOBSERVED).all()


def test_fractions_of_a_frame_do_not_depend_on_the_others(case, evidence):
    whole = case.detector.fractions(evidence, case.epochs(), case.campaign)
    before = {name: values.copy() for name, values in evidence.values.items()}
    rows = np.random.default_rng(0).permutation(N_FRAMES)[:9]
    some = Evidence(
        evidence.acquired[rows],
        evidence.slot[rows],
        evidence.status[rows],
        {name: values[rows] for name, values in evidence.values.items()},
    )
    found = case.detector.fractions(some, case.epochs()[rows], case.campaign)
    np.testing.assert_array_equal(found, whole[rows])
    for name, values in before.items():
        np.testing.assert_array_equal(evidence.values[name], values)


def test_thresholds_are_detection_settings_and_never_evidence_settings(case):
    thresholds = {
        "difference": [{"k_sigma": 4.0}, {"threshold_dn": 2.0}, {"combine": "or"},
                       {"statistic": "absolute"}],
        "fcn": [{"threshold": 0.7}],
    }[case.label]  # fmt: skip
    epoch = case.campaign.camera[0]
    settings = json.dumps(case.detector.evidence_settings(), sort_keys=True)
    rule = json.dumps(case.detector.detection_settings(epoch), sort_keys=True)
    for change in thresholds:
        other = case.changed(**change)
        assert json.dumps(other.evidence_settings(), sort_keys=True) == settings
        assert json.dumps(other.detection_settings(epoch), sort_keys=True) != rule
        assert other.rule() != case.detector.rule()
        assert other.detection_settings(epoch).items() >= other.rule().items()


def test_what_evidence_depends_on_is_in_its_settings(case):
    evidence_keys = {
        "difference": [{"lag_s": 60.0}, {"lag_tolerance_s": 5.0}, {"sky_shift_max_dn": 9.0}],
        "fcn": [],
    }[case.label]
    settings = case.detector.evidence_settings()
    assert settings["kind"] == case.label
    for change in evidence_keys:
        assert case.changed(**change).evidence_settings() != settings


def test_profile_is_the_same_every_time(case):
    assert case.detector.profile() == case.changed().profile()
    json.dumps(case.detector.profile())
