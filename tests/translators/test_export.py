"""Exported programs take any batch and size, and load where d2n is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from d2n.translators.export import export_program, exportable, photographs
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.norms import set_inference_norm
from d2n.translators.translate import translate_batch

SIZES = [(32, 32), (16, 100), (33, 47), (1, 1), (5, 130)]


@pytest.mark.parametrize("inference_norm", ["running", pytest.param("batch", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: UNetGenerator(4, 4, "batch", dropout=False), id="unet-batch"),
        pytest.param(
            lambda: UNetGenerator(4, 4, "instance", upsampling="resize", late_input=True), id="unet-instance"
        ),
        pytest.param(lambda: ResNetGenerator(1, 4, "batch", dropout=True), id="resnet-batch"),
        pytest.param(
            lambda: ResNetGenerator(1, 4, "instance", upsampling="resize", late_input=True),
            id="resnet-instance",
        ),
        pytest.param(lambda: ResNetGenerator(1, 4, "instance", antialias=True), id="resnet-antialias"),
    ],
)
def test_exported_equals_eager_at_every_size(make, inference_norm: str, tmp_path: Path) -> None:
    generator = make()
    with torch.no_grad():
        generator(torch.randn(4, 3, 32, 32))  # running statistics that are not the fresh ones
    torch.export.save(export_program(generator, generator.stride, inference_norm), tmp_path / "g.pt2")
    loaded = torch.export.load(tmp_path / "g.pt2").module()
    eager = exportable(generator, generator.stride, inference_norm)
    set_inference_norm(generator, inference_norm)
    for batch in (1, 3):
        for height, width in SIZES:
            x = torch.rand(batch, 3, height, width) * 2 - 1
            y = loaded(x)
            assert y.shape == x.shape
            torch.testing.assert_close(y, eager(x), rtol=0, atol=0)
            torch.testing.assert_close(y, translate_batch(generator, x, generator.stride), rtol=0, atol=0)


def test_tiny_images_are_replicated_as_translate_batch_does() -> None:
    """Too small to reflect on one side: both are replicated."""

    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x
            return x

    module = exportable(Same(), 8)
    module(torch.arange(3.0).view(1, 1, 1, 3).expand(1, 3, 1, 3))
    assert module.generator.seen[0, 0, 0].tolist() == [0, 0, 0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("make", [lambda: UNetGenerator(6, 4), lambda: ResNetGenerator(1, 4)])
def test_photographs_come_as_floats_or_bytes_of_any_size(make) -> None:
    generator = make().eval()
    auto = torch.export.Dim.AUTO
    module = photographs(generator, generator.stride)
    program = torch.export.export(
        module, (torch.zeros(2, 3, 67, 129),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )
    loaded = program.module()
    for batch, height, width in ((1, 16, 16), (3, 17, 90), (2, 64, 64), (0, 20, 20), (1, 33, 150)):
        photos = torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8)
        for images, day in ((photos, photos.float() / 127.5 - 1), (photos / 255, photos / 255 * 2 - 1)):
            expected = ((translate_batch(generator, day, generator.stride) + 1) / 2).clamp(0, 1)
            torch.testing.assert_close(loaded(images), expected, rtol=0, atol=0)
    images = torch.rand(1, 3, 20, 24)
    for wrong, words in (
        (images * 255, "outside"),
        (images * 2 - 1, "outside"),
        (images * torch.nan, "not finite"),
        (images / 0, "not finite"),
        (images.double(), "neither float32"),
        (images.half(), "neither float32"),
        (images.bfloat16(), "neither float32"),
        (images.int(), "neither float32"),
        ((images * 100).to(torch.int8), "neither float32"),
        (images > 0, "neither float32"),
        (images[..., :15], "16 pixels"),
    ):
        with pytest.raises(RuntimeError, match=words) as caught:
            loaded(wrong)
        assert "\n" not in str(caught.value)


def test_exporting_leaves_the_generator_as_it_was() -> None:
    generator = ResNetGenerator(1, 4, "batch")
    exportable(generator, 4, "batch")
    assert generator.training
    assert all(p.requires_grad for p in generator.parameters())
    assert generator.encoder[0][1].inference_norm == "running"


@pytest.mark.slow
def test_loads_without_d2n(tmp_path: Path) -> None:
    generator = ResNetGenerator(1, 4)
    torch.export.save(export_program(generator, 4), tmp_path / "g.pt2")
    x = np.random.default_rng(0).random((1, 3, 9, 10), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys; sys.modules['d2n'] = None\n"
        "import numpy as np, torch\n"
        "module = torch.export.load(sys.argv[1] + '/g.pt2').module()\n"
        "y = module(torch.from_numpy(np.load(sys.argv[1] + '/x.npy')))\n"
        "np.save(sys.argv[1] + '/y.npy', y.detach().numpy())\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=200, cwd=tmp_path)
    expected = translate_batch(generator, torch.from_numpy(x), 4).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, atol=1e-6)
