"""workflows/held_out_families.py: counts by hand, and a table that any network can be put in."""

import argparse
import re

import numpy as np
import pytest
import torch

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import save_network
from reprocess.train.command import add_arguments
from reprocess.train.dataset import VALIDATION_FROM


@pytest.fixture(scope="module")
def workflow(load_workflow):
    return load_workflow("held_out_families")


def test_scores_leave_the_band_of_doubt_out(workflow):
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[0, 0, :4] = (255, 255, 128, 128)
    flagged = np.zeros((2, 8, 8), bool)
    flagged[0, 0, :5] = (True, False, True, False, True)
    flagged[1, :2] = True
    # 1 hit, 1 missed, 17 false, 16 of which are on the 64 pixels of the empty sky.
    texts = [f"{1 / 18:.3f}", "0.500", f"{2 / 20:.3f}", "25.00 %", "50 %"]
    assert workflow.scores(flagged, mask) == texts


def test_what_has_nothing_to_divide_by_is_no_number(workflow):
    nothing = np.zeros((1, 8, 8), bool)
    assert workflow.scores(nothing, np.zeros((1, 8, 8), np.uint8)) == ["–", "–", "–", "0.00 %", "–"]
    doubt = np.full((1, 8, 8), 128, np.uint8)
    assert workflow.scores(nothing, doubt) == ["–", "–", "–", "–", "0 %"]


def test_the_colour_rule_finds_what_is_bright_and_green_as_far_as_it_is_smoothed(workflow):
    image = np.full((1, 64, 64, 3), 20, np.uint8)
    image[:, :, 32:] = (40, 90, 40)
    truth = np.zeros((1, 64, 64), bool)
    truth[:, :, 32:] = True
    soft = workflow.softened(image)
    np.testing.assert_allclose(soft[0, :, 16], 20, atol=0.1)
    assert 20 < soft[0, 32, 31, 1] < soft[0, 32, 32, 1] < 90
    rule = workflow.tune_colour(soft, truth, np.ones_like(truth))
    assert (rule.flags(soft) == truth).mean() > 0.95


def test_no_scene_of_the_table_was_trained_on_or_chose_the_weights(workflow):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert workflow.FIRST["wide"] >= VALIDATION_FROM + parser.get_default("validation")


def test_every_family_and_method_has_its_row(workflow, tmp_path):
    network = build_network("fcn_resnet18")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.score_fine[3].bias[1] = -5.0
    path = tmp_path / "never.safetensors"
    save_network(path, network, "fcn_resnet18", (0.1,) * 3, (0.1,) * 3, {})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\n<!-- table -->\nafter\n")
    options = ["--weights", str(path), "--frames", "2", "--size", "64", "--out", str(page)]
    assert workflow.main(options) == 0
    text = page.read_text()
    none_right = r"– \| (0.000|–) \| (0.000|–) \| (0.00 %|–) \| (0 %|–) \|"
    for family in workflow.FAMILIES:
        assert re.search(rf"\| `{family}` \| never \| {none_right}", text)
        assert f"| `{family}` | colour and brightness |" in text
    assert text.endswith("after\n")
