"""The page that tells what a weights file is."""

import hashlib
import subprocess
import sys

import pytest
import torch

from reprocess.cli import main
from reprocess.detectors.card import card_text
from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import read_card, save_network

CARD = {
    "data": {"labelled": {"images": 1502, "stations": ["JBS"]}},
    "split": {"labelled": {"parts": {"training": [f"{i}.png" for i in range(40)]}}},
    "metrics": {"test": {"iou": 0.75, "precision": None}},
    "licence": "CC BY 4.0",
    "command": "reprocess train w.safetensors --data set --split split.json",
    "history": [{"step": 200, "iou": 0.5}, {"step": 400, "iou": 0.75}],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("card") / "w.safetensors"
    torch.manual_seed(5)
    save_network(target, build_network("fcn_resnet18"), "fcn_resnet18", [0.1] * 3, [0.2] * 3, CARD)
    return target


@pytest.mark.parametrize(
    "line",
    [
        "| architecture | fcn_resnet18 |",
        "| classes | background, aurora |",
        "| normalisation | (image / 255 - mean) / std |",
        "| mean of R, G, B | 0.1, 0.1, 0.1 |",
        "  - images: 1502",
        "  - stations: JBS",
        "    - training: 40 of them",
        "  - iou: 0.75",
        "  - precision: none",
        "CC BY 4.0",
        "    reprocess train w.safetensors --data set --split split.json",
        "| 400 | 0.75 |",
    ],
)
def test_everything_that_is_known_is_on_the_page(path, line):
    assert line in card_text(path).splitlines()


def test_the_page_names_the_file_by_its_digests(path):
    text = card_text(path)
    assert f"| SHA-256 of the file | {hashlib.sha256(path.read_bytes()).hexdigest()} |" in text
    assert f"| SHA-256 of the tensors | {read_card(path)['tensors_sha256']} |" in text


def test_the_verb_prints_it_without_torch(path):
    code = (
        "import sys\nfrom reprocess.cli import main\n"
        f"code = main(['card', {str(path)!r}])\n"
        "assert 'torch' not in sys.modules\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == card_text(path)


def test_the_shipped_weights_have_one(capsys):
    assert main(["card", "package:fcn_resnet18_sim.safetensors"]) == 0
    assert "# fcn_resnet18_sim.safetensors" in capsys.readouterr().out


def test_another_file_is_refused(tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes(b"nothing of the kind")
    assert main(["card", str(tmp_path / "w.safetensors")]) == 2
    assert "not a safetensors file" in capsys.readouterr().err
