"""PatchNCE by hand, and that CUT trains and resumes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from d2n.config import translator_config
from d2n.errors import ConfigError
from d2n.translators.cut import feature_layers, feature_widths, gather_patches, patch_nce, patch_positions
from d2n.translators.networks import ResNetGenerator


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
    assert layers == [0, 2, 3, 4, 8]  # pixels, two downsamplings, blocks 1 and 5
    assert feature_widths(64, layers) == [3, 128, 256, 256, 256]
    assert feature_layers(4) == [0, 2, 3, 4, 7]
    assert feature_layers(1) == [0, 2, 3, 4]
    assert feature_layers(0) == [0, 2, 3]


@pytest.mark.parametrize(
    ("antialias", "published"), [(False, [1, 9, 13, 29, 93]), (True, [1, 9, 15, 35, 99])]
)
def test_layers_see_what_the_published_ones_see(antialias: bool, published: list[int]) -> None:
    """The pixels that one feature depends on, by its gradient; the norms, which see everything, left out."""
    network = ResNetGenerator(9, 2, "none", antialias=antialias).double()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    image = torch.rand(1, 3, 240, 8, dtype=torch.float64, requires_grad=True)
    features = [image, *network(image, encode_only=True)]
    seen = []
    for layer in feature_layers(9):
        feature = features[layer]
        (gradient,) = torch.autograd.grad(
            feature[0, 0, feature.shape[2] // 2].sum(), image, retain_graph=True
        )
        rows = gradient[0].abs().sum((0, 2)).nonzero().flatten()
        seen.append(int(rows[-1] - rows[0] + 1))
    assert seen == published


def test_interpolation_is_the_published_transposed_convolution() -> None:
    """Park et al.'s Upsample: replicated border, the filter (1, 3, 3, 1) / 4 a side, transposed by 2."""
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 4
    weight = torch.outer(line, line).expand(3, 1, 4, 4)
    theirs = F.conv_transpose2d(
        F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, stride=2, padding=1, groups=3
    )
    ours = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(theirs[..., 2:-2, 2:-2], ours, atol=1e-12)


def test_the_reference_preset_halves_the_sum_of_the_nce_terms() -> None:
    config = translator_config("cut", "reference")
    assert (config.lambda_nce, config.lambda_identity, config.antialias) == (0.5, 0.5, True)
    assert (translator_config("cut").lambda_nce, translator_config("cut").lambda_identity) == (1.0, 1.0)


def test_a_unet_is_refused(gan) -> None:
    with pytest.raises(ConfigError, match=r"translator\.generator is 'unet'"):
        gan("cut", generator="unet")


def test_nce_falls_in_training(gan, batch) -> None:
    translator = gan("cut", lr=2e-3, total_steps=40, lambda_identity=1.0)
    data = batch(0)
    losses = [translator.step(**data)["g_nce"].item() for _ in range(40)]
    assert losses[-1] < losses[0] - 0.5
