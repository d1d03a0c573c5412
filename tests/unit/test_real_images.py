"""workflows/real_images.py on drawn images; on the real ones where they lie beside the checkout."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import save_network

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def workflow(load_workflow):
    return load_workflow("real_images")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two stills under the names of a real camera's: one dark, one with a green half."""
    folder = tmp_path_factory.mktemp("images") / "trex_rgb_gill"
    folder.mkdir()
    dark = np.full((480, 553, 3), 20, np.uint8)
    green = dark.copy()
    green[:, :268] = (20, 120, 20)
    cv2.imwrite(str(folder / "20200508_060500_a.png"), dark)
    cv2.imwrite(str(folder / "20211030_060500_a.png"), green)
    return folder.parent


@pytest.fixture(scope="module")
def always(tmp_path_factory):
    """A network that calls everything aurora."""
    network = build_network("fcn_resnet18")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.score_fine[3].bias[1] = 5.0
    path = tmp_path_factory.mktemp("weights") / "always.safetensors"
    save_network(path, network, "fcn_resnet18", (0.1,) * 3, (0.1,) * 3, {"steps": 1})
    return path


def test_table_tells_shares_of_cells_and_of_what_is_plainly_green(workflow, images, always, capsys):
    assert workflow.main([str(images), "--weights", str(always)]) == 0
    table = capsys.readouterr().out
    assert "| TREx RGB, Gillam | `20200508_060500_a.png` | 100.0 % |" in table
    row = next(line for line in table.splitlines() if "20211030" in line)
    found, _, green = row.partition("(")[2].partition(")")[0].partition(" of ")
    # The left half is green: about half of the 400 cells.
    assert found == green
    assert 170 < int(green) < 230


def test_only_the_table_of_the_page_is_replaced(workflow, images, always, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- table -->\nafter\n")
    sheet = tmp_path / "sheet.png"
    arguments = [
        str(images), "--weights", str(always), "--out", str(page), "--sheet", str(sheet),
    ]  # fmt: skip
    assert workflow.main(arguments) == 0
    first = page.read_text()
    assert first.startswith("before\n")
    assert first.endswith("after\n")
    assert "old" not in first
    assert cv2.imread(str(sheet)).shape == (256, 6 * 256, 3)
    assert workflow.main(arguments) == 0
    assert page.read_text() == first


def test_a_folder_without_any_of_the_cameras_is_refused(workflow, tmp_path, capsys):
    with pytest.raises(SystemExit):
        workflow.main([str(tmp_path)])
    assert "nipr_lyr_2014" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real images at {DATA}")
def test_the_shipped_network_finds_the_plain_aurora_of_the_trex_frame(workflow):
    (camera,) = [c for c in workflow.CAMERAS if c.folder == "trex_rgb_gill"]
    seen = list(workflow.look(DATA, camera, [workflow.SHIPPED], 0.5))
    (aurora,) = [s for s in seen if s.aurora]
    assert aurora.green > 20
    assert aurora.green_found[0] > 0.9 * aurora.green
