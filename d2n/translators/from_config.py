"""The networks that a TranslatorConfig describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from d2n.backbones.mdir_unet import MdirUNet
from d2n.config import TranslatorConfig
from d2n.translators.conditioned import ConditionedGenerator, classifying_from_config, conditioned_from_config
from d2n.translators.networks import PatchDiscriminator, ResNetGenerator, UNetGenerator, init_weights
from d2n.translators.norms import make_norm, set_inference_norm
from d2n.translators.prelu import PReLUGenerator
from d2n.translators.spectral import add_spectral_norm

Generators = UNetGenerator | MdirUNet | ResNetGenerator | ConditionedGenerator


def generator_from_config(config: TranslatorConfig, random: torch.Generator | None = None) -> nn.Module:
    """A generator with fresh weights drawn from ``random``; it has ``stride``, which sides must divide by."""
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation must not move the caller's stream
        generator = _GENERATORS[config.generator](config, random)
    set_inference_norm(generator, config.inference_norm)
    generator.recompute = config.recompute
    return generator


def discriminator_from_config(
    config: TranslatorConfig, in_channels: int, random: torch.Generator | None = None
) -> nn.Module:
    """A discriminator with fresh weights drawn from ``random``."""
    if _GENERATORS[config.generator] is _conditioned:
        return classifying_from_config(config, random=random)
    with torch.random.fork_rng(devices=[]):
        discriminator = PatchDiscriminator(
            in_channels,
            config.discriminator_channels,
            config.discriminator_layers,
            config.discriminator_norm,
            init_gain=config.init_gain,
            generator=random,
        )
        if config.spectral_norm:
            add_spectral_norm(discriminator, random)
    return discriminator


def _unet(config: TranslatorConfig, random: torch.Generator | None) -> UNetGenerator:
    return UNetGenerator(
        config.unet_depth,
        config.generator_channels,
        config.generator_norm,
        config.dropout,
        upsampling=config.upsampling,
        late_input=config.late_input,
        init_gain=config.init_gain,
        generator=random,
    )


def _mdir_unet(config: TranslatorConfig, random: torch.Generator | None) -> MdirUNet:
    norm = None if config.generator_norm == "none" else partial(make_norm, config.generator_norm)
    generator = MdirUNet(config.unet_depth, config.generator_channels, norm)
    init_weights(generator, config.init_gain, random)
    return generator


def _resnet(
    config: TranslatorConfig,
    random: torch.Generator | None,
    kind: type[ResNetGenerator] = ResNetGenerator,
) -> ResNetGenerator:
    return kind(
        config.generator_blocks,
        config.generator_channels,
        config.generator_norm,
        config.dropout,
        upsampling=config.upsampling,
        late_input=config.late_input,
        antialias=config.antialias,
        init_gain=config.init_gain,
        generator=random,
    )


def _resnet_prelu(config: TranslatorConfig, random: torch.Generator | None) -> ResNetGenerator:
    return _resnet(config, random, PReLUGenerator)


def _conditioned(config: TranslatorConfig, random: torch.Generator | None) -> ConditionedGenerator:
    return conditioned_from_config(config, random=random)


_GENERATORS: Mapping[str, Callable[[TranslatorConfig, torch.Generator | None], Generators]] = {
    "unet": _unet,
    "mdir_unet": _mdir_unet,
    "resnet": _resnet,
    "resnet_prelu": _resnet_prelu,
    "conditioned": _conditioned,
}
