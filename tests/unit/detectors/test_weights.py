"""A weights file says what it is, and anything else is refused."""

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import (
    METADATA_KEY,
    load_network,
    read_card,
    resolve_weights,
    save_network,
    weights_digest,
)
from reprocess.errors import ConfigurationError

MEAN = (0.1, 0.2, 0.3)
STD = (0.4, 0.5, 0.6)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return build_network("fcn_resnet18").eval()


@pytest.fixture
def path(network, tmp_path):
    target = tmp_path / "network.safetensors"
    save_network(target, network, "fcn_resnet18", MEAN, STD, {"seed": 3})
    return target


def test_saved_network_loads_with_its_description(path):
    loaded = load_network(path)
    assert loaded.architecture == "fcn_resnet18"
    assert (loaded.mean, loaded.std) == (MEAN, STD)
    assert loaded.classes == ("background", "aurora")
    assert loaded.card == {"seed": 3}
    assert not loaded.network.training
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_is_small_and_float16_where_it_pays(path):
    assert path.stat().st_size <= 8e6
    dtypes = {t.dtype for t in load_file(path).values()}
    assert dtypes == {torch.float16, torch.float32, torch.int64}


def test_saving_what_was_loaded_gives_the_same_bytes(path, tmp_path):
    loaded = load_network(path)
    again = tmp_path / "again.safetensors"
    digest = save_network(again, loaded.network, "fcn_resnet18", MEAN, STD, {"seed": 3})
    assert again.read_bytes() == path.read_bytes()
    assert digest == loaded.digest


def test_logits_survive_the_half_precision_storage(network, path):
    image = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        difference = (load_network(path).network(image) - network(image)).abs().max()
    assert 0 < float(difference) < 0.02


def test_digest_and_card_need_no_torch(path):
    code = (
        "import sys\n"
        "from reprocess.detectors.weights import read_card, weights_digest\n"
        f"print(weights_digest({str(path)!r}), read_card({str(path)!r})['architecture'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert shown.stdout.split() == [expected, "fcn_resnet18"]
    assert weights_digest(path) == expected


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused(network, tmp_path, zipped):
    target = tmp_path / "network.safetensors"
    torch.save(network.state_dict(), target, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ConfigurationError, match="pickle"):
        load_network(target)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x05\0\0\0\0\0\0\0nope!    "])
def test_other_files_are_refused(tmp_path, content):
    target = tmp_path / "network.safetensors"
    target.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        load_network(target)


def test_safetensors_without_a_description_is_refused(network, tmp_path):
    target = tmp_path / "network.safetensors"
    save_file(network.state_dict(), target)
    with pytest.raises(ConfigurationError, match="without a reprocess description"):
        load_network(target)


def _rewrite(path, tensors=None, **header):
    described = json.loads(json.dumps({"format": "reprocess-network-1", **read_card(path)}))
    described.update(header)
    save_file(tensors or load_file(path), path, metadata={METADATA_KEY: json.dumps(described)})


def test_wrong_keys_name_both_sides(path):
    tensors = load_file(path)
    tensors["score_extra.weight"] = tensors.pop("stem.0.weight")
    _rewrite(path, tensors)
    with pytest.raises(ConfigurationError, match=r"stem\.0\.weight.*score_extra\.weight"):
        load_network(path)


def test_wrong_shape_names_both_sides(path):
    tensors = load_file(path)
    tensors["score_fine.3.bias"] = torch.zeros(21)
    _rewrite(path, tensors)
    with pytest.raises(ConfigurationError, match=r"score_fine\.3\.bias is \(21,\).*\(2,\)"):
        load_network(path)


def test_unknown_architecture_and_format_are_named(path):
    _rewrite(path, architecture="unet")
    with pytest.raises(ConfigurationError, match="'unet' is unknown"):
        load_network(path)
    _rewrite(path, format="reprocess-network-9")
    with pytest.raises(ConfigurationError, match=r"reprocess-network-9.*reprocess-network-1"):
        load_network(path)


def test_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigurationError, match="damaged"):
        load_network(path)


def test_network_that_is_not_finite_is_not_saved(tmp_path):
    broken = build_network("fcn_resnet18")
    with torch.no_grad():
        broken.stem[0].weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(ConfigurationError, match=r"stem\.0\.weight"):
        save_network(tmp_path / "broken", broken, "fcn_resnet18", MEAN, STD, {})
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_unknown_package_names(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        weights_digest(tmp_path / "none.safetensors")
    for name in ("none.safetensors", "../networks.py"):
        with pytest.raises(ConfigurationError, match="expected one of"):
            resolve_weights(f"package:{name}")
