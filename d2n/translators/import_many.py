"""Generators of other public codes: ComboGAN's and ToDayGAN's halves, StarGAN's one for all domains, mdir's U-Net.

ComboGAN and ToDayGAN write a file for each encoder, then one for each decoder: of n domains ``<epoch>_net_G<k>.pth`` is
the encoder of domain k and ``<epoch>_net_G<n + k>.pth`` its decoder, in the order of the folders' names. A generator
from one domain to another is the encoder of the one and the decoder of the other. The names that are mapped, ours on
the left, n being the number of blocks in the decoder:

encoder (each a convolution, a norm, a PReLU)
    encoder.0 .1 .2                     model.1, model.4, model.7
    blocks.i.conv1, norm1, relu         model.<10 + i>.conv_block.1, .2, .3
    blocks.i.conv2, norm2               model.<10 + i>.conv_block.5, .6 (with dropout .6, .7)
decoder
    the other blocks                    model.<i>.conv_block
    decoder.0, .1                       model.<n>, model.<n + 3>
    last                                model.<n + 7>

StarGAN's ``<iteration>-G.ckpt`` takes one plane a domain beside the image, and is folded to the domain that it shall
make. Its norms' running statistics are passed over: the public code generates in training mode, by each image's own.
    first                               main.0
    rest.i                              main.<i + 1> (a block's own list is ``main``, ours ``model``)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from d2n.errors import WeightsError
from d2n.translators.conditioned import ConditionedGenerator
from d2n.translators.networks import ResNetGenerator

State = Mapping[str, Tensor]
Knobs = Mapping[str, int | str | bool]
_ENCODER, _DECODER = "encoder file:", "decoder file:"


@dataclass(frozen=True)
class Public:
    """A generator of a public code: its kind here, its weights, the knobs that they tell, and its modules' names."""

    kind: str
    weights: State
    knobs: Knobs
    names: Callable[[nn.Module], Mapping[str, str]]
    """Of a network of ours: the public code's name of each module, and ours."""


def is_encoder(weights: State) -> bool:
    """Whether it is an encoder of ComboGAN or ToDayGAN: a PReLU behind the first norm, and no way up."""
    slope = weights.get("model.3.weight")
    return slope is not None and slope.shape == (1,) and "model.7.weight" in weights


def is_decoder(weights: State) -> bool:
    """Whether it is a decoder of theirs: it begins with a block that has a PReLU."""
    return "model.0.conv_block.3.weight" in weights


def is_conditioned(weights: State) -> bool:
    """Whether it is StarGAN's generator."""
    return "main.0.weight" in weights and "main.3.weight" in weights and "conv2.weight" not in weights


def is_discriminator(weights: State) -> bool:
    """Whether it judges: a PatchGAN, StarGAN's, ComboGAN's or ToDayGAN's."""
    own = ("conv2.weight", "model_rgb.0.0.weight", "model_gray.0.0.weight")
    return any(key in weights for key in own) or (
        "model.0.weight" in weights and "model.1.weight" not in weights
    )


def is_mdir_unet(weights: State) -> bool:
    """Whether it is mdir's ``p2p_unet``, the photometric normalisation network."""
    own = ("outerblock.0.weight", "outerblock.2.nested.0.weight", "outerblock.3.bias")
    return all(key in weights for key in own) and "outerblock.0.bias" not in weights


def mdir_unet(weights: State) -> Public:
    """mdir's ``p2p_unet``: its names are ours."""
    levels = _count(weights, r"(outerblock\.2\.nested\.(?:[0-9]\.nested\.)*)0\.weight$")
    has_norm = any(key.endswith("running_mean") for key in weights)
    return Public(
        "mdir_unet",
        weights,
        {
            "unet_depth": levels + 1,
            "generator_channels": _width(weights, "outerblock.0.weight"),
            "generator_norm": "batch" if has_norm else "none",
        },
        lambda network: {name: name for name, _ in network.named_modules()},
    )


def halves(encoder: State, decoder: State | None) -> Public:
    """The generator of an encoder and a decoder of ComboGAN or ToDayGAN."""
    if not is_encoder(encoder):
        raise WeightsError(
            "is a decoder of ComboGAN or ToDayGAN: name the encoder of the source domain as FILE and this as --decoder"
        )
    if decoder is None:
        raise WeightsError(
            "is an encoder of ComboGAN or ToDayGAN: name the decoder of the target domain by --decoder (of n domains "
            "<epoch>_net_G<n + k>.pth is that of domain k)"
        )
    if not is_decoder(decoder):
        raise WeightsError(
            "--decoder names no decoder of ComboGAN or ToDayGAN: no model.0.conv_block.3.weight in it"
        )
    first, second = (
        _count(encoder, r"model\.(\d+)\.conv_block\."),
        _count(decoder, r"model\.(\d+)\.conv_block\."),
    )
    weights = {f"{_ENCODER}{key}": tensor for key, tensor in encoder.items()}
    weights |= {f"{_DECODER}{key}": tensor for key, tensor in decoder.items()}
    instance = "instance" if "model.1.bias" in encoder else "none"
    return Public(
        "resnet_prelu",
        weights,
        {
            "generator_blocks": first + second,
            "generator_channels": _width(encoder, "model.1.weight"),
            "generator_norm": "batch" if "model.2.weight" in encoder else instance,
            "dropout": any(".conv_block.6.weight" in key and t.ndim == 4 for key, t in decoder.items()),
        },
        partial(_halves_names, first=first),
    )


def conditioned(weights: State, domain: int | None) -> Public:
    """StarGAN's generator folded to one of its domains, counted from 0."""
    width = _width(weights, "main.0.weight")
    first = weights["main.0.weight"]
    count = first.shape[1] - 3
    if count < 1:
        raise WeightsError(
            f"main.0.weight has shape {tuple(first.shape)}, expected 3 channels and one a domain"
        )
    if domain is None and count > 1:
        raise WeightsError(
            f"is StarGAN's generator of {count} domains: say which it shall make by --domain, from 0 to {count - 1}"
        )
    at = domain or 0
    if at >= count:
        raise WeightsError(
            f"--domain is {at}, and StarGAN's generator here has {count}: expected 0 to {count - 1}"
        )
    plain = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")
    kept = {key: tensor for key, tensor in weights.items() if not plain.search(key)}
    kept["main.0.weight"] = torch.cat([first[:, :3], first[:, 3 + at : 4 + at]], dim=1)
    return Public(
        "conditioned",
        kept,
        {"generator_blocks": _count(weights, r"main\.(\d+)\.main\."), "generator_channels": width},
        _conditioned_names,
    )


def _halves_names(network: nn.Module, first: int) -> dict[str, str]:
    whole = cast(ResNetGenerator, network)
    names: dict[str, str] = {}
    stages = [(f"{_ENCODER}model.{at}", f"encoder.{i}") for i, at in ((0, 1), (1, 4), (2, 7))]
    up = len(whole.blocks) - first
    stages += [(f"{_DECODER}model.{up + at}", f"decoder.{i}") for i, at in ((0, 0), (1, 3))]
    for theirs, ours in stages:
        home, at = theirs.rsplit(".", 1)
        names |= {f"{home}.{int(at) + i}": f"{ours}.{i}" for i in range(3)}
    for i, block in enumerate(whole.blocks):
        home = f"{_ENCODER}model.{10 + i}" if i < first else f"{_DECODER}model.{i - first}"
        second = 6 if isinstance(block.dropout, nn.Dropout) else 5
        parts = {1: "conv1", 2: "norm1", 3: "relu", second: "conv2", second + 1: "norm2"}
        names |= {f"{home}.conv_block.{at}": f"blocks.{i}.{part}" for at, part in parts.items()}
    return {**names, f"{_DECODER}model.{up + 7}": "last"}


def _conditioned_names(network: nn.Module) -> dict[str, str]:
    names = {"main.0": "first"}
    for i, layer in enumerate(cast(ConditionedGenerator, network).rest):
        names[f"main.{i + 1}"] = f"rest.{i}"
        if (inner := getattr(layer, "model", None)) is not None:
            names |= {f"main.{i + 1}.main.{j}": f"rest.{i}.model.{j}" for j in range(len(inner))}
    return names


def _count(weights: State, pattern: str) -> int:
    return len({match[1] for key in weights if (match := re.match(pattern, key))})


def _width(weights: State, key: str) -> int:
    if weights[key].ndim != 4:
        raise WeightsError(f"{key} has shape {tuple(weights[key].shape)}, expected a convolution's 4 sides")
    return weights[key].shape[0]
