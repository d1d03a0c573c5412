"""A packed network says what the plain one says, and keeps nothing of it twice."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from reprocess.detectors import packed
from reprocess.detectors.convolutions import PackedConvolution, WinogradConvolution
from reprocess.detectors.networks import ARCHITECTURES, build_network
from reprocess.detectors.runtimes import TorchCpu, runtime_profile
from reprocess.detectors.weights import LoadedNetwork

pytestmark = pytest.mark.skipif(not packed.can_pack(), reason="no oneDNN, or not an x86")
SIZE = 64


def trained(architecture):
    """A network whose batch norms do something, as after a training."""
    torch.manual_seed(5)
    network = build_network(architecture).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0.0, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0.0, 0.2)
    return network.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_packed_network_gives_the_same_logits(architecture):
    plain = trained(architecture)
    ours = copy.deepcopy(plain)
    packed.pack(ours)
    for seed in range(3):
        torch.manual_seed(seed)
        image = torch.randn(1, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            expected = plain(image)
            found = ours(image)
        assert found.shape == expected.shape
        assert expected.std() > 0
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_convolution_is_packed_and_every_batch_norm_folded(architecture):
    plain = trained(architecture)
    plains = [part for part in plain.modules() if isinstance(part, nn.Conv2d)]
    n_shortened = sum(part.kernel_size == (3, 3) and part.stride == (1, 1) for part in plains)
    packed.pack(plain)
    with torch.inference_mode():
        plain(torch.zeros(1, 3, SIZE, SIZE))
    kinds = [type(part) for part in plain.modules()]
    assert kinds.count(PackedConvolution) == len(plains)  # a shortened one holds one of them
    assert kinds.count(WinogradConvolution) == n_shortened > 0
    assert nn.Conv2d not in kinds
    assert nn.BatchNorm2d not in kinds
    assert not list(plain.parameters())
    weights = [p._weight for p in plain.modules() if isinstance(p, PackedConvolution)]
    assert all(weight.is_mkldnn for weight in weights)


def loaded(network):
    return LoadedNetwork("fcn_resnet18", network, (0.1,) * 3, (0.2,) * 3, ("no", "yes"), {}, "")


def test_where_it_cannot_be_packed_the_network_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the profile would be a GPU's
    network = trained("fcn_resnet18")
    images = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    ours = TorchCpu(loaded(copy.deepcopy(network)), SIZE).logits(images, 2)
    assert " packed winograd " in runtime_profile("torch")
    monkeypatch.setattr(packed, "can_pack", lambda: False)
    plain = TorchCpu(loaded(network), SIZE).logits(images, 2)
    assert any(isinstance(part, nn.Conv2d) for part in network.modules())
    np.testing.assert_allclose(ours, plain, rtol=2e-3, atol=2e-3)
    assert "packed" not in runtime_profile("torch")
