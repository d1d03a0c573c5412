"""A network made ready for frames of one size on a CPU, by the means torch's own compiler uses.

torch brings the weights of a convolution into the order in which oneDNN computes each time the
convolution is called: 130 MB a frame for an FCN-ResNet50, and a third of its time with one frame
at a time. Here that is done once, and batch norms are folded into the convolutions before them.
`torch.compile` does the same; it takes 20 to 30 s and a C++ compiler to begin with.
"""

from __future__ import annotations

import platform
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def can_pack() -> bool:
    """Whether this torch has oneDNN, on the only kind of processor where packing was tried."""
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return has_onednn and platform.machine().lower() in ("x86_64", "amd64")


def pack(network: nn.Module) -> None:
    """Replace the convolutions of a network, in place; it is good for inference alone then.

    The first images that pass through it settle their size, and each convolution gives its plain
    weights up: let one frame pass before several threads use the network.

    Parameters
    ----------
    network : in evaluation mode; a batch norm that stands next after a convolution among the
        children of one module is applied right after it
    """
    for part in network.modules():
        for (name, child), (after, norm) in pairwise(list(part.named_children())):
            if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, name, fuse_conv_bn_eval(child, norm))
                setattr(part, after, nn.Identity())
        for name, child in list(part.named_children()):
            if isinstance(child, nn.Conv2d):
                setattr(part, name, PackedConvolution(child))


class PackedConvolution(nn.Module):
    """A convolution whose weights are kept in oneDNN's order for images of one size."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(plain.padding, str)
        self._geometry = (plain.padding, plain.stride, plain.dilation, plain.groups)
        self._bias = None if plain.bias is None else plain.bias.detach()
        self._weight = plain.weight.detach()

    def forward(self, images: Tensor) -> Tensor:
        if not self._weight.is_mkldnn:
            self._weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                self._weight.to_mkldnn(), *self._geometry, list(images.shape)
            )
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self._weight, self._bias, *self._geometry, "none", [], ""
        )
        return found
