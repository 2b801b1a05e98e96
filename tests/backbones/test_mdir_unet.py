"""mdir's U-Net: its parameters, its levels written out, the names of its files."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from d2n.backbones.mdir_unet import MdirUNet
from d2n.errors import ShapeError


def test_parameters_are_the_published_ones() -> None:
    """54,413,955 of the public code's with 7 levels inside and batch norm."""
    with torch.device("meta"):
        assert sum(p.numel() for p in MdirUNet().parameters()) == 54_413_955


def test_two_levels_written_out() -> None:
    torch.manual_seed(0)
    net, x = MdirUNet(2, 4, None).eval(), torch.rand(1, 3, 8, 12) * 2 - 1
    w = net.state_dict()
    assert list(w) == [
        "outerblock.0.weight",
        "outerblock.2.nested.0.weight",
        "outerblock.2.nested.2.weight",
        "outerblock.3.weight",
        "outerblock.3.bias",
    ]
    first = F.leaky_relu(F.conv2d(x, w["outerblock.0.weight"], stride=2, padding=1), 0.2)
    inner = F.relu(F.conv2d(first, w["outerblock.2.nested.0.weight"], stride=2, padding=1))
    inner = F.relu(F.conv_transpose2d(inner, w["outerblock.2.nested.2.weight"], stride=2, padding=1))
    joined = torch.cat([first, inner], dim=1)
    expected = torch.tanh(
        F.conv_transpose2d(joined, w["outerblock.3.weight"], w["outerblock.3.bias"], stride=2, padding=1)
    )
    torch.testing.assert_close(net(x), expected)
    assert (net.stride, MdirUNet(3, 2).stride) == (4, 8)
    with pytest.raises(ShapeError, match="image of 8 x 10 pixels, expected sides divisible by 4"):
        net(torch.zeros(1, 3, 8, 10))


def test_batch_norm_stands_everywhere_but_below_the_innermost_level() -> None:
    keys = set(MdirUNet(3, 2).state_dict())
    assert "outerblock.2.nested.1.running_mean" in keys  # behind a level's way down
    assert "outerblock.2.nested.3.nested.1.running_mean" not in keys
    assert "outerblock.2.nested.3.nested.3.running_mean" in keys  # behind the innermost way up
