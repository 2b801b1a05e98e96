"""ToDayGAN's discriminator against its description, written out, and against scipy's blur."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter
from torch.nn import functional as F

from d2n.errors import ShapeError
from d2n.translators.views import ViewsDiscriminator, depth_shares, over_depths, views


def test_parameters_and_shapes_are_the_published_ones() -> None:
    """The public code has 16,698,201 parameters with 4 layers and 64 channels."""
    assert sum(p.numel() for p in ViewsDiscriminator().parameters()) == 16_698_201
    found = ViewsDiscriminator(base_channels=2)(torch.zeros(2, 3, 64, 48))
    assert {view: [tuple(one.shape[1:]) for one in logits] for view, logits in found.items()} == {
        "colour": [(1, 17, 13), (1, 9, 7), (1, 5, 4), (1, 7, 6)],
        "luminance": [(1, 17, 13), (1, 9, 7), (1, 5, 4), (1, 7, 6)],
        "gradient": [(1, 9, 7), (1, 5, 4), (1, 7, 6)],
    }


def test_the_views_are_blurred_colour_luminance_and_gradients() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 12, 17, generator=random, dtype=torch.float64) * 2 - 1
    found = views(images, ViewsDiscriminator(2).double().blur.double())
    dirac = np.zeros(5)
    dirac[2] = 1
    line = gaussian_filter(dirac, 3)
    expected = np.stack(
        [
            correlate1d(correlate1d(one, line, axis=0, mode="constant"), line, axis=1, mode="constant")
            for one in images[0].numpy()
        ]
    )
    assert found["colour"][0].numpy() == pytest.approx(expected, abs=1e-7)
    grey = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert torch.allclose(found["luminance"][:, 0], grey)
    half = grey[0, ::2, ::2].numpy()
    for y in range(4):
        for x in range(7):
            assert found["gradient"][0, 0, y, x] == pytest.approx(half[y + 1, x + 2] - half[y + 1, x])
            assert found["gradient"][0, 1, y, x] == pytest.approx(half[y + 2, x + 1] - half[y, x + 1])


def test_each_depth_but_the_last_judges_by_its_last_channel() -> None:
    judge = ViewsDiscriminator(3, layers=2, norm="none")
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    colour, part = views(images, judge.blur)["colour"], judge.colour
    hidden = F.prelu(
        F.conv2d(colour, part.first[0].weight, part.first[0].bias, stride=2, padding=2),
        torch.tensor([0.25]),
    )
    (level,) = part.levels
    found = F.prelu(
        F.conv2d(hidden, level[0].weight, level[0].bias, stride=2, padding=2), torch.tensor([0.25])
    )
    assert found.shape[1] == 7  # 6 channels go on, the seventh is the logit
    fine, coarse = judge(images)["colour"]
    assert torch.allclose(fine, found[:, 6:], atol=1e-6)
    assert torch.allclose(coarse, part.last(found[:, :6]), atol=1e-6)


def test_coarse_depths_count_more() -> None:
    assert depth_shares(4) == pytest.approx([1 / 44, 2 / 44, 3 / 44, 5 / 44])
    assert depth_shares(1) == [1.0]
    assert over_depths([torch.tensor(2.0), torch.tensor(4.0)]).item() == pytest.approx((2 + 3 * 4) / 8)


def test_too_small_an_image_is_one_line() -> None:
    judge = ViewsDiscriminator(2)
    judge(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match="image of 7 x 9 pixels, expected at least 8 a side"):
        judge(torch.zeros(1, 3, 7, 9))
