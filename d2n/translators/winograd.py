"""Reflection-padded convolutions; of 3 x 3, in training on a CPU, with fewer multiplications.

Winograd's F(2 x 2, 3 x 3) of Lavin and Gray 2016: each 2 x 2 of the output takes 16 products a pair of channels
instead of 36, Y = A^T [(G w G^T) * (B^T d B)] A with d a 4 x 4 of the input (their equation 8). Summed over channels
these are 16 matrix products, as fast on a CPU as the convolution library's own; what comes before and after is one
thin matrix product each, A, B and G taken for rows and columns at once. In bf16 results and gradients lie two to three
times as far from the exact ones as the library's (a relative 0.5 % instead of 0.2 %), in float32 within 1e-6
(tests/translators/test_winograd.py); benchmarks/test_translators.py -k winograd prints the ratio of time. Weights and
names are those of nn.Conv2d. For the way back each layer keeps its tiles, four times the size of its input.

Tiles lie as (4, 4, B, H / 2, W / 2, C), images as (B, H, W, C).
"""

from __future__ import annotations

import contextlib
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from d2n.translators import convs, nhwc

_ENOUGH_CHANNELS = 256
_ENOUGH_TILES = 128  # of 2 x 2: a residual block has 256 of them at 128 x 128 pixels
_A = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, -1.0]])
_B = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, -1.0, 1.0], [-1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, -1.0]])
_G = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
_CENTRE = 5  # of 16: what is added to this product is added to all four outputs of a tile


class ReflectConv2d(nn.Conv2d):
    """A convolution of stride 1 and odd side that keeps the image's sides, by reflection around it."""

    def __init__(
        self, c_in: int, c_out: int, side: int, *, bias: bool = True, before_norm: bool = False
    ) -> None:
        super().__init__(c_in, c_out, side, padding=side // 2, padding_mode="reflect", bias=bias)
        self.before_norm = before_norm  # as of convs.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        if convs.folds(self, x):
            return convs.folded_conv(x, self.weight, convs.kept_bias(self, x))
        padded = _reflected(x, self.kernel_size[0] // 2)
        if not _pays(self, x):
            return F.conv2d(padded, self.weight, convs.kept_bias(self, x))
        autocast = torch.is_autocast_enabled(x.device.type)
        padded = padded.to(torch.get_autocast_dtype(x.device.type)) if autocast else padded
        y = _Winograd.apply(padded.permute(0, 2, 3, 1), self.weight, self.bias)
        return cast(Tensor, y).permute(0, 3, 1, 2)


def _reflected(x: Tensor, pixels: int) -> Tensor:
    """In the type that arrives: autocast would pad in float32 on a CPU."""
    if x.device.type == "cuda":
        return nhwc.reflected(x, pixels)
    autocast = torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if autocast else contextlib.nullcontext():
        return F.pad(x, (pixels,) * 4, mode="reflect")


def _pays(conv: nn.Conv2d, x: Tensor) -> bool:
    """In training on a CPU, of 3 x 3, with even sides, many channels and places, in channels_last."""
    channels, (height, width) = min(conv.in_channels, conv.out_channels), x.shape[-2:]
    return (
        conv.training
        and x.device.type == "cpu"
        and conv.kernel_size == (3, 3)
        and not (height % 2 or width % 2)
        and channels >= _ENOUGH_CHANNELS
        and x.shape[0] * height * width >= 4 * _ENOUGH_TILES
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
    )


class _Winograd(torch.autograd.Function):
    """(B, H + 2, W + 2, C) and weights (C', C, 3, 3) to (B, H, W, C'), in the type of the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        tiles, kernels = _tiles(x), _kernels(weight.to(x.dtype))
        products = torch.bmm(tiles.view(16, -1, x.shape[-1]), kernels.transpose(1, 2))
        if bias is not None:
            products[_CENTRE] += bias
        ctx.save_for_backward(tiles, kernels)
        ctx.has_bias = bias is not None
        return _outputs(products.view(*tiles.shape[:-1], -1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        tiles, kernels = ctx.saved_tensors
        products = _outputs_transposed(gradient).view(16, -1, gradient.shape[-1])
        of_kernels = torch.bmm(products.transpose(1, 2), tiles.view(16, -1, tiles.shape[-1]))
        of_tiles = torch.bmm(products, kernels).view_as(tiles)
        wide = torch.promote_types(products.dtype, torch.float32)
        of_bias = products[_CENTRE].sum(0, dtype=wide) if ctx.has_bias else None
        return _tiles_transposed(of_tiles), _kernels_transposed(of_kernels), of_bias


def _tiles(x: Tensor) -> Tensor:
    """B^T d B for every 4 x 4 of (B, H + 2, W + 2, C), two apart."""
    windows = x.unfold(1, 4, 2).unfold(2, 4, 2).permute(4, 5, 0, 1, 2, 3).contiguous()
    return _on_both_sides(_B.T, windows)


def _tiles_transposed(tiles: Tensor) -> Tensor:
    """(B, H + 2, W + 2, C): the sum of B t B^T where windows share pixels."""
    windows = _on_both_sides(_B, tiles)
    _, _, batch, n, m, channels = windows.shape
    pixels = windows.new_zeros(batch, n + 1, 2, m + 1, 2, channels)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        block = windows[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        pixels[:, i : i + n, :, j : j + m] += block.permute(2, 3, 0, 4, 1, 5)
    return pixels.view(batch, 2 * n + 2, 2 * m + 2, channels)


def _outputs(products: Tensor) -> Tensor:
    """A^T M A: (B, H, W, C) from (4, 4, B, H / 2, W / 2, C)."""
    _, _, batch, n, m, channels = products.shape
    return _on_both_sides(_A.T, products).permute(2, 3, 0, 4, 1, 5).reshape(batch, 2 * n, 2 * m, channels)


def _outputs_transposed(gradient: Tensor) -> Tensor:
    """A dY A^T: (4, 4, B, H / 2, W / 2, C) from (B, H, W, C)."""
    batch, height, width, channels = gradient.shape
    pairs = gradient.reshape(batch, height // 2, 2, width // 2, 2, channels).permute(2, 4, 0, 1, 3, 5)
    return _on_both_sides(_A, pairs.contiguous())


def _kernels(weight: Tensor) -> Tensor:
    """G w G^T of (C', C, 3, 3): (16, C', C)."""
    return _on_both_sides(_G, weight.permute(2, 3, 0, 1).contiguous()).flatten(0, 1)


def _kernels_transposed(kernels: Tensor) -> Tensor:
    """(C', C, 3, 3) from (16, C', C)."""
    return _on_both_sides(_G.T, kernels.view(4, 4, *kernels.shape[1:])).permute(2, 3, 0, 1)


def _on_both_sides(factor: Tensor, x: Tensor) -> Tensor:
    """F x F^T in the first two dimensions of ``x``."""
    both = torch.kron(factor, factor).to(x.dtype)
    side = factor.shape[0]
    return (both @ x.view(len(both.T), -1)).view(side, side, *x.shape[2:])
