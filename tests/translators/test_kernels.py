"""Triton's kernels by its interpreter, where there is no GPU: values and gradients as torch computes them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

INTERPRETED = """
import torch
from torch.nn import functional as F
from d2n.translators import kernels

torch.manual_seed(0)
last = torch.channels_last
for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
    for shape in ((2, 70, 9, 13), (1, 8, 40, 40), (3, 64, 16, 16)):
        x = (torch.randn(shape) * 2 + 5).to(dtype).to(memory_format=last)
        y, scales = kernels.normalized(x, 1e-5)
        exact = x.double().contiguous().requires_grad_()
        expected = F.instance_norm(exact, eps=1e-5)
        of_result = torch.randn(shape).to(dtype).to(memory_format=last)
        expected.backward(of_result.double().contiguous())
        found = kernels.gradient(of_result, y, scales)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.double(), exact.grad, rtol=0, atol=tolerance)
        assert y.stride() == found.stride() == x.stride()
for p, height, width in ((1, 5, 6), (3, 7, 8), (3, 4, 4), (1, 2, 2), (2, 3, 40)):
    x = torch.randn(2, 3, height, width).to(memory_format=last).requires_grad_()
    y, expected = kernels.reflected(x.detach(), p), F.pad(x, (p,) * 4, mode="reflect")
    assert torch.equal(y, expected)
    of_result = torch.randn_like(y)
    (true,) = torch.autograd.grad(expected, x, of_result)
    torch.testing.assert_close(kernels.reflected_back(of_result, p), true)
print("the same")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton here")
def test_kernels_interpreted() -> None:
    command, environment = [sys.executable, "-c", INTERPRETED], {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.stdout.strip() == "the same", done.stderr[-2000:]
