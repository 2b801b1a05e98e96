"""Exponential moving average of a generator's weights (in GANs: Yazici et al. 2019)."""

from __future__ import annotations

import copy

import torch
from torch import nn


def start_ema(module: nn.Module) -> nn.Module:
    """A copy in eval mode, without gradients."""
    return copy.deepcopy(module).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """average <- d * average + (1 - d) * module; buffers are copied. In place.

    ``step`` counts updates from 0; d = min(decay, (1 + step) / (10 + step)), so that the random start is
    forgotten soon whatever the decay.
    """
    d = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in module.parameters()], 1 - d)
    for mine, current in zip(average.buffers(), module.buffers(), strict=True):
        mine.copy_(current)
