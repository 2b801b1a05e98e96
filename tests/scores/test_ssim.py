"""SSIM against scikit-image, MS-SSIM against its definition, and the traps of value ranges and sizes."""

import numpy as np
import pytest
import torch

from d2n.errors import ScoreError
from d2n.scores.ssim import diversity, ms_ssim, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(180, 190, 3)), axis=0), axis=1)
    x = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    return x, np.clip(x + rng.normal(scale=25, size=x.shape), 0, 255).astype(np.uint8)


def test_uniform_window_is_scikit_images(pair):
    metrics = pytest.importorskip("skimage.metrics")
    expected = metrics.structural_similarity(*pair, data_range=255, channel_axis=-1)
    assert ssim(*pair, 255) == pytest.approx(expected, abs=1e-6)


def test_gaussian_window_is_scikit_images(pair):
    metrics = pytest.importorskip("skimage.metrics")
    expected = metrics.structural_similarity(
        *pair, data_range=255, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(*pair, 255, window="gaussian") == pytest.approx(expected, abs=1e-6)


def test_one_window_by_hand():
    rng = np.random.default_rng(1)
    x, y = rng.random((7, 7, 1)), rng.random((7, 7, 1))
    c1, c2 = 0.01**2, 0.03**2
    covariance = np.cov(x.ravel(), y.ravel())
    expected = (2 * x.mean() * y.mean() + c1) * (2 * covariance[0, 1] + c2)
    expected /= (x.mean() ** 2 + y.mean() ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    assert ssim(x, y, 1.0) == pytest.approx(expected, rel=1e-10)


def test_multi_scale_by_its_definition(pair):
    metrics = pytest.importorskip("skimage.metrics")
    x, y = (image[:176, :176].astype(float) for image in pair)
    product = np.ones(3)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        for c in range(3):
            a, b = x[..., c], y[..., c]
            full = metrics.structural_similarity(
                a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
            )[1][5:-5, 5:-5]
            if scale < 4:
                ma, mb = (_gaussian(image) for image in (a, b))
                full = full / ((2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025))
            product[c] *= max(full.mean(), 0) ** weight
        if scale < 4:
            x, y = (i.reshape(i.shape[0] // 2, 2, i.shape[1] // 2, 2, 3).mean(axis=(1, 3)) for i in (x, y))
    assert ms_ssim(*(image[:176, :176] for image in pair), 255) == pytest.approx(product.mean(), abs=1e-6)


def _gaussian(image):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]


def test_batches_of_tensors_give_one_value_an_image(pair):
    batch = [torch.from_numpy(np.stack([image, pair[0]]).transpose(0, 3, 1, 2).copy()) for image in pair]
    for function in (ssim, ms_ssim):
        values = function(*batch, 255)
        assert values.shape == (2,)
        assert values[0] == pytest.approx(function(*pair, 255), rel=1e-12)
        assert values[1] == pytest.approx(1.0)


def test_an_inverted_image_is_negative_in_bytes_and_not_in_normalised_values(pair):
    x = pair[0].astype(float)
    assert ssim(x, 255 - x, 255) < 0
    assert ssim(x / 127.5 - 1, 1 - x / 127.5, 2) != pytest.approx(ssim(x, 255 - x, 255), abs=0.05)


def test_negative_contrast_gives_zero_and_not_nan(pair):
    assert ms_ssim(pair[0], 255 - pair[0], 255) == 0


@pytest.mark.parametrize("shape", [(160, 200, 3), (200, 160, 3)])
def test_multi_scale_needs_sides_over_160(shape):
    with pytest.raises(ScoreError, match=f"{shape[0]} x {shape[1]} px, expected at least 161"):
        ms_ssim(np.zeros(shape), np.zeros(shape), 255)
    larger = np.random.default_rng(0).random((161, 175, 3))
    assert ms_ssim(larger, larger, 1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("x", "y", "data_range", "words"),
    [
        (np.zeros((9, 9, 3)), np.zeros((9, 8, 3)), 255, "shapes"),
        (np.zeros((9, 9)), np.zeros((9, 9)), 255, "expected"),
        (np.zeros((6, 9, 3)), np.zeros((6, 9, 3)), 255, "at least 7 px"),
        (np.zeros((9, 9, 3)), np.full((9, 9, 3), np.nan), 255, "NaN"),
        (np.zeros((9, 9, 3)), np.zeros((9, 9, 3)), 0, "data_range is 0"),
    ],
)
def test_bad_images_are_refused(x, y, data_range, words):
    with pytest.raises(ScoreError, match=words):
        ssim(x, y, data_range)


def test_diversity_is_one_for_collapse_and_low_for_noise():
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (6, 3, 162, 162), dtype=np.uint8)
    assert diversity(np.repeat(noise[:1], 4, axis=0), 255, num_pairs=5)[0] == pytest.approx(1)
    value, error = diversity(noise, 255, num_pairs=5)
    assert value < 0.2
    assert error > 0
