"""Adam over every memory layout: torch's unfused Adam on contiguous parameters is the truth."""

import pytest
import torch

from d2n.translators.adam import Adam

LAYOUTS = [torch.contiguous_format, torch.channels_last]
SHAPES = [(6, 5, 4, 4), (1, 5, 3, 3), (6, 1, 3, 3), (7, 5, 1, 1), (6,)]


def laid(x, layout):
    return x.clone().to(memory_format=layout) if x.dim() == 4 else x.clone()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("gradient_layout", LAYOUTS)
@pytest.mark.parametrize("moment_layout", LAYOUTS)
def test_updates_are_those_of_the_unfused_adam(layout, gradient_layout, moment_layout):
    random = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in SHAPES]
    mine = [torch.nn.Parameter(laid(x, layout)) for x in start]
    truth = [torch.nn.Parameter(x.clone()) for x in start]
    ours = Adam(mine, lr=0.1, betas=(0.5, 0.999), fused=True)
    stock = torch.optim.Adam(truth, lr=0.1, betas=(0.5, 0.999), fused=False, foreach=False)
    for step in range(5):
        for p, q in zip(mine, truth, strict=True):
            q.grad = torch.randn(q.shape, generator=random, dtype=torch.float64)
            p.grad = laid(q.grad, gradient_layout)
        if step == 3:  # as a loaded state may lie
            for state in ours.state.values():
                state["exp_avg"] = laid(state["exp_avg"], moment_layout)
                state["exp_avg_sq"] = laid(state["exp_avg_sq"], moment_layout)
        ours.step()
        stock.step()
    for p, q, x in zip(mine, truth, start, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)
        assert p.stride() == laid(x, layout).stride()
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(ours.state[p][key], stock.state[q][key], rtol=1e-12, atol=1e-12)


def test_a_gradient_may_be_missing():
    p, q = (torch.nn.Parameter(torch.ones(2, 2, 2, 2)) for _ in range(2))
    p.grad = torch.ones_like(p)
    Adam([p, q], lr=0.1, fused=True).step()
    assert torch.equal(q, torch.ones_like(q))
    assert (p < 1).all()
