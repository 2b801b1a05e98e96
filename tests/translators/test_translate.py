"""Any size in, the same size out; strips; rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from d2n.errors import ImageError
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.padding import pad_to_stride, unpad
from d2n.translators.translate import translate_batch, translate_image


class Recording(nn.Module):
    """Gives its input back, times a factor, and remembers the shapes."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(x.shape))
        return x * self.factor


def test_pads_are_centred_reflections_with_the_odd_pixel_right_and_bottom() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    padded, pads = pad_to_stride(x, 4)
    assert pads == (1, 2, 0, 1)
    assert padded[0, 0, 0].tolist() == [1, 0, 1, 2, 3, 4, 3, 2]
    assert padded[0, 0, :, 1].tolist() == [0, 5, 10, 5]
    assert torch.equal(unpad(padded, pads), x)


def test_sides_too_small_to_reflect_are_replicated() -> None:
    padded, pads = pad_to_stride(torch.tensor([[[[1.0, 2.0]]]]), 8)
    assert pads == (3, 3, 3, 4)
    assert padded[0, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


def test_fitting_images_are_not_copied() -> None:
    x = torch.zeros(1, 3, 8, 12)
    assert pad_to_stride(x, 4)[0] is x


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (1, 1), (33, 5)])
@pytest.mark.parametrize("make", [lambda: UNetGenerator(4, 4, "instance"), lambda: ResNetGenerator(1, 4)])
def test_any_size(make, size: tuple[int, int]) -> None:
    net = make()
    x = torch.randn(2, 3, *size)
    assert translate_batch(net, x, net.stride).shape == x.shape
    assert net.training


def test_beyond_the_bound_an_image_goes_through_in_strips_and_is_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    net = Recording(0.5)
    whole = translate_image(net, image, 4)
    assert np.array_equal(translate_image(net, image, 4, max_pixels=90 * 130 - 1), whole)
    assert net.shapes == [(1, 3, 92, 132)] * 2
    assert net.training


def test_a_wrong_array_is_told() -> None:
    with pytest.raises(ImageError, match=r"\(4, 4\), uint8; expected \(H, W, 3\)"):
        translate_image(Recording(), np.zeros((4, 4), np.uint8), 4)
