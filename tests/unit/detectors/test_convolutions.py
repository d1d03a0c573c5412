"""Our convolutions give what torch's do, with the error of float32 sums."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from reprocess.detectors import convolutions
from reprocess.detectors.convolutions import PackedConvolution, WinogradConvolution, can_shorten
from reprocess.detectors.packed import can_pack

pytestmark = pytest.mark.skipif(not can_pack(), reason="no oneDNN, or not an x86")


def convolution(n_in, n_out, dilation=1, *, bias=True):
    torch.manual_seed(3)
    plain = nn.Conv2d(n_in, n_out, 3, padding=dilation, dilation=dilation, bias=bias).eval()
    return plain.requires_grad_(requires_grad=False)


def images(n, n_in, height, width, seed=0):
    torch.manual_seed(seed)
    return torch.randn(n, n_in, height, width).contiguous(memory_format=torch.channels_last)


def exact(plain, given):
    """The convolution in float64."""
    bias = None if plain.bias is None else plain.bias.double()
    return functional.conv2d(
        given.double(), plain.weight.double(), bias, 1, plain.padding, plain.dilation
    )


@pytest.mark.parametrize("dilation", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (7, 13), (1, 5), (2, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_shortened_convolution_is_the_plain_one(dilation, height, width, bias):
    plain = convolution(16, 32, dilation, bias=bias)
    given = images(2, 16, height, width)
    with torch.inference_mode():
        expected = exact(plain, given)
        found = WinogradConvolution(plain)(given)
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 2e-6 * expected.abs().max()


def test_each_weight_meets_its_own_pixel():
    """One weight and one pixel of 1: only its neighbour on the other side has anything."""
    for row in range(3):
        for column in range(3):
            plain = convolution(16, 16, dilation=2, bias=False)
            plain.weight.zero_()
            plain.weight[5, 7, row, column] = 1.0
            given = torch.zeros(1, 16, 12, 12)
            given[0, 7, 5, 6] = 1.0
            with torch.inference_mode():
                found = WinogradConvolution(plain)(given)
            assert found.nonzero().tolist() == [[0, 5, 5 - 2 * (row - 1), 6 - 2 * (column - 1)]]
            assert found.sum() == 1.0


@pytest.mark.parametrize("together", [1, 5, 16, 63])
def test_how_many_tiles_are_multiplied_together_is_not_to_be_seen(monkeypatch, together):
    plain, given = convolution(16, 16, dilation=2), images(1, 16, 17, 15)
    with torch.inference_mode():
        expected = exact(plain, given)
        monkeypatch.setattr(convolutions, "TILES_MAX", together)
        found = WinogradConvolution(plain)(given)
    assert (found - expected).abs().max() < 2e-6 * expected.abs().max()


def test_no_more_bytes_of_tiles_than_are_allowed(monkeypatch):
    plain, given = convolution(32, 16), images(1, 32, 16, 16)
    seen = []
    monkeypatch.setattr(convolutions, "TILES_BYTES_MAX", 10 * 16 * 4 * 32)
    product = PackedConvolution.forward

    def watched(self, tiles):
        seen.append(tiles.numel() * tiles.element_size())
        return product(self, tiles)

    monkeypatch.setattr(PackedConvolution, "forward", watched)
    with torch.inference_mode():
        WinogradConvolution(plain)(given)
    assert seen == [10 * 16 * 4 * 32] * 7  # 64 tiles


def test_the_error_is_that_of_float32_with_as_many_channels_as_the_largest_network_has():
    plain = convolution(2048, 64, dilation=4)
    given = torch.relu(images(1, 2048, 16, 16))
    with torch.inference_mode():
        expected = exact(plain, given)
        found = WinogradConvolution(plain)(given)
        error = (found - expected).abs().max()
        error_of_torch = (plain(given) - expected).abs().max()
    assert error < 10 * error_of_torch
    assert error < 1e-5 * expected.abs().max()


def test_images_in_any_order_of_memory_give_the_same():
    plain, given = convolution(16, 32), images(2, 16, 9, 9)
    ours = WinogradConvolution(plain)
    with torch.inference_mode():
        once = ours(given)
        again = ours(given.contiguous())
        one = ours(given[1:])
    assert torch.equal(once, again)
    assert torch.equal(once[1:], one)  # whatever stands beside it
    np.testing.assert_array_equal(given, images(2, 16, 9, 9))


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=2),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 5, padding=2),
    ],
    ids=str,
)
def test_other_convolutions_cannot_be_shortened(other):
    assert not can_shorten(other)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(2, 1, 1, 1), (1, 2, 2, 2), (1, 0, 1, 1)]
)
def test_a_packed_convolution_is_the_plain_one(stride, padding, dilation, groups):
    torch.manual_seed(4)
    plain = nn.Conv2d(32, 16, 3, stride, padding, dilation, groups).eval()
    given = images(1, 32, 11, 13)
    with torch.inference_mode():
        expected = plain(given)
        found = PackedConvolution.of(plain)(given)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
