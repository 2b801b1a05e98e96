"""Convolutions as a GPU is quick with them: without a bias that the norm takes away, and folded where few channels are.

Weights, names and results are those of nn.Conv2d and nn.ConvTranspose2d, but for rounding.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.translators import distributed, nhwc

_FOLD = 4  # pixels a side that become channels
_FEW_CHANNELS = 8


class Conv2d(nn.Conv2d):
    """nn.Conv2d; ``before_norm`` says that an instance norm comes right behind, and nothing else takes the result."""

    def __init__(
        self, c_in: int, c_out: int, side: int, *, before_norm: bool = False, **options: Any
    ) -> None:
        super().__init__(c_in, c_out, side, **options)
        self.before_norm = before_norm

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self._conv_forward(x, self.weight, kept_bias(self, x)))


class ConvTranspose2d(nn.ConvTranspose2d):
    """nn.ConvTranspose2d of 3 x 3 that doubles the sides; ``before_norm`` as for Conv2d."""

    def __init__(self, c_in: int, c_out: int, *, before_norm: bool = False, bias: bool = True) -> None:
        super().__init__(c_in, c_out, 3, stride=2, padding=1, output_padding=1, bias=bias)
        self.before_norm = before_norm

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            return super().forward(x, output_size)
        return F.conv_transpose2d(x, self.weight, kept_bias(self, x), stride=2, padding=1, output_padding=1)


def kept_bias(conv: nn.Module, x: Tensor) -> Tensor | None:
    """A convolution's bias; none where an instance norm takes it away, in training on a GPU.

    To add it there, and its gradient up, takes as long as the norm, and the gradient is nothing but rounding: without
    one the bias stays as it is. Several processes keep it, as each parameter must have a gradient among them.
    """
    is_lost = conv.before_norm and conv.training and x.device.type == "cuda" and distributed.world_size() == 1
    return None if is_lost else cast(Tensor | None, conv.bias)


def folds(conv: nn.Conv2d, x: Tensor) -> bool:
    """On a GPU, of 7 x 7, from or to a few channels; the tensor cores' tiles would be nearly empty."""
    if x.device.type != "cuda" or not nhwc.is_channels_last(x) or torch.compiler.is_compiling():
        return False
    few = min(conv.in_channels, conv.out_channels) < _FEW_CHANNELS
    divides = x.shape[2] % _FOLD == x.shape[3] % _FOLD == 0 and min(x.shape[2:]) > _FOLD
    return few and divides and conv.kernel_size == (7, 7)


def folded_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 7 x 7 convolution of (B, C, H, W), reflected around, as one of 3 x 3 between blocks of 4 x 4 pixels.

    Each block's pixels are channels, 16 times as many on both sides: three times the products, most of them with
    zeros, and whole tiles of a GPU's matrix units.
    """
    batch, channels, height, width = x.shape
    n, m = height // _FOLD, width // _FOLD
    padded = nhwc.reflected(x, _FOLD).permute(0, 2, 3, 1)
    blocks = padded.reshape(batch, n + 2, _FOLD, m + 2, _FOLD, channels).permute(0, 1, 3, 2, 4, 5)
    blocks = blocks.reshape(batch, n + 2, m + 2, -1).permute(0, 3, 1, 2)
    biases = None if bias is None else bias.repeat(_FOLD * _FOLD)
    y = F.conv2d(blocks, _folded_weight(weight), biases).permute(0, 2, 3, 1)
    y = y.reshape(batch, n, m, _FOLD, _FOLD, -1).permute(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _folded_weight(weight: Tensor) -> Tensor:
    """(C', C, 7, 7) to (16 C', 16 C, 3, 3): output pixel a of a block sees pixel t of three blocks by tap t - a - 1."""
    c_out, c_in = weight.shape[:2]
    around = F.pad(weight, (_FOLD,) * 4)  # taps -4 to 10
    seen = around.unfold(2, 3 * _FOLD, 1).unfold(3, 3 * _FOLD, 1).flip(2, 3)  # (C', C, a, b, t, u)
    seen = seen.reshape(c_out, c_in, _FOLD, _FOLD, 3, _FOLD, 3, _FOLD)
    folded = seen.permute(2, 3, 0, 5, 7, 1, 4, 6).reshape(_FOLD**2 * c_out, _FOLD**2 * c_in, 3, 3)
    return folded.contiguous(memory_format=torch.channels_last)
