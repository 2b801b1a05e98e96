"""Reflection-padded convolutions with fewer multiplications: the numbers and gradients of torch's own layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2n.config import translator_config
from d2n.core import Compute
from d2n.translators import build, winograd

SHAPES = [(1, 2, 2), (1, 4, 6), (3, 8, 2)]


@pytest.fixture
def always(monkeypatch):
    """Take the short way whatever the size."""
    monkeypatch.setattr(winograd, "_ENOUGH_CHANNELS", 1)
    monkeypatch.setattr(winograd, "_ENOUGH_TILES", 1)


@pytest.fixture
def refused(monkeypatch):
    """Fail where the library's convolution is called."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the library's convolution was called")

    monkeypatch.setattr(F, "conv2d", refuse)


def pair(c_in, c_out, side=3, bias=True):
    torch.manual_seed(0)
    ours = winograd.ReflectConv2d(c_in, c_out, side, bias=bias)
    plain = nn.Conv2d(c_in, c_out, side, padding=side // 2, padding_mode="reflect", bias=bias)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def images(batch, channels, height, width, dtype):
    drawn = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(1))
    return drawn.to(dtype).to(memory_format=torch.channels_last).requires_grad_()


def values_and_gradients(layer, x, upstream):
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], upstream.to(y.dtype))]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("batch", "height", "width"), SHAPES)
def test_values_and_gradients_are_those_of_the_stock_layer(always, batch, height, width, bias, request):
    ours, plain = (layer.double() for layer in pair(5, 7, bias=bias))
    upstream = torch.randn(batch, 7, height, width, dtype=torch.float64)
    theirs = values_and_gradients(plain, images(batch, 5, height, width, torch.float64), upstream)
    request.getfixturevalue("refused")
    mine = values_and_gradients(ours, images(batch, 5, height, width, torch.float64), upstream)
    for got, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_stays_within_a_few_times_the_stock_layers(dtype):
    upstream = torch.randn(1, 256, 32, 32, generator=torch.Generator().manual_seed(2)).to(dtype)
    ours, plain = (layer.to(dtype) for layer in pair(256, 256))
    x = images(1, 256, 32, 32, dtype)
    mine, theirs = (values_and_gradients(layer, x, upstream) for layer in (ours, plain))
    exact = values_and_gradients(plain.double(), x.detach().double().requires_grad_(), upstream)
    for name, true, got, usual in zip(("y", "x", "weight", "bias"), exact, mine, theirs, strict=True):
        off, usually_off = (((found - true).norm() / true.norm()).item() for found in (got, usual))
        assert off < 4 * usually_off + 1e-7, (name, off, usually_off)


def test_autocast_multiplies_in_bf16_and_returns_gradients_of_the_weights_type(always):
    ours, plain = pair(6, 6)
    upstream = torch.ones(1, 6, 4, 4)
    results = []
    for layer in (ours, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(images(1, 6, 4, 4, torch.float32))
        assert y.dtype == torch.bfloat16
        results.append([y, *torch.autograd.grad(y, layer.parameters(), upstream.bfloat16())])
    for mine, theirs in zip(*results, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("side", [3, 7])
def test_few_channels_odd_sides_other_kernels_and_evaluation_take_the_stock_way(side, refused):
    ours, _ = pair(256, 256, side)
    large = images(1, 256, 24, 24, torch.float32)
    cases = [
        (pair(255, 256, side)[0], images(1, 255, 24, 24, torch.float32)),
        (ours, images(1, 256, 25, 24, torch.float32)),
        (ours, images(1, 256, 16, 16, torch.float32)),
        (ours, large.contiguous()),
    ]
    if side == 7:
        cases.append((ours, large))
    else:
        ours(large)
    for layer, x in cases:
        with pytest.raises(AssertionError, match="library"):
            layer(x)
    with pytest.raises(AssertionError, match="library"):
        ours.eval()(large)


def test_a_cyclegan_step_is_the_same_either_way(monkeypatch):
    monkeypatch.setattr(winograd, "_ENOUGH_TILES", 1)
    images_of_step = torch.rand(2, 1, 3, 24, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1
    losses = []
    for enough in (1, 10_000):
        monkeypatch.setattr(winograd, "_ENOUGH_CHANNELS", enough)
        config = translator_config(
            "cyclegan", "reference", generator_channels=8, discriminator_channels=8, generator_blocks=2
        )
        translator = build(config, total_steps=10, seed=0, compute=Compute(channels_last=True))
        for network in translator.networks.values():
            network.double()
        losses.append([translator.step(*images_of_step) for _ in range(3)])
    for short, long in zip(*losses, strict=True):
        for name in short:
            torch.testing.assert_close(short[name], long[name], rtol=1e-9, atol=1e-9)
