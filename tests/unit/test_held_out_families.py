"""workflows/held_out_families.py: counts by hand, and a table that any network can be put in."""

import numpy as np
import pytest
import torch

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import save_network


@pytest.fixture(scope="module")
def workflow(load_workflow):
    return load_workflow("held_out_families")


def test_counts_leave_the_band_of_doubt_out(workflow):
    counts = workflow.Counts()
    mask = np.array([[255, 255, 128, 128, 0, 0]], np.uint8)
    counts.add(np.array([[True, False, True, False, True, False]]), mask)
    assert (counts.hit, counts.missed, counts.false) == (1, 1, 1)
    assert (counts.doubt_found, counts.doubt, counts.empty) == (1, 2, 0)
    assert counts.f1 == pytest.approx(0.5)
    counts.add(np.array([[True, False]]), np.zeros((1, 2), np.uint8))
    assert (counts.empty_false, counts.empty, counts.false) == (1, 2, 2)


def test_the_tuned_threshold_finds_what_is_bright_and_green(workflow):
    image = np.full((64, 64, 3), 20, np.uint8)
    image[:, 32:] = (40, 90, 40)
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:] = 255
    level, excess = workflow._colours(image)
    low, green = workflow._tuned([(image, truth)])
    found = (level >= low) & (excess >= green)
    assert (found == (truth == 255)).mean() > 0.95


def test_every_family_and_method_has_its_row(workflow, tmp_path):
    network = build_network("fcn_resnet18")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.score_fine[3].bias[1] = -5.0
    path = tmp_path / "never.safetensors"
    save_network(path, network, "fcn_resnet18", (0.1,) * 3, (0.1,) * 3, {})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{workflow.MARK}\n{workflow.MARK}\nafter\n")
    options = ["--weights", str(path), "--frames", "2", "--size", "64", "--out", str(page)]
    assert workflow.main(options) == 0
    text = page.read_text()
    for family in workflow.FAMILIES:
        assert f"| `{family}` | never | 0.000 | 0.000 | 0.000 | 0.00 % | 0 % |" in text
        assert f"| `{family}` | colour and brightness |" in text
    assert text.endswith("after\n")
