"""Convolutional trunks by name: the toy network, and torchvision's classifiers without their heads."""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from d2n.config import nearest
from d2n.errors import ConfigError

TOY_DIM = 128  # descriptors of the toy backbone
_PROBE_PX = 96  # enough for every torchvision trunk


def build_trunk(name: str, *, tf_padding: bool = False) -> nn.Module:
    """(B, 3, H, W) to (B, C, h, w): "toy", or the convolutions of a torchvision model, randomly initialised.

    The last pooling of VGG and AlexNet is left out (conv5_3 and its ReLU end VGG16). tf_padding pads strided
    convolutions as TensorFlow's SAME does. Raises ConfigError for a name without a convolutional trunk.
    """
    trunk = toy_trunk() if name == "toy" else _torchvision_trunk(name)
    if tf_padding:
        _pad_as_tensorflow(trunk)
    return trunk


def num_channels(trunk: nn.Module) -> int:
    """C of the trunk's output."""
    was_training = trunk.training
    trunk.eval()
    with torch.no_grad():
        out = trunk(torch.zeros(1, 3, _PROBE_PX, _PROBE_PX))
    trunk.train(was_training)
    return int(out.shape[1])


def toy_trunk() -> nn.Sequential:
    """330 k parameters with its head, for 64 px images: seven convolutions with batch norm, stride 16."""
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


def refuse_unknown(name: str) -> None:
    """Raise ConfigError unless name is "toy" or a torchvision classifier with a convolutional trunk."""
    known = [n for n in torchvision.models.list_models(torchvision.models) if not _refused(n)]
    if name not in ("toy", *known):
        raise ConfigError(
            f"network.backbone is {name!r}, expected toy or a convolutional torchvision classifier such as "
            f"vgg16, resnet101, squeezenet1_1{nearest(name, ['toy', *known])}"
        )


def trunk_keys(name: str, keys: list[str]) -> dict[str, str]:
    """From a torchvision model's state keys, those of its trunk alone, to the keys of build_trunk's."""
    if any(key.startswith("features.") for key in keys):
        return {key: key.removeprefix("features.") for key in keys if key.startswith("features.")}
    with torch.random.fork_rng(devices=[]):  # not on the meta device: RegNet computes its widths with tensors
        children = _children_before_pooling(_classifier(name))
    places = {child: str(place) for place, (child, _) in enumerate(children)}
    return {
        key: f"{places[key.split('.')[0]]}.{key.partition('.')[2]}"
        for key in keys
        if key.split(".")[0] in places
    }


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


def _torchvision_trunk(name: str) -> nn.Module:
    model = _classifier(name)
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential):
        return nn.Sequential(*(child for _, child in _children_before_pooling(model)))
    if name.startswith(("vgg", "alexnet")):
        return features[:-1]
    if name.startswith("densenet"):
        features.append(nn.ReLU(inplace=True))
    return features


def _classifier(name: str) -> nn.Module:
    refuse_unknown(name)
    model: nn.Module = torchvision.models.get_model(name, weights=None)
    return model


def _refused(name: str) -> bool:
    """No (B, C, h, w) trunk before the head, or one that normalises its input a second time."""
    return name.startswith(("vit_", "swin_", "maxvit", "googlenet", "inception_"))


def _children_before_pooling(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """ResNet and its like: the children up to the global pooling, in order."""
    children = []
    for name, child in model.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or name == "classifier":
            break
        children.append((name, child))
    return children


class _SameConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's SAME padding: the odd pixel goes right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        down = _same_padding(x.shape[-2], self.kernel_size[0], self.stride[0])
        across = _same_padding(x.shape[-1], self.kernel_size[1], self.stride[1])
        padded = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _same_padding(side: int, kernel: int, stride: int) -> int:
    return max((-(-side // stride) - 1) * stride + kernel - side, 0)


def _pad_as_tensorflow(trunk: nn.Module) -> None:
    for parent in list(trunk.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d and child.stride[0] > 1 and child.kernel_size[0] > 1:
                same = _SameConv2d(
                    child.in_channels,
                    child.out_channels,
                    (child.kernel_size[0], child.kernel_size[1]),
                    (child.stride[0], child.stride[1]),
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                same.weight, same.bias = child.weight, child.bias
                setattr(parent, name, same)
