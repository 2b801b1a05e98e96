"""Torchvision's classifiers as backbones, by their own names: what comes before their pooling."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
import torchvision
from torch import nn

from d2n.backbones.row import Backbone, Classifier
from d2n.backbones.vit import ViTTrunk

_TRANSFORMERS = ("vit_",)

# No (B, C, h, w) trunk before the head, or one that normalises its input a second time.
_NOT_CONVOLUTIONAL = ("swin_", "maxvit", "googlenet", "inception_")


def names() -> list[str]:
    """Torchvision's classifiers with a trunk that gives maps: convolutional ones and ViTs."""
    models = torchvision.models.list_models(torchvision.models)
    return [name for name in models if not name.startswith(_NOT_CONVOLUTIONAL)]


def row(name: str) -> Backbone:
    """The row of one of ``names()``."""
    return Backbone(name, partial(_trunk, name), classifier=classifier(name))


def classifier(name: str) -> Classifier:
    """The whole network of one of ``names()``, and where its weights are."""
    weights = torchvision.models.get_model_weights(name)
    urls = [str(weights.DEFAULT.url), *(str(one.url) for one in weights)]
    return Classifier(
        partial(_build, name),
        partial(convolutions, name),
        partial(_trunk_keys, name),
        tuple(dict.fromkeys(urls)),
    )


def convolutions(name: str, model: nn.Module) -> nn.Module:
    """What comes before the pooling; without the last pooling of VGG and AlexNet (conv5_3's ReLU ends VGG16)."""
    if isinstance(model, torchvision.models.VisionTransformer):
        return ViTTrunk(model)
    features = getattr(model, "features", None)
    if not isinstance(features, nn.Sequential):
        return nn.Sequential(*(child for _, child in _before_pooling(model)))
    return features[:-1] if name.startswith(("vgg", "alexnet")) else features


def _build(name: str) -> nn.Module:
    more = {}
    if name.startswith(_TRANSFORMERS):  # whose embeddings of position are as large as their best weights'
        more["image_size"] = torchvision.models.get_model_weights(name).DEFAULT.meta["min_size"][0]
    return cast(nn.Module, torchvision.models.get_model(name, weights=None, **more))


def _trunk(name: str) -> nn.Module:
    """The convolutions, with the ReLU that DenseNet applies outside of them."""
    trunk = convolutions(name, _build(name))
    if name.startswith("densenet"):
        cast(nn.Sequential, trunk).append(nn.ReLU(inplace=True))
    return trunk


def _trunk_keys(name: str, keys: list[str]) -> dict[str, str]:
    if name.startswith(_TRANSFORMERS):
        own = ("conv_proj.", "class_token", "encoder.")
        return {key: key for key in keys if key.startswith(own)}
    if any(key.startswith("features.") for key in keys):
        return {key: key.removeprefix("features.") for key in keys if key.startswith("features.")}
    with torch.random.fork_rng(devices=[]):  # not on the meta device: RegNet computes its widths with tensors
        children = _before_pooling(_build(name))
    places = {child: str(place) for place, (child, _) in enumerate(children)}
    return {
        key: f"{places[key.split('.')[0]]}.{key.partition('.')[2]}"
        for key in keys
        if key.split(".")[0] in places
    }


def _before_pooling(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """ResNet and its like: the children up to the global pooling, in order."""
    children = []
    for name, child in model.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or name == "classifier":
            break
        children.append((name, child))
    return children
