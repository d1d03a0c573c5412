"""`reprocess train` as it is typed: from frames to weights with a card, stopped and resumed."""

import csv
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from reprocess.cli import main
from reprocess.detectors import networks, weights
from reprocess.detectors.weights import load_network, read_card
from reprocess.labels import LabelWriter, read_labels
from reprocess.labels.splits import split_by_count, write_split
from reprocess.train.dataset import Frames
from reprocess.train.score import evaluate

QUICK = [
    "--size", "64", "--batch", "4", "--evaluate-every", "2", "--small-share", "0.3",
    "--threads", "1", "--steps", "4",
]  # fmt: skip
SIMULATED = ["--simulated", "8", "--validation", "4", "--test", "4"]


def train(out, *arguments):
    return main(["train", str(out), *QUICK, *map(str, arguments)])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def simulated(cache):
    return [*SIMULATED, "--cache", cache]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, squares):
    """A labelled folder of 12 images, and its split."""
    folder = tmp_path_factory.mktemp("labelled")
    frames = squares(12, 64)
    with LabelWriter(folder / "set") as writer:
        for i in range(12):
            at = np.datetime64("2021-06-01T10:00:00") + np.timedelta64(i, "m")
            writer.add(frames.image[i], frames.mask[i], time=at, station="JBS", camera="colour")
    labels = read_labels(folder / "set", 64)
    write_split(split_by_count(labels.index, (8, 2, 2), 1, labels.digest), folder / "split.json")
    return folder


def test_simulated_frames_become_weights_a_card_and_a_log(tmp_path, simulated, cache):
    out = tmp_path / "small.safetensors"
    assert train(out, *simulated, "--seed", "4", "--workers", "1") == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [out.name, f"{out.name}.csv", f"{out.name}.md"]
    card = load_network(out).card
    assert card["data"]["simulated"]["frames"] == 8
    assert re.search(r"scenes 300000 to 300007", card["split"]["simulated"]["training"])
    assert card["metrics"]["simulated_test"]["frames"] == 4
    assert card["metrics"]["simulated_held-out"]["frames"] == 4
    assert "flatter" in card["metrics"]["caution"]
    assert card["licence"] == "MIT, as reprocess"
    assert (card["steps"]["done"], card["steps"]["ended"]) == (4, "steps")
    # The command makes these weights, and names no folder of the machine it ran on.
    assert card["command"] == (
        "reprocess train small.safetensors --simulated 8 --validation 4 --test 4 --size 64 "
        "--batch 4 --steps 4 --seed 4 --evaluate-every 2 --small-share 0.3 --threads 1"
    )
    assert str(tmp_path) not in str(card)
    assert str(cache) not in str(card)
    with out.with_name(out.name + ".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {"minutes", "loss", "iou", "learning_rate"} <= set(rows[0])


def test_one_command_gives_one_file_also_when_it_was_stopped_and_resumed(tmp_path, simulated):
    whole, again, parts = (tmp_path / name / "w.safetensors" for name in "abc")
    for path in (whole, again, parts):
        path.parent.mkdir()
    assert train(whole, *simulated) == 0
    assert train(again, *simulated, "--workers", "0") == 0
    assert again.read_bytes() == whole.read_bytes()
    assert train(parts, *simulated, "--minutes", "0") == 1
    assert (parts.parent / "w.safetensors.state").is_file()
    assert read_card(parts)["card"]["steps"] == {"best": 1, "done": 1, "ended": "stopped"}
    assert train(parts, *simulated, "--resume") == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert not (parts.parent / "w.safetensors.state").exists()


def test_a_stopped_training_is_not_begun_anew_by_mistake(tmp_path, simulated, capsys):
    out = tmp_path / "w.safetensors"
    assert train(out, *simulated, "--minutes", "0") == 1
    assert train(out, *simulated) == 2
    assert "add --resume to go on" in capsys.readouterr().err
    assert train(out, *simulated, "--resume", "--seed", "2") == 2
    assert "recipe.seed was 1, now 2" in capsys.readouterr().err


def test_a_termination_leaves_a_state_and_ends_as_interrupted(tmp_path, simulated):
    out = tmp_path / "w.safetensors"
    long = [*map(str, simulated), "--steps", "2000"]
    command = [sys.executable, "-m", "reprocess.cli", "train", str(out), *QUICK, *long]
    with subprocess.Popen(command) as process:
        log = tmp_path / "w.safetensors.csv"
        while not log.exists() or len(log.read_text().splitlines()) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait() == 130
    assert (tmp_path / "w.safetensors.state").is_file()
    assert not out.exists()  # nobody waits for its scores
    assert train(out, *long) == 2  # it is there to go on from
    assert train(out, *long, "--resume", "--minutes", "0") == 1


def test_labelled_frames_with_their_split(tmp_path, labelled):
    out = tmp_path / "w.safetensors"
    options = ["--data", labelled / "set", "--split", labelled / "split.json"]
    assert train(out, *options, "--licence", "CC BY 4.0") == 0
    loaded = load_network(out)
    card = loaded.card
    assert card["data"]["labelled"]["stations"] == ["JBS"]
    split = json.loads((labelled / "split.json").read_text())
    assert card["split"]["labelled"] == split
    assert card["licence"] == "CC BY 4.0"
    assert "cameras" in card["intended_use"]
    # The card's scores are those of the file, on the images that the split names.
    labels = read_labels(labelled / "set", 64)
    rows = np.isin(labels.name, split["parts"]["test"])
    score = evaluate(
        loaded.network, Frames(labels.image[rows], labels.mask[rows]), loaded.mean, loaded.std
    )
    assert card["metrics"]["test"] == score.as_card()
    assert card["metrics"]["test"]["frames"] == 2


def test_labelled_and_simulated_frames_together(tmp_path, labelled, simulated):
    out = tmp_path / "w.safetensors"
    options = ["--data", labelled / "set", "--split", labelled / "split.json", *simulated]
    assert train(out, *options, "--architecture", "fcn_resnet18") == 0
    card = read_card(out)["card"]
    assert set(card["data"]) == {"labelled", "simulated"}
    parts = {"validation", "test", "simulated_test", "simulated_held-out"}
    assert set(card["metrics"]) == {*parts, "caution"}
    assert card["metrics"]["validation"]["frames"] == 2
    assert card["licence"].startswith("not stated")


def test_a_split_of_another_set_is_refused_with_both_digests(tmp_path, labelled, capsys):
    document = json.loads((labelled / "split.json").read_text())
    document["labels"] = "f" * 64
    other = tmp_path / "split.json"
    other.write_text(json.dumps(document))
    assert train(tmp_path / "w", "--data", labelled / "set", "--split", other) == 2
    said = capsys.readouterr().err
    assert "f" * 64 in said
    assert read_labels(labelled / "set", 64).digest in said


def test_going_on_from_weights_keeps_their_normalisation_and_says_so(tmp_path, simulated):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert train(first, *simulated) == 0
    assert train(second, *simulated, "--seed", "2", "--start", first) == 0
    one, two = load_network(first), load_network(second)
    assert (two.mean, two.std) == (one.mean, one.std)
    assert two.card["started_from"]["sha256"] == one.digest
    assert two.card["started_from"]["command"] == one.card["command"]
    assert two.card["recipe"]["learning_rate"] == 3e-4
    assert "--start first.safetensors" in two.card["command"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected frames to learn from"),
        (["--data", "here"], "--data and --split: found one of them"),
        (["--simulated", "4", "--size", "100"], "size_px is 100, expected a multiple of 16"),
        (["--simulated", "4", "--precision", "float16"], "found device cpu, expected cuda"),
        (["--simulated", "4", "--start", "coco"], "no such weights of fcn_resnet18"),
        (["--simulated", "4", "--validation", "0"], "expected frames to validate with"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(tmp_path, capsys, arguments, says):
    assert train(tmp_path / "w", "--device", "cpu", *arguments) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused_before_training(tmp_path, capsys):
    assert train(tmp_path / "none" / "w", "--simulated", "4") == 2
    assert "found no folder" in capsys.readouterr().err


def test_unknown_architecture_lists_the_known_ones(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path / "x"), "--architecture", "unet"])
    assert "fcn_resnet18" in capsys.readouterr().err


def test_architectures_are_listed_alike_with_and_without_torch():
    assert tuple(sorted(networks.ARCHITECTURES)) == weights.ARCHITECTURES
