"""Convolutional trunks by name: the house's own rows, and torchvision's classifiers without their heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from d2n.backbones import BACKBONES, classifiers
from d2n.backbones.row import Backbone
from d2n.config import nearest
from d2n.errors import ConfigError

_PROBE_PX = 96  # enough for every torchvision trunk


def find(name: str) -> Backbone:
    """The row of that name; ConfigError for a network.backbone without a convolutional trunk."""
    published = classifiers.names()
    if name in BACKBONES:
        return BACKBONES[name]
    if name not in published:
        own = " or ".join(BACKBONES)
        raise ConfigError(
            f"network.backbone is {name!r}, expected {own} or a torchvision classifier such as "
            f"vgg16, vit_b_16, resnet101, squeezenet1_1{nearest(name, [*BACKBONES, *published])}"
        )
    return classifiers.row(name)


def build_trunk(name: str, *, tf_padding: bool = False) -> nn.Module:
    """(B, 3, H, W) to (B, C, h, w): a backbone's trunk, randomly initialised.

    tf_padding pads strided convolutions as TensorFlow's SAME does. Raises ConfigError as find does.
    """
    trunk = find(name).trunk()
    if tf_padding:
        pad_as_tensorflow(trunk)
    return trunk


def num_channels(trunk: nn.Module) -> int:
    """C of the trunk's output."""
    was_training = trunk.training
    trunk.eval()
    with torch.no_grad():
        out = trunk(torch.zeros(1, 3, _PROBE_PX, _PROBE_PX))
    trunk.train(was_training)
    return int(out.shape[1])


def pad_as_tensorflow(trunk: nn.Module) -> None:
    """Strided convolutions padded as TensorFlow's SAME does; their weights and names stay."""
    for parent in list(trunk.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and child.stride[0] > 1 and child.kernel_size[0] > 1:
                same = SameConv2d(
                    child.in_channels,
                    child.out_channels,
                    (child.kernel_size[0], child.kernel_size[1]),
                    (child.stride[0], child.stride[1]),
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                same.weight, same.bias = child.weight, child.bias
                setattr(parent, name, same)


class SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding: the odd pixel goes right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        down = _same_padding(x.shape[-2], self.kernel_size[0], self.stride[0])
        across = _same_padding(x.shape[-1], self.kernel_size[1], self.stride[1])
        padded = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _same_padding(side: int, kernel: int, stride: int) -> int:
    return max((-(-side // stride) - 1) * stride + kernel - side, 0)
