"""Files for other tools: the same pixels as the generator's, at any batch and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from d2n.translators import exchange
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.translate import translate_batch

SIZES = (
    (16, 16),
    (17, 90),
    (64, 64),
    (33, 200),
)  # the first two are too small for a U-Net of depth 6 to reflect


def _worst(run, generator: torch.nn.Module) -> float:
    worst = 0.0
    for number, (height, width) in enumerate(SIZES):
        images = torch.rand(1 + 2 * (number % 2), 3, height, width)
        expected = ((translate_batch(generator, images * 2 - 1, generator.stride) + 1) / 2).clamp(0, 1)
        found = run(images.numpy())
        assert found.shape == tuple(images.shape)
        worst = max(worst, float(np.abs(found - expected.numpy()).max()))
    return worst


@pytest.mark.parametrize(
    "make", [lambda: UNetGenerator(6, 4), lambda: ResNetGenerator(1, 4, late_input=True, upsampling="resize")]
)
def test_torchscript_gives_the_same_pixels(make, tmp_path: Path) -> None:
    generator = make().eval()
    exchange.write_torchscript(generator, generator.stride, tmp_path / "g.pt")
    assert _worst(exchange.run_torchscript(tmp_path / "g.pt"), generator) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: UNetGenerator(6, 4), lambda: ResNetGenerator(1, 4, antialias=True)])
def test_onnx_gives_the_same_pixels(make, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    generator = make().eval()
    exchange.write_onnx(generator, generator.stride, tmp_path / "g.onnx")
    assert _worst(exchange.run_onnx(tmp_path / "g.onnx"), generator) < 1e-5
