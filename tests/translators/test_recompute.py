"""Recomputed activations: the same gradients and statistics, less kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from d2n.translators.networks import ResNetGenerator, UNetGenerator


def unet() -> nn.Module:
    return UNetGenerator(
        6, 4, "batch", dropout=True, init_gain=0.2, generator=torch.Generator().manual_seed(0)
    )


def resnet() -> nn.Module:
    return ResNetGenerator(
        4, 4, "batch", dropout=True, init_gain=0.2, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("make", [unet, resnet])
def test_gradients_and_running_statistics_are_the_same_to_the_bit(make) -> None:
    found = []
    for again in (False, True):
        network = make().train()
        network.recompute = again
        torch.manual_seed(3)  # dropout draws the same a second time
        x = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
        network(x).square().mean().backward()
        gradients = [x.grad, *(p.grad for p in network.parameters())]
        found.append([*gradients, *network.buffers()])
        assert all(int(b) == 1 for name, b in network.named_buffers() if name.endswith("num_batches_tracked"))
    assert len(found[0]) == len(found[1]) > 40
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(("make", "share"), [(unet, 0.65), (resnet, 0.5)])
def test_less_is_kept_for_the_backward_pass(make, share) -> None:
    kept = []
    for again in (False, True):
        network, sizes = make().train(), []
        network.recompute = again
        weights = {p.data_ptr() for p in network.parameters()}

        def note(x: torch.Tensor, sizes=sizes, weights=weights) -> torch.Tensor:
            sizes.append(0 if x.data_ptr() in weights else x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            network(torch.rand(2, 3, 64, 64, requires_grad=True))
        kept.append(sum(sizes))
    assert kept[1] < share * kept[0]


def test_features_of_the_blocks_too() -> None:
    found = []
    for again in (False, True):
        network = resnet().train()
        network.recompute = again
        torch.manual_seed(3)
        network(torch.rand(1, 3, 16, 16), encode_only=True)[-1].sum().backward()
        found.append([p.grad for p in network.blocks.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
