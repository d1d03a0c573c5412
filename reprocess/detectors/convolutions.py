"""Convolutions for inference on a CPU: weights in oneDNN's order, and fewer multiplications.

Each is good for images of one size, which the first images settle; that call also gives the
plain weights up, so it must be over before several threads use the same convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

TILES_MAX, TILES_BYTES_MAX = 256, 16 << 20
"""Of the tiles that are multiplied together. The more of them the fewer times the weights are
fetched, but with 64 channels they should stay in a core's cache, and for 32 MB glibc would ask
the system each time."""

# From 3 weights to the 4 that four neighbouring pixels are multiplied with.
_SPREAD = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUTS_AT_ONCE = 64


class PackedConvolution(nn.Module):
    """A convolution whose weights are kept in oneDNN's order for images of one size.

    Parameters
    ----------
    weight : (n_out, n_in / groups, rows, columns) float32
    bias : (n_out,) float32
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        padding: Sequence[int] = (0, 0),
        stride: Sequence[int] = (1, 1),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__()
        self._weight, self._bias = weight, bias
        self._geometry = (padding, stride, dilation, groups)

    @classmethod
    def of(cls, plain: nn.Conv2d) -> PackedConvolution:
        assert not isinstance(plain.padding, str)
        bias = None if plain.bias is None else plain.bias.detach()
        return cls(
            plain.weight.detach(), bias, plain.padding, plain.stride, plain.dilation, plain.groups
        )

    def forward(self, images: Tensor) -> Tensor:
        if not self._weight.is_mkldnn:
            self._weight = self._weight.to_mkldnn()  # the plain ones go before the third ones come
            self._weight = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                self._weight, *self._geometry, list(images.shape)
            )
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images, self._weight, self._bias, *self._geometry, "none", [], ""
        )
        return found


class WinogradConvolution(nn.Module):
    """A convolution of 3 x 3 weights with 16 multiplications for four pixels instead of 36.

    Winograd's F(2 x 2, 3 x 3) as in Lavin & Gray 2016, doi 10.1109/CVPR.2016.435: 4 x 4 pixels
    and the 3 x 3 weights become 16 numbers each, whose products, summed over the channels, become
    2 x 2 pixels of the result. Of the three steps the first and last are additions; the middle
    one is a convolution of 1 x 1 in 16 groups. With a dilation of d each of the d x d interleaved
    images is one of its own. Differs from the plain one in the last bits of float32.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        assert can_shorten(plain)
        self._dilation = plain.dilation[0]
        self._weight: Tensor | None = plain.weight.detach()
        bias = torch.zeros(plain.out_channels) if plain.bias is None else plain.bias.detach()
        self._bias: NDArray[np.float32] = bias.numpy()

    def forward(self, images: Tensor) -> Tensor:
        if self._weight is not None:  # only now: one layer's are then in memory twice, not all
            self._products = PackedConvolution(_spread(self._weight), groups=16)
            self._weight = None
        n, n_in, height, width = images.shape
        apart = self._dilation
        n_down, n_across = -(-height // (2 * apart)), -(-width // (2 * apart))
        n_rows, n_columns = 2 * apart * n_down, 2 * apart * n_across  # of whole tiles
        n_tiles = n_down * n_across * apart**2
        n_together = min(n_tiles, TILES_MAX, max(1, TILES_BYTES_MAX // (16 * 4 * n_in)))
        tiles = _empty(1, 16 * n_in, n_together, 1)
        found = _empty(n, len(self._bias), n_rows, n_columns)
        surrounded = np.zeros((n_rows + 2 * apart, n_columns + 2 * apart, n_in), np.float32)
        inner = surrounded[apart : apart + height, apart : apart + width]
        for image, result in zip(images, found, strict=True):
            inner[:] = _by_pixel(image)
            for begin in range(0, n_tiles, n_together):
                # The last ones end with the image: some tiles are then done twice.
                first = min(begin, n_tiles - n_together)
                _cut(surrounded, first, apart, n_down, n_across, _by_pixel(tiles[0])[:, 0])
                products = _by_pixel(self._products(tiles)[0])[:, 0]
                _join(products, self._bias, first, apart, n_down, n_across, _by_pixel(result))
        return found[:, :, :height, :width]


def can_shorten(plain: nn.Conv2d) -> bool:
    """Whether a convolution is one that `WinogradConvolution` can stand for."""
    return (
        plain.kernel_size == (3, 3)
        and plain.stride == (1, 1)
        and plain.groups == 1
        and plain.padding_mode == "zeros"
        and plain.padding == plain.dilation
        and plain.dilation[0] == plain.dilation[1]
    )


def _spread(weight: Tensor) -> Tensor:
    """(n_out, n_in, 3, 3) weights to (16 n_out, n_in, 1, 1)."""
    n_out, n_in = weight.shape[:2]
    both = torch.from_numpy(np.kron(_SPREAD, _SPREAD).T)
    found = torch.empty((16, n_out, n_in))
    for first in range(0, n_out, _OUTPUTS_AT_ONCE):
        some = slice(first, first + _OUTPUTS_AT_ONCE)
        found[:, some] = (weight[some].flatten(2).double() @ both).permute(2, 0, 1)
    return found.reshape(16 * n_out, n_in, 1, 1)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, memory_format=torch.channels_last)


def _by_pixel(image: Tensor) -> NDArray[np.float32]:
    """The same numbers of a (channels, y, x) image as (y, x, channels)."""
    pixels: NDArray[np.float32] = image.permute(1, 2, 0).numpy()
    return pixels


@numba.njit(nogil=True, cache=True)
def _corner(tile: int, apart: int, n_down: int, n_across: int) -> tuple[int, int]:
    """Row and column of a tile's first pixel; tiles of one interleaved image follow each other."""
    across = tile % n_across
    down = tile // n_across % n_down
    image = tile // (n_across * n_down)
    return image // apart + 2 * apart * down, image % apart + 2 * apart * across


@numba.njit(nogil=True, cache=True)
def _cut(
    surrounded: NDArray[np.float32],
    first: int,
    apart: int,
    n_down: int,
    n_across: int,
    tiles: NDArray[np.float32],
) -> None:
    """Write the (n_tiles, 16 n_in) numbers of tiles of a (y, x, n_in) image with its margins."""
    n_in = surrounded.shape[2]
    for at in range(len(tiles)):
        y, x = _corner(first + at, apart, n_down, n_across)
        x1, x2, x3 = x + apart, x + 2 * apart, x + 3 * apart
        tile = tiles[at].reshape(16, n_in)
        for row in range(4):
            # Rows 0 - 2, 1 + 2, 2 - 1 and 1 - 3; then columns alike.
            one = surrounded[y + apart * (0, 1, 2, 1)[row]]
            other = surrounded[y + apart * (2, 2, 1, 3)[row]]
            sign = np.float32((-1, 1, -1, -1)[row])
            for channel in range(n_in):
                a = one[x, channel] + sign * other[x, channel]
                b = one[x1, channel] + sign * other[x1, channel]
                c = one[x2, channel] + sign * other[x2, channel]
                d = one[x3, channel] + sign * other[x3, channel]
                tile[4 * row, channel] = a - c
                tile[4 * row + 1, channel] = b + c
                tile[4 * row + 2, channel] = c - b
                tile[4 * row + 3, channel] = b - d


@numba.njit(nogil=True, cache=True)
def _join(
    products: NDArray[np.float32],
    bias: NDArray[np.float32],
    first: int,
    apart: int,
    n_down: int,
    n_across: int,
    result: NDArray[np.float32],
) -> None:
    """Write the pixels that (n_tiles, 16 n_out) products become into a (y, x, n_out) image."""
    n_out = result.shape[2]
    for at in range(len(products)):
        y, x = _corner(first + at, apart, n_down, n_across)
        tile = products[at].reshape(4, 4, n_out)
        for row in range(2):
            # Rows 0 + 1 + 2 and 1 - 2 - 3; then columns alike.
            one, two, three = tile[row], tile[row + 1], tile[row + 2]
            sign = np.float32((1, -1)[row])
            left = result[y + apart * row, x]
            right = result[y + apart * row, x + apart]
            for channel in range(n_out):
                a = one[0, channel] + sign * (two[0, channel] + three[0, channel])
                b = one[1, channel] + sign * (two[1, channel] + three[1, channel])
                c = one[2, channel] + sign * (two[2, channel] + three[2, channel])
                d = one[3, channel] + sign * (two[3, channel] + three[3, channel])
                left[channel] = a + b + c + bias[channel]
                right[channel] = b - c - d + bias[channel]
