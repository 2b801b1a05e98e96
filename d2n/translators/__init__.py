"""Translators: GANs that turn day photographs into night. METHODS are the choices; ``build`` makes one."""

from __future__ import annotations

from collections.abc import Sequence

from d2n.config import TranslatorConfig
from d2n.core import Compute
from d2n.errors import ConfigError
from d2n.translators import cut, cyclegan, hedngan, photometric, pix2pix, stargan
from d2n.translators.combogan import METHOD as COMBOGAN
from d2n.translators.gan import DAY_TO_NIGHT, Gan
from d2n.translators.method import Method
from d2n.translators.todaygan import METHOD as TODAYGAN

METHODS: dict[str, Method] = {
    "pix2pix": pix2pix.METHOD,
    "cyclegan": cyclegan.METHOD,
    "cut": cut.METHOD,
    "hedngan": hedngan.METHOD,
    "combogan": COMBOGAN,
    "stargan": stargan.METHOD,
    "todaygan": TODAYGAN,
    "photometric": photometric.METHOD,
}


def build(
    config: TranslatorConfig,
    *,
    total_steps: int,
    seed: int,
    compute: Compute = Compute(),  # noqa: B008 - frozen
    domains: Sequence[str] = DAY_TO_NIGHT,
) -> Gan:
    """A translator with fresh weights from ``seed``.

    ``total_steps`` is what the learning rate decays over; ``domains`` are what it translates between, from the
    first to the second.
    """
    if config.method not in METHODS:
        raise ConfigError(f"translator.method is {config.method!r}, expected one of {', '.join(METHODS)}")
    if len(domains) > 2 and not METHODS[config.method].knobs.many:
        raise ConfigError(f"{config.method} translates between two domains, found {', '.join(domains)}")
    return METHODS[config.method].translator(
        config,
        total_steps=total_steps,
        seed=seed,
        compute=compute,
        domains=domains,
    )
