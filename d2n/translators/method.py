"""A GAN method: its knobs, and what trains with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from d2n.config import MethodKnobs, TranslatorConfig
from d2n.translators.from_config import discriminator_from_config
from d2n.translators.gan import Gan


@dataclass(frozen=True, kw_only=True)
class Method:
    """The row of a method. All that others ask about it is here or in its knobs' row; nobody asks for its name."""

    knobs: MethodKnobs
    """Knobs, presets, and whether it learns from pairs."""
    translator: type[Gan]
    """What trains."""
    judges: int = 1
    """Images that the discriminator sees side by side: 2 where it sees the day beside the night."""
    judge: Callable[[TranslatorConfig, int, torch.Generator | None], nn.Module] = discriminator_from_config
    """Makes a discriminator of images with so many channels."""
    check: Callable[[TranslatorConfig], None] | None = None
    """Raises a D2NError where something that it trains with, such as a file of weights, is not here."""
