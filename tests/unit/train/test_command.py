"""`python -m reprocess.train` writes a usable file whose card tells what it is."""

import re

import pytest

from reprocess.detectors.weights import load_network
from reprocess.train.__main__ import main


def test_command_trains_scores_and_describes(tmp_path):
    out = tmp_path / "small.safetensors"
    arguments = [
        "--out", str(out), "--frames", "6", "--steps", "2", "--size", "64",
        "--validation", "4", "--test", "4", "--seed", "3", "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "small.safetensors"]
    loaded = load_network(out)
    card = loaded.card
    assert "simulated" in card["data"]
    assert card["seed"] == 3
    assert card["test"]["frames"] == 4
    assert card["steps"] == 2
    assert re.search(r"scenes 200000 to 200005", card["split"]["training"])
    # The command in the card names no folder of the machine it ran on.
    assert str(tmp_path) not in str(card)
    assert card["command"].startswith("python -m reprocess.train --out small.safetensors")


def test_going_on_from_weights_keeps_their_normalisation_and_says_so(tmp_path):
    common = ["--frames", "4", "--steps", "1", "--size", "64", "--validation", "2", "--test", "2"]
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    main(["--out", str(first), "--seed", "1", *common])
    main(["--out", str(second), "--seed", "2", "--start", str(first), *common])
    one, two = load_network(first), load_network(second)
    assert (two.mean, two.std) == (one.mean, one.std)
    assert two.card["started_from"]["sha256"] == one.digest
    assert two.card["started_from"]["seed"] == 1
    assert one.card["started_from"] is None


def test_unknown_architecture_is_refused_before_anything_is_rendered(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "x"), "--architecture", "unet"])
    assert "fcn_resnet18" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
