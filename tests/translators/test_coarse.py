"""The U-Net's convolutions as matrix products: the same numbers and gradients as torch's own layers."""

import pytest
import torch
from torch import nn

from d2n.config import translator_config
from d2n.core import Compute
from d2n.translators import build, coarse

SIDES = [(1, 2, 2), (2, 4, 6), (4, 8, 4)]


def pair(kind, bias):
    torch.manual_seed(0)
    ours = getattr(coarse, kind)(6, 10, bias=bias).double()
    stock = nn.Conv2d if kind == "Down" else nn.ConvTranspose2d
    plain = stock(6, 10, 4, stride=2, padding=1, bias=bias).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("kind", ["Down", "Up"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("batch", "height", "width"), SIDES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_the_stock_layer(
    kind, bias, batch, height, width, layout, monkeypatch
):
    ours, plain = pair(kind, bias)
    found = []
    for layer in (ours, plain):
        x = torch.randn(
            batch, 6, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
        x = x.to(memory_format=layout).requires_grad_()
        if layer is ours:  # the stock path must not be what is compared with itself
            monkeypatch.setattr(nn.Conv2d, "forward", refuse)
            monkeypatch.setattr(nn.ConvTranspose2d, "forward", refuse)
        y = layer(x)
        monkeypatch.undo()
        (y * torch.arange(y.numel(), dtype=torch.float64).view(y.shape).cos()).sum().backward()
        found.append([y, x.grad, *(p.grad for p in layer.parameters())])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def refuse(*_args, **_kwargs):
    raise AssertionError("the stock convolution was called")


@pytest.mark.parametrize("kind", ["Down", "Up"])
def test_many_places_odd_sides_and_evaluation_take_the_stock_layer(kind, monkeypatch):
    ours, _ = pair(kind, bias=False)
    monkeypatch.setattr(type(ours).__bases__[0], "forward", refuse)
    few = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    ours(few)
    cases = [(ours.train(), torch.randn(9, 6, 16, 16, dtype=torch.float64))]
    if kind == "Down":
        cases.append((ours, torch.randn(1, 6, 5, 4, dtype=torch.float64)))
    for layer, x in cases:
        with pytest.raises(AssertionError, match="stock"):
            layer(x)
    with pytest.raises(AssertionError, match="stock"):
        ours.eval()(few)


def test_a_translator_lays_their_weights_out_and_leaves_the_rest_in_channels_last():
    config = translator_config("pix2pix", "reference", generator_channels=8, unet_depth=4)
    translator = build(config, total_steps=10, seed=0, compute=Compute(channels_last=True))
    parts = list(translator.networks["generator"].modules())
    coarse_ones = [part for part in parts if isinstance(part, coarse.Down | coarse.Up)]
    assert len(coarse_ones) == 8
    assert all(part.weight.is_contiguous() for part in coarse_ones)
    judge = next(p for p in translator.networks["discriminator"].parameters() if p.dim() == 4)
    assert judge.is_contiguous(memory_format=torch.channels_last)
