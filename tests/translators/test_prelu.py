"""The residual generator of ComboGAN's public code."""

from __future__ import annotations

import torch
from torch import nn

from d2n.config import translator_config
from d2n.translators.from_config import generator_from_config
from d2n.translators.halves import halves
from d2n.translators.prelu import PReLUGenerator


def test_parameters_are_the_published_ones() -> None:
    """5,099,143 of the public code's encoder with 4 of 9 blocks, 6,565,770 of its decoder."""
    counts = [
        sum(p.numel() for p in half.parameters())
        for half in halves(translator_config("todaygan", "published"))
    ]
    assert counts == [5_099_143, 6_565_770]


def test_it_has_prelu_alone_and_transposed_convolutions_of_four() -> None:
    generator = PReLUGenerator(2, 4)
    kinds = [type(part) for part in generator.modules()]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.PReLU) == 3 + 2 + 2
    ups = [part for part in generator.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert [up.kernel_size for up in ups] == [(4, 4), (4, 4)]
    assert generator(torch.zeros(1, 3, 17, 22)).shape == (1, 3, 20, 24)


def test_its_weights_follow_from_the_seed_alone() -> None:
    config = translator_config("combogan", generator="resnet_prelu", generator_channels=4, generator_blocks=1)
    one, two = (generator_from_config(config, torch.Generator().manual_seed(3)) for _ in range(2))
    assert isinstance(one, PReLUGenerator)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.last.bias is not None
    assert one.last.bias.abs().max() == 0
