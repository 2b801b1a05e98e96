"""Activation checkpointing (Chen et al. 2016): less memory for a second forward pass in the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2n.translators.norms import BatchNorm


def run(layer: nn.Module, x: Tensor, again: bool) -> Any:
    """``layer(x)``; with ``again``, in training, what is inside is forgotten and computed again for its gradients.

    Dropout draws the same again, and batch norm's running statistics are moved once.
    """
    if not (again and layer.training and torch.is_grad_enabled()):
        return layer(x)
    return checkpoint(layer, x, use_reentrant=False, context_fn=partial(_contexts, layer))


def _contexts(
    layer: nn.Module,
) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    return contextlib.nullcontext(), _statistics_kept(layer)


@contextlib.contextmanager
def _statistics_kept(layer: nn.Module) -> Iterator[None]:
    norms = [part for part in layer.modules() if isinstance(part, BatchNorm)]
    before = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
