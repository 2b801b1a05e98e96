"""Translators: GANs that turn day photographs into night. METHODS are the choices; ``build`` makes one."""

from __future__ import annotations

from typing import Literal

from d2n.config import TranslatorConfig
from d2n.errors import ConfigError
from d2n.translators import cut, cyclegan, pix2pix
from d2n.translators.gan import Gan
from d2n.translators.method import Method

METHODS: dict[str, Method] = {
    "pix2pix": pix2pix.METHOD,
    "cyclegan": cyclegan.METHOD,
    "cut": cut.METHOD,
}


def build(
    config: TranslatorConfig,
    *,
    total_steps: int,
    seed: int,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
    channels_last: bool = False,
    compile: bool = False,  # noqa: A002 - the knob's name, as in torch.compile
) -> Gan:
    """A translator with fresh weights from ``seed``.

    ``total_steps`` is what the learning rate decays over. ``precision`` comes from
    d2n.devices.resolve_precision; ``channels_last`` is faster on GPUs and CPUs alike.
    """
    if config.method not in METHODS:
        raise ConfigError(f"translator.method is {config.method!r}, expected one of {', '.join(METHODS)}")
    return METHODS[config.method].translator(
        config,
        total_steps=total_steps,
        seed=seed,
        device=device,
        precision=precision,
        channels_last=channels_last,
        compile=compile,
    )
