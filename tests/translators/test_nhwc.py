"""Padding and instance norm in channels_last, as a GPU takes them: values, gradients, layout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from d2n.translators import nhwc

WIDE = torch.channels_last


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nhwc, "_pays", nhwc.is_channels_last)


@pytest.mark.parametrize(
    ("pixels", "height", "width"), [(1, 5, 6), (1, 2, 2), (3, 7, 8), (3, 4, 4), (2, 3, 9)]
)
def test_reflection(pixels: int, height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width, dtype=torch.float64).to(memory_format=WIDE).requires_grad_()
    ours, torchs = nhwc.reflected(x, pixels), F.pad(x, (pixels,) * 4, mode="reflect")
    assert torch.equal(ours, torchs)
    gradient = torch.randn_like(ours)
    (found,), (expected,) = (torch.autograd.grad(y, x, gradient) for y in (ours, torchs))
    torch.testing.assert_close(found, expected)
    assert nhwc.is_channels_last(ours)
    assert nhwc.is_channels_last(found)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_instance_norm(dtype: torch.dtype, tolerance: float, mean: float) -> None:
    x = (torch.randn(3, 8, 9, 16, dtype=torch.float64) * 2 + mean).to(dtype).to(memory_format=WIDE)
    x.requires_grad_()
    exact = x.detach().double().contiguous().requires_grad_()
    ours, expected = nhwc.instance_norm(x, 1e-5), F.instance_norm(exact, eps=1e-5)
    gradient = torch.randn_like(ours)
    ours.backward(gradient)
    expected.backward(gradient.double().contiguous())
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=0, atol=tolerance)
    assert ours.dtype == dtype
    assert nhwc.is_channels_last(ours)
    assert nhwc.is_channels_last(x.grad)


def test_other_layouts_take_torchs_own() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(nhwc.instance_norm(x, 1e-5), F.instance_norm(x, eps=1e-5))
    assert torch.equal(nhwc.reflected(x, 1), F.pad(x, (1,) * 4, mode="reflect"))
