"""The U-Net of Jenicek and Chum's public code (mdir's ``p2p_unet``), under the names of its own files.

It is pix2pix's but for the skips, which are not rectified again where they join, and for its innermost level, which
has no norm below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from d2n.errors import ShapeError

Norm = Callable[[int], nn.Module]
_HALVING: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


class MdirUNet(nn.Module):
    """(B, 3, H, W) in [-1, 1] to the same; sides divide by ``stride``, 2^depth.

    54,413,955 parameters with depth 8, 64 channels and batch norm.
    """

    def __init__(self, depth: int = 8, base_channels: int = 64, norm: Norm | None = nn.BatchNorm2d) -> None:
        super().__init__()
        self.stride = self.smallest_side = 2**depth
        widths = [base_channels * min(2**level, 8) for level in range(depth)]
        below: nn.Module | None = None
        for level in reversed(range(1, depth)):
            below = Level(widths[level - 1], widths[level], below, norm)
        self.outerblock = nn.Sequential(
            nn.Conv2d(3, base_channels, bias=False, **_HALVING),
            nn.LeakyReLU(0.2),
            *([below] if below is not None else []),
            nn.ConvTranspose2d((2 if depth > 1 else 1) * base_channels, 3, **_HALVING),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ShapeError(
                f"mdir's U-Net: image of {height} x {width} pixels, expected sides divisible by {self.stride}"
            )
        return cast(Tensor, self.outerblock(images))


class Level(nn.Module):
    """Halve, go through the levels below, double, and stand beside what came in."""

    def __init__(self, outer: int, width: int, below: nn.Module | None, norm: Norm | None) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(outer, width, bias=False, **_HALVING)]
        if below is None:
            layers.append(nn.ReLU())
        else:
            layers += [*_normed(norm, width), nn.LeakyReLU(0.2), below]
        inputs = width if below is None else 2 * width
        layers += [
            nn.ConvTranspose2d(inputs, outer, bias=False, **_HALVING),
            *_normed(norm, outer),
            nn.ReLU(),
        ]
        self.nested = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.nested(x)], dim=1)


def _normed(norm: Norm | None, channels: int) -> list[nn.Module]:
    return [] if norm is None else [norm(channels)]
