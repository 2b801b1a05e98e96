"""PatchNCE by hand, and that CUT trains and resumes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from d2n.errors import ConfigError
from d2n.translators.cut import feature_layers, feature_widths, gather_patches, patch_nce, patch_positions


def test_patch_nce_by_hand() -> None:
    """Two patches with unit vectors: each query's positive is the key at its own place."""
    q = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]], dtype=torch.float64)
    k = torch.tensor([[[0.8, 0.6], [0.0, 1.0]]], dtype=torch.float64)
    t = 0.5
    first = -math.log(math.exp(0.8 / t) / (math.exp(0.8 / t) + math.exp(0.0 / t)))
    second = -math.log(math.exp(0.8 / t) / (math.exp((0.48 + 0.48) / t) + math.exp(0.8 / t)))
    assert patch_nce(q, k, t).item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_negatives_come_from_the_same_image_only() -> None:
    torch.manual_seed(0)
    q, k = (F.normalize(torch.randn(3, 5, 4, dtype=torch.float64), dim=-1) for _ in range(2))
    alone = torch.stack([patch_nce(q[i : i + 1], k[i : i + 1]) for i in range(3)]).mean()
    assert patch_nce(q, k).item() == pytest.approx(alone.item(), rel=1e-12)


def test_patches_are_the_features_at_their_positions() -> None:
    features = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    at = torch.tensor([7, 0])
    patches = gather_patches(features, at)
    assert patches.shape == (2, 2, 3)
    assert torch.equal(patches[1, 0], features[1, :, 1, 2])
    drawn = patch_positions(features, 256, torch.Generator().manual_seed(0))
    assert sorted(drawn.tolist()) == list(range(20))


def test_feature_layers_of_nine_blocks() -> None:
    layers = feature_layers(9)
    assert layers == [0, 2, 3, 6, 10]  # pixels, two downsamplings, blocks 3 and 7
    assert feature_widths(64, layers) == [3, 128, 256, 256, 256]
    assert feature_layers(0) == [0, 2, 3]


def test_a_unet_is_refused(gan) -> None:
    with pytest.raises(ConfigError, match=r"translator\.generator is 'unet'"):
        gan("cut", generator="unet")


def test_nce_falls_in_training(gan, batch) -> None:
    translator = gan("cut", lr=2e-3, total_steps=40, lambda_identity=1.0)
    data = batch(0)
    losses = [translator.step(**data)["g_nce"].item() for _ in range(40)]
    assert losses[-1] < losses[0] - 0.5
