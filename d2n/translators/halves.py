"""A residual generator in two halves: an encoder of one domain, a decoder of another (Anoosheh et al. 2018, 3.1)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.config import TranslatorConfig
from d2n.translators.from_config import generator_from_config
from d2n.translators.networks import ResNetGenerator
from d2n.translators.recompute import run


class Encoder(nn.Module):
    """The way down and the first half of the blocks, rounded down: (B, 3, H, W) to (B, 4 C, H / 4, W / 4)."""

    def __init__(self, whole: ResNetGenerator) -> None:
        super().__init__()
        self.encoder = whole.encoder
        self.blocks = whole.blocks[: len(whole.blocks) // 2]
        self.recompute = whole.recompute

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in (*self.encoder, *self.blocks):
            hidden = run(layer, hidden, self.recompute)
        return hidden


class Decoder(nn.Module):
    """The other blocks and the way up: a code, and the image that it is of, which joins where ``late_input`` is on."""

    def __init__(self, whole: ResNetGenerator) -> None:
        super().__init__()
        self.blocks = whole.blocks[len(whole.blocks) // 2 :]
        self.recompute = whole.recompute
        self.decoder, self.last, self.late_input = whole.decoder, whole.last, whole.late_input

    def forward(self, code: Tensor, images: Tensor) -> Tensor:
        hidden = code
        for layer in (*self.blocks, *self.decoder):
            hidden = run(layer, hidden, self.recompute)
        if self.late_input:
            pad = (0, -images.shape[-1] % 4, 0, -images.shape[-2] % 4)
            beside = F.pad(images, pad, mode="replicate") if any(pad) else images
            hidden = torch.cat([hidden, beside], dim=1)
        return torch.tanh(self.last(hidden))


def halves(config: TranslatorConfig, random: torch.Generator | None = None) -> tuple[Encoder, Decoder]:
    """Both halves of a generator with fresh weights drawn from ``random``."""
    whole = cast(ResNetGenerator, generator_from_config(config, random))
    return Encoder(whole), Decoder(whole)


def joined(config: TranslatorConfig, encoder: Encoder, decoder: Decoder) -> ResNetGenerator:
    """The generator of an encoder and a decoder, which stay theirs: what it is saved, scored and exported as."""
    with torch.device("meta"):
        whole = cast(ResNetGenerator, generator_from_config(config))
    whole.encoder, whole.decoder, whole.last = encoder.encoder, decoder.decoder, decoder.last
    whole.blocks = nn.ModuleList([*encoder.blocks, *decoder.blocks])
    return whole
