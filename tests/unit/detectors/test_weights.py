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


def test_other_classes_are_refused_with_both_sides(path):
    """Logits the other way round would see aurora wherever there is none."""
    _rewrite(path, classes=["aurora", "background"])
    with pytest.raises(
        ConfigurationError, match=r"\['aurora', 'background'\], expected \['background', 'aurora'\]"
    ):
        load_network(path)
    _rewrite(path, classes=["background", "aurora", "cloud"])
    with pytest.raises(ConfigurationError, match=r"'cloud'\], expected"):
        load_network(path)


def test_another_normalisation_is_refused_with_both_sides(path):
    _rewrite(path, normalisation="image / 127.5 - 1")
    with pytest.raises(
        ConfigurationError, match=r"found normalisation image / 127.5 - 1, expected \(image / 255"
    ):
        load_network(path)


def test_another_architecture_than_the_one_asked_for_is_refused(path):
    assert load_network(path, "fcn_resnet18").architecture == "fcn_resnet18"
    with pytest.raises(
        ConfigurationError, match="found architecture fcn_resnet18, expected fcn_resnet50"
    ):
        load_network(path, "fcn_resnet50")


def test_one_changed_bit_in_the_tensors_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="damaged: found tensors of SHA-256"):
        load_network(path)


def test_a_description_from_before_these_checks_is_still_read(path):
    described = dict(read_card(path))
    del described["normalisation"], described["tensors_sha256"]
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps(described)})
    assert load_network(path).mean == MEAN


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


def _with_header(path, tmp_path, **changes):
    """A copy of a weights file whose description differs."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    document = json.loads(content[8 : 8 + size])
    header = json.loads(document["__metadata__"]["reprocess"])
    document["__metadata__"]["reprocess"] = json.dumps({**header, **changes})
    text = json.dumps(document).encode()
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    return changed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ["aurora"] * 10**5}, "expected 2 to 64"),
        ({"classes": "ab"}, "expected 2 to 64"),
        ({"classes": [1, 2]}, "expected 2 to 64"),
        ({"architecture": ["os", "system"]}, "name of an architecture"),
        ({"architecture": "os:system"}, "os:system"),
        ({"mean": "0.5"}, "expected 3 numbers"),
        ({"mean": [float("nan")] * 3}, "expected 3 numbers"),
        ({"std": [1, 1, "x"]}, "expected 3 numbers"),
        ({"std": [1, 1, 0]}, "expected 3 numbers"),
        ({"card": []}, "a card"),
    ],
)
def test_a_description_that_no_one_writes_is_refused(tiny_weights, tmp_path, changes, says):
    with pytest.raises(ConfigurationError, match=says):
        load_network(_with_header(tiny_weights, tmp_path, **changes))


@pytest.mark.parametrize(
    "header", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff" * 64, b"[]", b"{}"]
)
def test_a_header_of_garbage_is_refused(tmp_path, header):
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ConfigurationError, match="safetensors"):
        load_network(path)


def test_a_header_that_declares_more_than_the_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ConfigurationError, match="not a safetensors file"):
        load_network(path)


def test_a_sparse_file_of_a_terabyte_is_refused_unread(tmp_path):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigurationError, match="1099511627776 bytes"):
        load_network(path)


def test_weights_that_are_not_finite_are_refused(tiny_weights, tmp_path):
    """A network of NaN sees no aurora anywhere, and would say so without a word."""
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save

    with safe_open(tiny_weights, "np") as stored:
        tensors = {name: stored.get_tensor(name).copy() for name in stored.keys()}  # noqa: SIM118
        metadata = stored.metadata()
    name = min(n for n, t in tensors.items() if t.dtype.kind == "f" and t.ndim > 1)
    tensors[name].flat[0] = np.nan
    path = tmp_path / "nan.safetensors"
    path.write_bytes(save(tensors, metadata=metadata))

    with pytest.raises(ConfigurationError, match="not finite"):
        load_network(path)
