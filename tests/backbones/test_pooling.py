"""Poolings against their published code, written out on random maps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from d2n.backbones.pooling import Mac, MixVPR, RMac, Spoc, regions


def published_rmac(x: Tensor, levels: int = 3, eps: float = 1e-6) -> Tensor:
    """cirtorch's, by its description: one region after the other, centres in float."""
    steps = torch.tensor([2.0, 3, 4, 5, 6, 7])
    height, width = x.shape[-2:]
    w = min(width, height)
    b = (max(height, width) - w) / (steps - 1)
    more = int(torch.min((((w**2 - w * b) / w**2) - 0.4).abs(), 0)[1]) + 1
    more_w, more_h = (more if height < width else 0), (more if height > width else 0)

    def unit(v: Tensor) -> Tensor:
        return v / (v.norm(dim=1, keepdim=True) + eps)

    total = unit(functional.max_pool2d(x, (height, width)))
    for level in range(1, levels + 1):
        wl = math.floor(2 * w / (level + 1))
        wl2 = math.floor(wl / 2 - 1)
        bw = 0 if level + more_w == 1 else (width - wl) / (level + more_w - 1)
        bh = 0 if level + more_h == 1 else (height - wl) / (level + more_h - 1)
        columns = torch.floor(wl2 + torch.arange(level + more_w) * bw) - wl2
        rows = torch.floor(wl2 + torch.arange(level + more_h) * bh) - wl2
        for top in rows.int().tolist():
            for left in columns.int().tolist():
                if wl:
                    part = x[:, :, top : top + wl, left : left + wl]
                    total = total + unit(functional.max_pool2d(part, part.shape[-2:]))
    return total[..., 0, 0]


@pytest.mark.parametrize("size", [(22, 22), (16, 22), (22, 13), (7, 30), (1, 1), (2, 9), (3, 3)])
def test_regional_maxima_are_cirtorchs(size: tuple[int, int]) -> None:
    x = torch.rand(2, 5, *size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(RMac()(x), published_rmac(x), atol=1e-5)


def test_a_square_has_one_four_and_nine_regions_inside_it() -> None:
    found = regions(20, 20, 3)
    assert [sum(side == one for _, _, side in found) for one in (20, 13, 10)] == [1, 4, 9]
    assert all(0 <= top <= 20 - side and 0 <= left <= 20 - side for top, left, side in found)


def test_maxima_and_means() -> None:
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert Mac()(x).tolist() == [[5, 11]]
    assert Spoc()(x).tolist() == [[2.5, 8.5]]


def test_mixed_features_are_the_published_ones() -> None:
    torch.manual_seed(0)
    head = MixVPR(6, side=4, depth=2, outputs=5, rows=3).eval()
    state, x = head.state_dict(), torch.rand(2, 6, 4, 4)
    y = x.flatten(2)
    for i in range(2):
        name = f"mix.{i}.mix"
        z = functional.layer_norm(y, (16,), state[f"{name}.0.weight"], state[f"{name}.0.bias"])
        z = functional.linear(z, state[f"{name}.1.weight"], state[f"{name}.1.bias"]).relu()
        y = y + functional.linear(z, state[f"{name}.3.weight"], state[f"{name}.3.bias"])
    y = functional.linear(y.permute(0, 2, 1), state["channel_proj.weight"], state["channel_proj.bias"])
    y = functional.linear(y.permute(0, 2, 1), state["row_proj.weight"], state["row_proj.bias"])
    expected = functional.normalize(y.flatten(1), dim=-1)
    with torch.inference_mode():
        assert torch.allclose(head(x), expected, atol=1e-6)
        assert head(torch.rand(1, 6, 7, 3)).shape == (1, 15)
    assert float(state["mix.0.mix.1.bias"].abs().max()) == 0
