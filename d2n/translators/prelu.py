"""The residual generator as ComboGAN's and ToDayGAN's public code has it."""

from __future__ import annotations

from typing import Any

from torch import nn

from d2n.translators.networks import ResNetGenerator, init_weights


class PReLUGenerator(ResNetGenerator):
    """A ResNetGenerator with PReLU in place of ReLU and 4 x 4 transposed convolutions in place of 3 x 3.

    11,664,913 parameters with 9 blocks and 64 channels. ``upsampling`` resize and ``antialias`` keep their own ways up.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for layer in (*self.encoder, *self.decoder):
            for i, part in enumerate(layer):
                if isinstance(part, nn.ReLU):
                    layer[i] = nn.PReLU()
                elif isinstance(part, nn.ConvTranspose2d):
                    layer[i] = _four_by_four(part)
        for block in self.blocks:
            block.relu = nn.PReLU()
        init_weights(self, options.get("init_gain", 0.02), options.get("generator"))


def _four_by_four(conv: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(
        conv.in_channels, conv.out_channels, 4, stride=2, padding=1, bias=conv.bias is not None
    )
