"""Compiled networks: the numbers of those that are not, but for rounding, at every size that a training meets."""

from __future__ import annotations

import pytest
import torch

from d2n.config import translator_config
from d2n.core import Compute
from d2n.translators import build

pytestmark = [
    pytest.mark.slow,  # compiling takes a minute
    pytest.mark.filterwarnings("ignore"),  # the compiler's own
]


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_steps_and_translations_of_other_sizes(method: str) -> None:
    config = translator_config(method, "toy", generator_channels=4, discriminator_channels=4)
    plain, compiled = (
        build(config, total_steps=9, seed=0, compute=Compute(channels_last=True, compile=on))
        for on in (False, True)
    )
    random = torch.Generator().manual_seed(0)
    for size, count in ((64, 2), (64, 2), (128, 2)):
        images = [torch.rand(count, 3, size, size, generator=random) * 2 - 1 for _ in range(2)]
        expected, found = plain.step(*images), compiled.step(*images)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0.01, atol=0.01, msg=name)
        photo = torch.rand(1, 3, size - 10, size + 33, generator=random) * 2 - 1
        torch.testing.assert_close(compiled.translate(photo), plain.translate(photo), rtol=0, atol=0.05)
