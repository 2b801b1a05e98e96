"""A generator in strips gives what it gives of the whole image, whatever it is made of."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.errors import ImageError
from d2n.translators import strips
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.norms import set_inference_norm
from d2n.translators.prelu import PReLUGenerator
from d2n.translators.strips import Field
from d2n.translators.translate import translate_batch, translate_image


@pytest.fixture(autouse=True)
def thin_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """So thin that every layer of a small picture takes several."""
    monkeypatch.setattr(strips, "STRIP_ELEMENTS", 1 << 15)


def photograph(height: int, width: int) -> np.ndarray:
    """Bright above and dark below, so that a part's statistics are not the whole's."""
    noise = np.random.default_rng(0).integers(0, 100, (height, width, 3))
    return (noise + np.linspace(150, 0, height)[:, None, None]).astype(np.uint8)


def of_rows(x: Tensor) -> Field:
    return Field(tuple(x.shape), x.dtype, x.device, lambda first, last: x[:, :, first:last])


NETS: dict[str, Callable[..., nn.Module]] = {
    "antialiased": lambda *a, **k: ResNetGenerator(2, 4, *a, antialias=True, init_gain=0.3, **k),
    "prelu": lambda *a, **k: PReLUGenerator(2, 4, *a, init_gain=0.3, **k),
    "resnet": lambda *a, **k: ResNetGenerator(2, 4, *a, init_gain=0.3, **k),
    "unet": lambda *a, **k: UNetGenerator(6, 4, *a, init_gain=0.3, **k),
}


@pytest.mark.parametrize(
    ("norm", "inference_norm"),
    [("instance", "running"), ("batch", "running"), ("batch", "batch"), ("none", "running")],
)
@pytest.mark.parametrize("kind", list(NETS))
def test_every_generator_of_the_house(
    kind: str, norm: str, inference_norm: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, strips.__name__)
    for dropout, upsampling, late_input in [(False, "transposed", False), (True, "resize", True)]:
        net = NETS[kind](norm, dropout, upsampling=upsampling, late_input=late_input).double()
        with torch.no_grad():
            net(
                torch.randn(2, 3, 64, 64, dtype=torch.float64)
            )  # running statistics that are not the fresh ones
        set_inference_norm(net, inference_norm)
        x = torch.rand(1, 3, 75, 131, dtype=torch.float64) * 2 - 1
        whole = translate_batch(net, x, net.stride)
        field = translate_batch(net, of_rows(x), net.stride)
        torch.testing.assert_close(field.tensor(), whole, rtol=0, atol=1e-8)
    assert not caplog.records  # nothing was done to a whole layer


def test_a_photograph_in_strips_is_at_most_one_level_off_the_whole() -> None:
    image = photograph(200, 150)
    net = ResNetGenerator(3, 8, init_gain=0.1)
    whole = translate_image(net, image, 4).astype(int)
    assert whole.std() > 20
    assert np.abs(translate_image(net, image, 4, max_pixels=64 * 64) - whole).max() <= 1
    top = translate_image(net, image[:64], 4).astype(int)
    assert np.abs(top - whole[:64]).mean() > 5  # a tile would have other statistics


def test_strips_are_thin_and_no_row_is_made_twice() -> None:
    asked: list[tuple[int, int]] = []
    x = torch.randn(1, 3, 400, 100)

    def rows(first: int, last: int) -> Tensor:
        asked.append((first, last))
        return x[:, :, first:last]

    net = nn.Conv2d(3, 8, 3, padding=1)
    with torch.no_grad():
        found = net(Field(tuple(x.shape), x.dtype, x.device, rows))
        torch.testing.assert_close(found.tensor(), net(x))
    assert max(last - first for first, last in asked) <= 14
    assert sum(last - first for first, last in asked) <= 400 + 2 * len(asked)  # and the rows around


class Odd(nn.Module):
    """What no generator of the house does: all of it must come out right all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=(2, 1), padding=(2, 0), dilation=(1, 2), groups=1)
        self.up = nn.ConvTranspose2d(4, 4, 5, stride=3, padding=2, output_padding=1, groups=2)
        self.same = nn.Conv2d(4, 4, 3, padding="same", padding_mode="zeros")

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.conv(F.pad(x, (1, 2, 3, 0), mode="replicate")))[:, :, 1:, 1:][..., :-1, :]
        y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        y = self.same(F.pad(y, (1, 0, 2, 5), value=0.25)) * 0.5 + 1
        y = F.gelu(y) + y.mean(dim=(2, 3), keepdim=True) - y.abs() / 3 - (-y)
        return torch.cat([y, y[:, 1:3]], dim=1).clamp(-1, 1)


@pytest.mark.parametrize("size", [(40, 31), (9, 12)])
def test_other_functions_and_arguments_are_right_too(size: tuple[int, int]) -> None:
    net = Odd().double()
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        found = net(of_rows(x))
        assert isinstance(found, Field)
        torch.testing.assert_close(found.tensor(), net(x), rtol=0, atol=1e-10)
        torch.testing.assert_close(torch.cat([found.rows(i, i + 1) for i in range(5)], 2), net(x)[:, :, :5])


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
def test_borders_row_by_row(mode: str) -> None:
    x = torch.randn(1, 2, 6, 5)
    padded = F.pad(of_rows(x), (2, 1, 5, 4), mode=mode)
    expected = F.pad(x, (2, 1, 5, 4), mode=mode)
    assert padded.shape == expected.shape
    for first, last in [(0, 1), (0, 15), (4, 7), (14, 15), (11, 13), (2, 12)]:
        assert torch.equal(padded.rows(first, last), expected[:, :, first:last])


def test_statistics_of_a_flat_and_bright_channel() -> None:
    """A sum of squares less a square of sums would be all rounding here."""
    x = 1000 + 1e-2 * torch.randn(1, 3, 300, 64)
    mean, variance = strips._moments(of_rows(x))
    torch.testing.assert_close(mean.double(), x.double().mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), x.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


def test_what_does_not_fit_into_memory_is_told() -> None:
    with pytest.raises(
        ImageError, match=r"64 channels at 4000 x 3000 takes 3.1 GB and 2.0 GB .*--shorter-side-px"
    ):
        strips.refuse_beyond(2_000_000_000, 3_072_000_000, torch.Size((1, 64, 3000, 4000)))


def test_one_image_at_a_time() -> None:
    with pytest.raises(ImageError, match="expected one image"):
        Field.of(torch.zeros(2, 3, 4, 4))
