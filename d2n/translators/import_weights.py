"""Weights of the public PyTorch implementation of pix2pix, CycleGAN and CUT, in and out; of other codes, in.

gandtr's and mdir's files hold the same networks in a description; those of ComboGAN, ToDayGAN and StarGAN: see
import_many.py.

Its checkpoints are state dicts, one network a file (``latest_net_G.pth``; CycleGAN: ``latest_net_G_A.pth``
is day to night when domain A is the day). The names that are mapped, ours on the left:

ResNet (n blocks; its layers stand in one ``model`` list)
    encoder.0 .1 .2                     model.1, model.4, model.7 (each norm one further)
    blocks.i.conv1, norm1               model.<10 + i>.conv_block.1, .2
    blocks.i.conv2, norm2               model.<10 + i>.conv_block.5, .6 (with dropout .6, .7)
    decoder.0, .1                       model.<10 + n>, model.<13 + n> (each norm one further)
    last                                model.<17 + n>
ResNet with antialias (CUT's)
    encoder.0 .1 .2                     model.1, model.4, model.8
    blocks.i                            model.<12 + i>
    decoder.0, .1                       model.<13 + n>, model.<17 + n>
    last                                model.<21 + n>
U-Net (each level holds the next: ``model.`` + ``model.1.`` + ``model.3.`` ...)
    down.0.conv                         model.model.0
    down.i.conv, norm                   <level i>.model.1, .2
    up.<i - 1>.conv, norm               <level i>.model.5, .6 (innermost .3, .4)
    last.conv                           model.model.3
PatchGAN
    model.*                             model.* (one-pixel: net.*)

Old files carry running statistics of instance norms, and antialiased ones their filters, which nothing reads:
they are passed over.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import torch
from torch import Tensor, nn

from d2n.backbones.weights import read_weights_file, state_dict
from d2n.config import METHODS, TranslatorConfig
from d2n.errors import WeightsError
from d2n.files.fields import check_fields
from d2n.translators import import_many
from d2n.translators.checkpoint import check_weights, load_weights
from d2n.translators.from_config import generator_from_config
from d2n.translators.networks import InterpolateConv, PatchDiscriminator, ResNetGenerator, UNetGenerator
from d2n.translators.prelu import PReLUGenerator

Network = ResNetGenerator | UNetGenerator | PatchDiscriminator


def read_reference_file(path: str | Path) -> dict[str, Tensor]:
    """A state dict of the public implementation; WeightsError when it is none."""
    content = read_weights_file(path, damaged="cannot be read as a state dict")
    net = content.get("net", content) if isinstance(content, Mapping) else content
    if isinstance(net, Mapping) and isinstance(net.get("model_state"), Mapping):  # gandtr's and mdir's
        content = net["model_state"]
    loaded = state_dict(content, str(path))
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def import_generator(
    path: str | Path,
    config: TranslatorConfig,
    *,
    decoder: str | Path | None = None,
    domain: int | None = None,
) -> tuple[nn.Module, TranslatorConfig]:
    """A generator file's network, and ``config`` with the knobs that its weights tell.

    checkpoint.save_generator keeps both as a generator that every verb takes. ``decoder`` is the file of the other
    half where ``path`` is an encoder's, ``domain`` what StarGAN's generator shall make. WeightsError when it is none.
    """
    public = _recognised(path, decoder, domain)
    kinds = _kinds(type(config))
    if public.kind not in kinds:
        fitting = [name for name, row in METHODS.items() if public.kind in _kinds(row.config)]
        raise WeightsError(
            f"{path}: its network is a {public.kind}, and {config.method} has {' or '.join(kinds)}: expected --method "
            f"{' or '.join(fitting)}"
        )
    check_fields(type(config), public.knobs, str(path), WeightsError)
    knobs: dict[str, Any] = {
        "antialias": False,
        **public.knobs,
        "generator": public.kind,
        "upsampling": "transposed",
        "late_input": False,
    }
    config = dataclasses.replace(config, **knobs)
    with torch.device("meta"):  # shapes alone: a file of a few tensors may name a network of many GB
        made = generator_from_config(config)
        ours = _ours(made, public.weights, str(path), public.names(made))
    network = generator_from_config(config)
    load_weights(network, ours, str(path))
    return network, config


def method_of(path: str | Path) -> str:
    """The method whose public code writes such a file; of several with one network the first."""
    weights = read_reference_file(path)
    if import_many.is_conditioned(weights):
        return "stargan"
    if import_many.is_encoder(weights) or import_many.is_decoder(weights):
        return "combogan"
    public = _plain(weights, path)
    if public.kind == "resnet":
        return "cut" if public.knobs.get("antialias") else "cyclegan"
    return "pix2pix" if public.kind == "unet" else "photometric"


def _recognised(path: str | Path, decoder: str | Path | None, domain: int | None) -> import_many.Public:
    weights = read_reference_file(path)
    is_half = import_many.is_encoder(weights) or import_many.is_decoder(weights)
    if decoder is not None and not is_half:
        raise WeightsError(
            f"{path}: is a whole generator, --decoder is for the encoders of ComboGAN and ToDayGAN"
        )
    if domain is not None and not import_many.is_conditioned(weights):
        raise WeightsError(f"{path}: makes one domain alone, --domain is for StarGAN's generator")
    try:
        if is_half:
            return import_many.halves(weights, None if decoder is None else read_reference_file(decoder))
        if import_many.is_conditioned(weights):
            return import_many.conditioned(weights, domain)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return _plain(weights, path)


def _plain(weights: Mapping[str, Tensor], path: str | Path) -> import_many.Public:
    if import_many.is_mdir_unet(weights):
        return import_many.mdir_unet(weights)
    try:
        kind, knobs = generator_of(weights)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return import_many.Public(kind, weights, knobs, lambda network: _names(cast(Network, network)))


def _kinds(config: type[TranslatorConfig]) -> tuple[str, ...]:
    return get_args(get_type_hints(config)["generator"])


def import_reference(network: Network, weights: Mapping[str, Tensor], source: str = "weights") -> None:
    """Put the public implementation's ``weights`` into ``network``; WeightsError names the keys that differ."""
    load_weights(network, _ours(network, weights, source, _names(network)), source)


def _ours(
    network: nn.Module, weights: Mapping[str, Tensor], source: str, names: Mapping[str, str]
) -> dict[str, Tensor]:
    """The weights under our names; WeightsError where they are of another network."""
    ours = {
        names.get(_module_of(key), f"({_module_of(key)})") + _leaf_of(key): t for key, t in weights.items()
    }
    own = network.state_dict()
    unread = re.compile(r"\.(running_mean|running_var|num_batches_tracked|filt)$")
    kept = {key: value for key, value in ours.items() if key in own or not unread.search(key)}
    check_weights(network, kept, source)
    return kept


def export_reference(network: nn.Module) -> dict[str, Tensor]:
    """The state dict under the public implementation's names; WeightsError of a network that it has not."""
    if isinstance(network, PReLUGenerator) or not isinstance(network, Network):
        raise WeightsError(
            f"the public implementation of pix2pix and CycleGAN has no {type(network).__name__}: expected a U-Net, a "
            "ResNet or a PatchGAN"
        )
    theirs = {ours: reference for reference, ours in _names(network).items()}
    weights = network.state_dict()
    return {theirs[_module_of(key)] + _leaf_of(key): value.detach().clone() for key, value in weights.items()}


def generator_of(weights: Mapping[str, Tensor]) -> tuple[str, dict[str, int | str | bool]]:
    """("resnet" or "unet", knobs) that fit a generator's state dict: depth or blocks, channels, norm, dropout.

    Dropout leaves a trace in a ResNet's numbering alone; a U-Net's is told as False.
    """
    norm = _norm_of(weights)
    if "model.model.0.weight" in weights:
        depth = 1 + sum(
            1 for key in weights if re.fullmatch(r"model\.model\.1\.(model\.3\.)*model\.1\.weight", key)
        )
        channels = _channels(weights, "model.model.0.weight")
        return "unet", {"unet_depth": depth, "generator_channels": channels, "generator_norm": norm}
    if import_many.is_discriminator(weights):
        raise WeightsError("is a discriminator, expected a generator")
    if any(key.startswith(("outerblock.", "down.2.down.")) for key in weights):
        raise WeightsError(
            "is a U-Net of mdir besides its p2p_unet, which alone is here; its ResNets are taken too"
        )
    if "model.1.weight" not in weights:
        raise WeightsError("neither a U-Net nor a ResNet of the public implementation: no model.1.weight")
    blocks = {match[1] for key in weights if (match := re.match(r"model\.(\d+)\.conv_block\.", key))}
    return "resnet", {
        "generator_blocks": len(blocks),
        "generator_channels": _channels(weights, "model.1.weight"),
        "generator_norm": norm,
        **({"antialias": True} if getattr(weights.get("model.8.weight"), "ndim", 0) == 4 else {}),
        "dropout": any(".conv_block.6.weight" in key and value.ndim == 4 for key, value in weights.items()),
    }


def _channels(weights: Mapping[str, Tensor], key: str) -> int:
    if weights[key].ndim != 4:
        raise WeightsError(f"{key} has shape {tuple(weights[key].shape)}, expected a convolution's 4 sides")
    return weights[key].shape[0]


def _norm_of(weights: Mapping[str, Tensor]) -> str:
    affine = any(value.ndim == 1 and key.endswith(".weight") for key, value in weights.items())
    if affine:
        return "batch"
    biases = sum(1 for key in weights if key.endswith(".bias"))
    return "instance" if biases > 1 else "none"


def _names(network: Network) -> dict[str, str]:
    """Module names: the public implementation's to ours."""
    if isinstance(network, ResNetGenerator):
        return _resnet_names(network)
    if isinstance(network, UNetGenerator):
        return _unet_names(network)
    their_list = "net" if isinstance(network.model[0], nn.Conv2d) and network.smallest_side == 1 else "model"
    return {f"{their_list}.{i}": f"model.{i}" for i in range(len(network.model))}


def _resnet_names(network: ResNetGenerator) -> dict[str, str]:
    antialias = isinstance(cast(nn.Sequential, network.decoder[0])[0], InterpolateConv)
    _refuse_options(network.late_input, network, antialias)
    n = len(network.blocks)
    downs, first, ups, last = ((1, 4, 8), 12, (13, 17), 21) if antialias else ((1, 4, 7), 10, (10, 13), 17)
    names: dict[str, str] = {}
    for i, at in enumerate(downs):
        names |= {f"model.{at}": f"encoder.{i}.0", f"model.{at + 1}": f"encoder.{i}.1"}
    for i, block in enumerate(network.blocks):
        second = 6 if isinstance(block.dropout, nn.Dropout) else 5
        parts = {"conv1": 1, "norm1": 2, "conv2": second, "norm2": second + 1}
        names |= {f"model.{first + i}.conv_block.{at}": f"blocks.{i}.{part}" for part, at in parts.items()}
    for i, at in enumerate(ups):
        conv = f"decoder.{i}.0.conv" if antialias else f"decoder.{i}.0"
        names |= {f"model.{at + n}": conv, f"model.{at + n + 1}": f"decoder.{i}.1"}
    return {**names, f"model.{last + n}": "last"}


def _unet_names(network: UNetGenerator) -> dict[str, str]:
    _refuse_options(not isinstance(getattr(network.last, "conv", None), nn.ConvTranspose2d), network)
    depth = len(network.down)
    names = {"model.model.0": "down.0.conv", "model.model.3": "last.conv"}
    for level in range(1, depth):
        prefix = "model.model.1." + "model.3." * (level - 1) + "model"
        up = 3 if level == depth - 1 else 5
        ours = {1: f"down.{level}.conv", 2: f"down.{level}.norm"} if up == 5 else {1: f"down.{level}.conv"}
        ours |= {up: f"up.{level - 1}.conv", up + 1: f"up.{level - 1}.norm"}
        names |= {f"{prefix}.{at}": name for at, name in ours.items()}
    return names


def _refuse_options(late_input: bool, network: nn.Module, antialias: bool = False) -> None:
    resized = not antialias and not any(
        isinstance(module, nn.ConvTranspose2d) for module in network.modules()
    )
    if late_input or resized:
        raise WeightsError(
            "the public implementation has neither late_input nor upsampling: resize; "
            "use translator.late_input=false translator.upsampling=transposed"
        )


def _module_of(key: str) -> str:
    return key.rpartition(".")[0]


def _leaf_of(key: str) -> str:
    return "." + key.rpartition(".")[2]
