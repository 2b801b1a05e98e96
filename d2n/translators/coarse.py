"""The U-Net's 4 x 4 convolutions of stride 2, as matrix products where the features are coarse.

At the inner levels a convolution has millions of weights and few places to put them. On a CPU the convolution
library spends most of its time there on rearranging weights; one matrix product of the same numbers takes a half to a
quarter of the time (benchmarks/test_translators.py -k coarse prints the ratio). Weights, names and results, but for
rounding, are those of nn.Conv2d and nn.ConvTranspose2d.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEW_PLACES = 128  # B x H x W of the coarser side


class Down(nn.Conv2d):
    """Halves the sides: (B, C, H, W) to (B, C', H / 2, W / 2), with zeros around; sides must be even for this."""

    def __init__(self, c_in: int, c_out: int, *, bias: bool) -> None:
        super().__init__(c_in, c_out, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height % 2 or width % 2 or not _pays(self, x, x.numel() // channels // 4):
            return super().forward(x)
        padded = F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1)
        windows = padded.unfold(1, 4, 2).unfold(2, 4, 2)  # (B, H/2, W/2, C, 4, 4)
        y = F.linear(windows.reshape(-1, 16 * channels), self.weight.flatten(1), self.bias)
        return y.view(batch, height // 2, width // 2, -1).permute(0, 3, 1, 2)


class Up(nn.ConvTranspose2d):
    """Doubles the sides: (B, C, H, W) to (B, C', 2 H, 2 W), the transpose of Down."""

    def __init__(self, c_in: int, c_out: int, *, bias: bool) -> None:
        super().__init__(c_in, c_out, 4, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        batch, channels, height, width = x.shape
        if output_size is not None or not _pays(self, x, x.numel() // channels):
            return super().forward(x, output_size)
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        products = rows @ self.weight.flatten(1)
        # Each place gives 4 x 4 outputs: 2 x 2 blocks of 2 x 2, and neighbouring places share blocks.
        blocks = products.view(batch, height, width, -1, 2, 2, 2, 2)
        blocks = blocks.permute(0, 1, 2, 4, 6, 5, 7, 3).to(torch.promote_types(x.dtype, torch.float32))
        corners = [(i, j) for i in (0, 1) for j in (0, 1)]
        shared = sum(F.pad(blocks[:, :, :, i, j], (0, 0, 0, 0, 0, 0, j, 1 - j, i, 1 - i)) for i, j in corners)
        y = cast(Tensor, shared).permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height + 2, 2 * width + 2, -1)
        y = y[:, 1:-1, 1:-1] if self.bias is None else y[:, 1:-1, 1:-1] + self.bias
        return y.to(products.dtype).permute(0, 3, 1, 2)


def lay_out(network: nn.Module) -> None:
    """Let these layers' weights lie as the products need them, whatever the memory format of the rest; in place."""
    for part in network.modules():
        if isinstance(part, Down | Up):
            part.weight.data = part.weight.data.contiguous()


def _pays(conv: Down | Up, x: Tensor, places: int) -> bool:
    """In training on a CPU, with few places, and weights that lie as the product needs them."""
    return conv.training and x.device.type == "cpu" and places <= _FEW_PLACES and conv.weight.is_contiguous()
