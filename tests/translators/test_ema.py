"""The moving average of weights by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from d2n.translators.ema import start_ema, update_ema


def test_update_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.0)
    average = start_ema(net)
    nn.init.constant_(net.weight, 1.0)
    update_ema(average, net, decay=0.9, step=0)  # (1 + 0) / (10 + 0) = 0.1 is below 0.9
    assert average.weight.item() == pytest.approx(0.9)
    update_ema(average, net, decay=0.9, step=1000)
    assert average.weight.item() == pytest.approx(0.9 * 0.9 + 0.1)
    assert not average.weight.requires_grad
    assert not average.training


def test_buffers_are_copied() -> None:
    net = nn.BatchNorm2d(2)
    average = start_ema(net)
    net(torch.randn(4, 2, 3, 3))
    update_ema(average, net, 0.99, 5)
    assert torch.equal(average.running_mean, net.running_mean)
    assert average.num_batches_tracked.item() == 1
