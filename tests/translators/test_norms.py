"""Which statistics a batch norm takes, and what instance norm computes."""

from __future__ import annotations

import pytest
import torch

from d2n.translators.networks import UNetGenerator
from d2n.translators.norms import BatchNorm, InstanceNorm, _dense_gradient, set_inference_norm


def test_instance_norm_is_zero_mean_and_unit_variance_per_channel_of_each_image() -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64) * 4 + 1
    y = InstanceNorm(3)(x)
    expected = (x - x.mean(dim=(2, 3), keepdim=True)) / (
        x.var(dim=(2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert not list(InstanceNorm(3).parameters())


def test_inference_norm_batch_equals_train_mode_on_each_image_alone() -> None:
    net = UNetGenerator(3, 4, "batch").double()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        alone = torch.cat([net.train()(image[None]) for image in images])
        set_inference_norm(net, "batch")
        running = [m.running_mean.clone() for m in net.modules() if isinstance(m, BatchNorm)]
        together = net.eval()(images)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)
    after = [m.running_mean for m in net.modules() if isinstance(m, BatchNorm)]
    assert all(torch.equal(a, b) for a, b in zip(running, after, strict=True))  # inference moves nothing


def test_inference_norm_running_takes_the_running_statistics() -> None:
    norm = BatchNorm(2).eval()
    norm.running_mean.copy_(torch.tensor([1.0, -1.0]))
    norm.running_var.copy_(torch.tensor([4.0, 9.0]))
    y = norm(torch.zeros(1, 2, 2, 2))
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([-0.5, 1 / 3]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gradient_layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_instance_norm_gradient_in_every_memory_layout(batch, layout, gradient_layout, dtype) -> None:
    random = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(batch, 6, 8, 8, generator=random).to(dtype) for _ in range(2))
    plain = x.double().requires_grad_()
    variance, mean = torch.var_mean(plain, dim=(2, 3), correction=0, keepdim=True)
    ((plain - mean) / (variance + 1e-5).sqrt()).backward(gradient.double())
    ours = x.contiguous(memory_format=layout).requires_grad_()
    y = InstanceNorm(6)(ours)
    assert y.is_contiguous(memory_format=layout)
    y.backward(gradient.contiguous(memory_format=gradient_layout))
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(ours.grad.double(), plain.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_that_comes_as_a_part_is_made_dense_and_stays_the_same(layout):
    found = []
    for norm in (BatchNorm(4), torch.nn.BatchNorm2d(4)):
        x = torch.randn(3, 4, 6, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
        x.requires_grad_()
        y = norm(x)
        joined = torch.cat([torch.zeros_like(y), y], dim=1)
        (joined * torch.arange(joined.numel()).view(joined.shape).cos()).sum().backward()
        found.append((y, x.grad, norm.weight.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain)


def test_the_dense_gradient_lies_as_the_values_do() -> None:
    seen = []
    x = torch.randn(2, 4, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    hidden = _dense_gradient(x * 1)
    hidden.register_hook(lambda g: seen.append(g.is_contiguous(memory_format=torch.channels_last)))
    torch.cat([x, hidden], dim=1).square().sum().backward()
    assert seen == [True]
