"""Convolutions for a GPU: folded ones are the same, and a bias that a norm takes away is of no account."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from d2n.translators import convs
from d2n.translators.networks import PatchDiscriminator, ResNetGenerator


@pytest.mark.parametrize(("c_in", "c_out"), [(3, 5), (6, 3)])
@pytest.mark.parametrize(("height", "width"), [(12, 16), (8, 20)])
def test_a_folded_convolution_is_the_convolution(c_in: int, c_out: int, height: int, width: int) -> None:
    x = torch.randn(2, c_in, height, width, dtype=torch.float64).to(memory_format=torch.channels_last)
    weight, bias = (
        torch.randn(c_out, c_in, 7, 7, dtype=torch.float64),
        torch.randn(c_out, dtype=torch.float64),
    )
    inputs = tuple(tensor.requires_grad_() for tensor in (x, weight, bias))
    found, expected = convs.folded_conv(*inputs), F.conv2d(F.pad(x, (3,) * 4, mode="reflect"), weight, bias)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    for ours, true in zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, true)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("make", "expected"), [(lambda: ResNetGenerator(2, 4), 6), (lambda: PatchDiscriminator(3, 4), 3)]
)
def test_without_the_biases_before_a_norm_a_network_gives_the_same(make, expected) -> None:
    network = make().double()
    marked = [part for part in network.modules() if getattr(part, "before_norm", False)]
    assert len(marked) == expected
    with torch.no_grad():
        for part in marked:
            part.bias.normal_()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    with_biases = network(x)
    with torch.no_grad():
        for part in marked:
            part.bias.zero_()
    torch.testing.assert_close(network(x), with_biases)


@pytest.mark.parametrize(
    "make", [lambda: ResNetGenerator(2, 4, "batch"), lambda: PatchDiscriminator(3, 4, norm="batch")]
)
def test_before_another_norm_no_bias_is_left_out(make) -> None:
    assert not any(getattr(part, "before_norm", False) for part in make().modules())


def test_a_processor_keeps_all_and_folds_nothing() -> None:
    layer = convs.Conv2d(3, 8, 7, before_norm=True)
    x = torch.rand(1, 3, 16, 16).to(memory_format=torch.channels_last)
    assert convs.kept_bias(layer, x) is layer.bias
    assert not convs.folds(layer, x)
