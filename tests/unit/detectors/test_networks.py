"""The networks keep their stride, their shapes and torchvision's names."""

import pytest
import torch
from torchvision.models import resnet18
from torchvision.models.segmentation import fcn_resnet50

import reprocess.detectors.resnet
from reprocess.detectors.networks import ARCHITECTURES, STRIDE, build_network, logit_difference
from reprocess.errors import ConfigurationError


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 64)])
def test_logits_come_at_an_eighth_of_the_input(architecture, height, width):
    network = build_network(architecture).eval()
    with torch.inference_mode():
        logits = network(torch.zeros(2, 3, height, width))
    assert logits.shape == (2, 2, height // STRIDE, width // STRIDE)
    assert logits.dtype == torch.float32


def test_fcn_resnet50_has_torchvisions_names_without_the_auxiliary_head():
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=2, aux_loss=True)
    expected = {k for k in theirs.state_dict() if not k.startswith("aux_classifier.")}
    assert set(build_network("fcn_resnet50").state_dict()) == expected


def test_fcn_resnet50_computes_what_torchvision_computes():
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=2, aux_loss=True).eval()
    ours = build_network("fcn_resnet50").eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("aux_classifier.")}
    ours.load_state_dict(state)
    image = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        coarse = ours(image)
        upsampled = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
        assert torch.equal(upsampled, theirs(image)["out"])


def test_one_seed_draws_the_weights_that_it_draws_in_torchvision():
    torch.manual_seed(5)
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=2, aux_loss=False)
    torch.manual_seed(5)
    ours = build_network("fcn_resnet50").state_dict()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours[name], value), name


def test_fcn_resnet18_begins_as_torchvisions_resnet18():
    torch.manual_seed(5)
    theirs = resnet18(weights=None).eval()
    after = torch.rand(3)
    torch.manual_seed(5)
    ours = reprocess.detectors.resnet.resnet18().eval()
    assert torch.equal(torch.rand(3), after)
    expected = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    assert expected.keys() == ours.state_dict().keys()
    for name, value in ours.state_dict().items():
        assert torch.equal(expected[name], value), name
    image = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        features = ours(image)
        assert torch.equal(theirs.fc(theirs.avgpool(features).flatten(1)), theirs(image))


def test_fcn_resnet18_is_small_enough_to_ship():
    n_parameters = sum(p.numel() for p in build_network("fcn_resnet18").parameters())
    assert 2.5e6 < n_parameters < 3.5e6


def test_logit_difference_is_aurora_minus_background():
    logits = torch.tensor([[[[1.0]], [[4.0]]]])
    assert logit_difference(logits).tolist() == [[[3.0]]]


def test_unknown_architecture_lists_the_known_ones():
    with pytest.raises(ConfigurationError, match="fcn_resnet18, fcn_resnet50"):
        build_network("unet")
