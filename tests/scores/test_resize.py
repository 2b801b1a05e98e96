"""The three resizes: each as its own reference does it, and different from the others."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from d2n.scores.resize import RESIZES, clean, half_pixel, tf1, together


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


def test_clean_is_pil_bicubic_in_float(image):
    channel = Image.fromarray(image[..., 1].astype(np.float32), mode=None).resize(
        (30, 30), Image.Resampling.BICUBIC
    )
    np.testing.assert_array_equal(clean(image, 30)[1].numpy(), np.asarray(channel).clip(0, 255))
    assert not np.array_equal(clean(image, 30), clean(image, 30).round())


@pytest.mark.parametrize("side", [20, 45, 99])
def test_tf1_is_torch_fidelitys(image, side):
    compat = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    x = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None]
    expected = compat.interpolate_bilinear_2d_like_tensorflow1x(x, size=(side, side), align_corners=False)
    torch.testing.assert_close(tf1(image, side), expected[0], rtol=1e-5, atol=1e-3)


def test_torch_is_half_pixel_without_antialiasing(image):
    x = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None]
    expected = functional.interpolate(x, size=(20, 20), mode="bilinear", align_corners=False, antialias=False)
    torch.testing.assert_close(half_pixel(image, 20), expected[0])


def test_they_differ_and_keep_constant_images(image):
    outputs = [resize(image, 30) for resize in RESIZES.values()]
    assert all((a - b).abs().mean() > 1 for i, a in enumerate(outputs) for b in outputs[:i])
    for resize in RESIZES.values():
        torch.testing.assert_close(
            resize(np.full((9, 7, 3), 80, np.uint8), 30), torch.full((3, 30, 30), 80.0)
        )


@pytest.mark.parametrize("kind", RESIZES)
@pytest.mark.parametrize("size", [(64, 64), (90, 40), (256, 300)])
def test_together_is_each_alone(kind, size):
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    expected = torch.stack([RESIZES[kind](image, 75) for image in images])
    torch.testing.assert_close(together(batch, 75, kind), expected, rtol=0, atol=0.01)
