"""`reprocess evaluate` from the command line: files, cautions, splits, campaigns, refusals."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from reprocess.cli import main
from reprocess.evaluate.evaluate import FLATTERS
from reprocess.labels import read_index, set_digest
from reprocess.labels.splits import read_split, split_by_group, write_split
from reprocess.simulate.archive import write_sample
from reprocess.simulate.sample_labels import label_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("evaluated")
    write_sample(root / "sample", tiny=True, processes=1)
    label_sample(root / "sample", root / "labels")
    return root


@pytest.fixture(scope="module")
def evaluated(sample: Path, tiny_weights: Path) -> Path:
    code = main(
        ["evaluate", str(tiny_weights), "--data", str(sample / "labels"), "--size", "64",
         "--campaign", str(sample / "sample/sample.yaml"), "--out", str(sample / "out"),
         "--worst", "1"]
    )  # fmt: skip
    assert code == 0
    return sample / "out"


def test_a_sample_becomes_a_labelled_set(sample: Path) -> None:
    index = read_index(sample / "labels")
    assert 15 <= len(index) <= 24
    assert set(index.conditions["family"]) == {"sample"}
    assert set(index.camera) == set(index.cameras)
    assert len(np.unique(index.time.astype("datetime64[D]"))) == 2


def test_the_numbers_are_whole(evaluated: Path, sample: Path) -> None:
    found = json.loads((evaluated / "evaluation.json").read_text())
    n = len(read_index(sample / "labels"))
    assert found["data"]["images"] == found["data"]["simulated"] == n
    assert found["data"]["sha256"] == set_digest(sample / "labels")
    assert found["settings"]["campaign"] == "sample-tiny"
    assert not found["data"]["cameras_assumed"]
    assert found["images_with_a_pair"] > 0
    methods = {(s["unit"], s["method"], s["on"]) for s in found["scores"]}
    assert {("pixel", "network", "all"), ("pixel", "colour and brightness", "all"),
            ("cell", "network", "all"), ("cell", "network", "pairs"),
            ("cell", "difference, tuned", "pairs")} <= methods  # fmt: skip
    assert ("cell", "difference, campaign", "pairs") in methods
    for s in found["scores"]:
        assert s["simulated"]
        if s["hits"] + s["false"] + s["missed"]:
            union = s["hits"] + s["false"] + s["missed"]
            assert s["iou"] == pytest.approx(s["hits"] / union)
    assert len(found["images"]) == n


def test_every_table_and_picture_says_that_simulators_flatter(evaluated: Path) -> None:
    text = (evaluated / "evaluation.md").read_text()
    sections = text.split("\n## ")[1:]
    assert len(sections) >= 7
    for section in sections:
        assert section.splitlines()[0].endswith("(simulated)")
        assert FLATTERS in section
    page = html.unescape((evaluated / "evaluation.html").read_text())
    assert page.count(FLATTERS) == len(sections) + 3


def test_the_page_refers_to_nothing_outside(evaluated: Path) -> None:
    page = (evaluated / "evaluation.html").read_text()
    assert "default-src 'none'" in page
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert sources
    assert all(s.startswith(("data:", "#")) for s in sources)
    assert len(re.findall(r"data:image/png;base64", page)) >= 5


def test_the_same_evaluation_has_the_same_bytes(
    evaluated: Path, sample: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = ["--data", str(sample / "labels"), "--size", "64", "--worst", "1"]
    campaign = ["--campaign", str(sample / "sample/sample.yaml")]
    main(["evaluate", str(tiny_weights), *arguments, *campaign, "--out", str(tmp_path)])
    for name in ("evaluation.json", "evaluation.md", "evaluation.html"):
        assert (tmp_path / name).read_bytes() == (evaluated / name).read_bytes()


def test_only_the_part_of_a_split_is_evaluated(
    sample: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    index = read_index(sample / "labels")
    days = np.unique(index.time.astype("datetime64[D]")).astype(str)
    split = split_by_group(
        index, "session", (0.5, 0.5, 0.0), 1, set_digest(sample / "labels"), guard_s=0,
        test_where={"date": [days[0]]},
    )  # fmt: skip
    write_split(split, tmp_path / "split.json")
    arguments = ["evaluate", str(tiny_weights), "--data", str(sample / "labels"), "--size", "64",
            "--worst", "0"]  # fmt: skip
    assert main([*arguments, "--split", str(tmp_path / "split.json"), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["data"]["images"] == len(split.parts["test"])
    assert (found["data"]["from"], found["data"]["to"]) == (days[0], days[0])
    assert found["data"]["split"]["test_where"] == {"date": [days[0]]}
    assert {i["image"] for i in found["images"]} == set(split.parts["test"])
    assert all(s["f1_interval"] == [None, None] for s in found["scores"]), "one day"


def test_the_networks_own_split_is_used_and_its_training_images_are_owned_up_to(
    sample: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    from reprocess.detectors.weights import load_network, save_network

    index = read_index(sample / "labels")
    split = split_by_group(
        index, "session", (0.4, 0.3, 0.3), 1, set_digest(sample / "labels"), guard_s=0
    )
    network = load_network(tiny_weights)
    weights = tmp_path / "trained.safetensors"
    save_network(weights, network.network, network.architecture, network.mean, network.std,
                 {"split": {"labelled": split.document()}})  # fmt: skip
    base = ["evaluate", str(weights), "--data", str(sample / "labels"), "--size", "64",
            "--worst", "0"]  # fmt: skip
    assert main([*base, "--out", str(tmp_path / "own")]) == 0
    own = json.loads((tmp_path / "own/evaluation.json").read_text())
    assert own["data"]["split"]["sha256"] == split.digest
    assert own["data"]["trained_on_these"] == 0
    assert main([*base, "--part", "training", "--out", str(tmp_path / "seen")]) == 0
    seen = json.loads((tmp_path / "seen/evaluation.json").read_text())
    assert seen["data"]["trained_on_these"] == len(split.parts["training"])
    assert any("how well it remembers" in caution for caution in seen["cautions"])


def test_a_split_of_another_set_is_refused(
    sample: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_index(sample / "labels")
    split = split_by_group(index, "session", (0.4, 0.3, 0.3), 1, "0" * 64, guard_s=0)
    write_split(split, tmp_path / "split.json")
    arguments = ["--data", str(sample / "labels"), "--split", str(tmp_path / "split.json")]
    assert main(["evaluate", str(tiny_weights), *arguments, "--out", str(tmp_path / "out")]) == 2
    assert "is of a labelled set of digest 000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_assumed_of_cameras_is_said(
    sample: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "labels"
    shutil.copytree(sample / "labels", copy)
    (copy / "cameras.json").unlink()
    base = ["evaluate", str(tiny_weights), "--data", str(copy), "--size", "64", "--worst", "0"]
    assert main([*base, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert found["data"]["cameras_assumed"]
    assert any("largest square" in caution for caution in found["cautions"])
    campaign = ["--campaign", str(sample / "sample/sample.yaml")]
    assert main([*base, *campaign, "--out", str(tmp_path / "known")]) == 0
    known = json.loads((tmp_path / "known/evaluation.json").read_text())
    assert not known["data"]["cameras_assumed"], "the campaign describes them"


def test_labels_show_and_split_say_what_they_find(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", "show", str(sample / "labels")]) == 0
    said = capsys.readouterr().out
    assert set_digest(sample / "labels") in said
    assert "dates    2" in said
    out = str(tmp_path / "split.json")
    by = ["--by", "session", "--sizes", "0.4/0.3/0.3", "--guard", "0"]
    assert main(["labels", "split", str(sample / "labels"), out, *by]) == 0
    said = capsys.readouterr().out
    split = read_split(out)
    assert f"training   {len(split.parts['training'])} images" in said
    assert split.digest in said
    assert main(["labels", "split", str(sample / "labels"), out]) == 2
    assert "found 2 different values, expected at least 3" in capsys.readouterr().err
    count = ["--by", "count", "--sizes", "1201/150/151"]
    assert main(["labels", "split", str(sample / "labels"), out, *count]) == 2
    assert "add up to the set's" in capsys.readouterr().err
