"""A network made ready for frames of one size on a CPU, by the means torch's own compiler uses.

torch brings the weights of a convolution into the order in which oneDNN computes each time the
convolution is called: 130 MB a frame for an FCN-ResNet50, and a third of its time with one frame
at a time. Here that is done once, and batch norms are folded into the convolutions before them.
`torch.compile` does the same; it takes 20 to 30 s and a C++ compiler to begin with. Convolutions
of 3 x 3 weights, most of the time, are done with fewer multiplications as well.
"""

from __future__ import annotations

import platform
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from reprocess.detectors.convolutions import (
    PackedConvolution,
    WinogradConvolution,
    can_shorten,
)


def can_pack() -> bool:
    """Whether this torch has oneDNN, on the only kind of processor where packing was tried."""
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return has_onednn and platform.machine().lower() in ("x86_64", "amd64")


def pack(network: nn.Module) -> None:
    """Replace the convolutions of a network, in place; it is good for inference alone then.

    The first images that pass through it settle their size: let one frame pass before several
    threads use the network.

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
                faster = WinogradConvolution if can_shorten(child) else PackedConvolution.of
                setattr(part, name, faster(child))
