"""The toy backbone: small enough for 64 px images and a CPU; no weights of it are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from d2n.backbones.row import Backbone

if TYPE_CHECKING:
    from torch import nn


def toy_trunk() -> nn.Sequential:
    """330 k parameters with its head, for 64 px images: seven convolutions with batch norm, stride 16."""
    from torch import nn

    return nn.Sequential(
        *_conv(3, 24, kernel=5, stride=2),
        *_conv(24, 32),
        nn.MaxPool2d(2),
        *_conv(32, 64),
        *_conv(64, 64),
        nn.MaxPool2d(2),
        *_conv(64, 96),
        *_conv(96, 96),
        nn.MaxPool2d(2),
        *_conv(96, 128),
    )


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    from torch import nn

    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


TOY = Backbone("toy", toy_trunk, head_dim=128)
