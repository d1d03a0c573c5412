"""The segmentation networks: RGB frames in, coarse two-class logits out.

Every architecture ends at an eighth of the input's resolution and stops
there: the upsampling to pixels is the detector's business, because the coarse
logits are what is stored. This module imports torch; nothing that only plans
or counts may import it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from reprocess.detectors.resnet import resnet18, resnet50_dilated
from reprocess.errors import ConfigurationError

STRIDE = 8


class FcnResnet50(nn.Module):
    """torchvision's FCN-ResNet50 without its auxiliary head and its upsampling.

    The parameter names are torchvision's, so a state dict trained with
    `torchvision.models.segmentation.fcn_resnet50` loads once its
    `aux_classifier.*` entries are dropped.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.backbone = resnet50_dilated()
        n = self.backbone.n_features
        self.classifier = nn.Sequential(
            nn.Conv2d(n, n // 4, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(n // 4),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(n // 4, n_classes, kernel_size=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.backbone(images))
        return logits


class FcnResnet18(nn.Module):
    """ResNet-18 cut after its third stage, with one FCN-8s-style skip (2.9 M parameters).

    Scores from stage 3 (stride 16) are upsampled twice, bilinearly, and added
    to scores from stage 2 (stride 8): Long, Shelhamer & Darrell 2015, doi
    10.1109/CVPR.2015.7298965.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        whole = resnet18()
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        self.layer1 = whole.layer1
        self.layer2 = whole.layer2
        self.layer3 = whole.layer3
        self.score_fine = _score_head(128, n_classes)
        self.score_wide = _score_head(256, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.layer2(self.layer1(self.stem(images)))
        wide = self.score_wide(self.layer3(fine))
        scores: Tensor = self.score_fine(fine)
        return scores + functional.interpolate(
            wide, size=scores.shape[-2:], mode="bilinear", align_corners=False
        )


def _score_head(n_channels: int, n_classes: int) -> nn.Sequential:
    width = 48
    return nn.Sequential(
        nn.Conv2d(n_channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, n_classes, kernel_size=1),
    )


ARCHITECTURES: dict[str, Callable[[int], nn.Module]] = {
    "fcn_resnet18": FcnResnet18,
    "fcn_resnet50": FcnResnet50,
}


def build_network(architecture: str, n_classes: int = 2) -> nn.Module:
    """Build a segmentation network with random weights.

    Parameters
    ----------
    architecture : one of `ARCHITECTURES`
    n_classes : int, >= 2
        Class 0 is the background, class 1 aurora.

    Returns
    -------
    torch.nn.Module
        Maps (n, 3, h, w) float32, normalised RGB with h and w multiples of 8,
        to (n, n_classes, h / 8, w / 8) float32 logits.

    Raises
    ------
    ConfigurationError
        If the architecture is unknown.
    """
    builder = ARCHITECTURES.get(architecture)
    if builder is None:
        raise ConfigurationError(
            f"network architecture {architecture!r} is unknown; "
            f"expected one of {', '.join(sorted(ARCHITECTURES))}"
        )
    if n_classes < 2:
        raise ConfigurationError(f"a network needs at least 2 classes, not {n_classes}")
    return builder(n_classes)


def logit_difference(logits: Tensor) -> Tensor:
    """Aurora minus background logit, (n, h/8, w/8), from (n, 2, h/8, w/8) logits.

    Its sign after bilinear upsampling is exactly softmax >= 0.5.
    """
    return torch.sub(logits[:, 1], logits[:, 0])
