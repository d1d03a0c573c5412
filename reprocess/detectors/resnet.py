"""ResNet: the backbone of the networks, with torchvision's names and torchvision's numbers.

He, Zhang, Ren & Sun 2016, doi 10.1109/CVPR.2016.90, in the variant of torchvision (the stride of
a bottleneck in its 3 x 3 convolution). It is written here because importing torchvision imports
torch's compiler with it: 1.5 to 2 s and 160 MB in every worker process, for layers that torch
has. Tests hold it to torchvision's: the same names, the same output, and from the same seed the
same random weights.
"""

from __future__ import annotations

from torch import Tensor, nn

N_IMAGENET_CLASSES = 1000
WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    growth = 1

    def __init__(
        self, n_in: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = _conv3(n_in, width, stride, dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3(width, width, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, given: Tensor) -> Tensor:
        found = self.relu(self.bn1(self.conv1(given)))
        found = self.bn2(self.conv2(found))
        found += given if self.downsample is None else self.downsample(given)
        result: Tensor = self.relu(found)
        return result


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, beside a shortcut."""

    growth = 4

    def __init__(
        self, n_in: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3(width, width, stride, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, self.growth * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.growth * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def forward(self, given: Tensor) -> Tensor:
        found = self.relu(self.bn1(self.conv1(given)))
        found = self.relu(self.bn2(self.conv2(found)))
        found = self.bn3(self.conv3(found))
        found += given if self.downsample is None else self.downsample(given)
        result: Tensor = self.relu(found)
        return result


class ResNet(nn.Module):
    """The stem and the four stages, without the classifier of ImageNet.

    Parameters
    ----------
    block : of which the stages are made
    depths : blocks in each stage
    dilated : stages 2 to 4 whose stride of 2 becomes twice the dilation, so that they keep the
        resolution
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: tuple[int, int, int, int],
        dilated: tuple[bool, bool, bool] = (False, False, False),
    ) -> None:
        super().__init__()
        self.n_features, self._dilation = WIDTHS[0], 1
        self.conv1 = nn.Conv2d(3, WIDTHS[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._stage(block, WIDTHS[0], depths[0], 1, dilate=False)
        self.layer2 = self._stage(block, WIDTHS[1], depths[1], 2, dilate=dilated[0])
        self.layer3 = self._stage(block, WIDTHS[2], depths[2], 2, dilate=dilated[1])
        self.layer4 = self._stage(block, WIDTHS[3], depths[3], 2, dilate=dilated[2])
        # torchvision draws random weights of its classifier here: drawn as well, and dropped, so
        # that what is drawn after it comes out the same.
        nn.Linear(self.n_features, N_IMAGENET_CLASSES)
        for module in self.modules():
            # To draw for weights without values ("meta") torch imports its compiler, 2 s, 160 MB.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(
        self, block: type[BasicBlock | Bottleneck], width: int, depth: int, stride: int, *,
        dilate: bool,
    ) -> nn.Sequential:  # fmt: skip
        n_in, n_out, dilation = self.n_features, block.growth * width, self._dilation
        if dilate:
            self._dilation *= stride
            stride = 1
        shortcut = None
        if stride != 1 or n_in != n_out:
            shortcut = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        blocks = [block(n_in, width, stride, dilation, shortcut)]
        blocks += [block(n_out, width, 1, self._dilation, None) for _ in range(depth - 1)]
        self.n_features = n_out
        return nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) normalised images to the features of the last stage."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(stem))))
        return features


def resnet18() -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet50_dilated() -> ResNet:
    """ResNet-50 that ends at an eighth of the input's resolution."""
    return ResNet(Bottleneck, (3, 4, 6, 3), (False, True, True))


def _conv3(n_in: int, n_out: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride, padding=dilation, dilation=dilation, bias=False)
