import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab

from d2n.retrieval.photometric import clahe, lab_from_rgb, photometric, rgb_from_lab


def test_lab_agrees_with_scikit_image_and_goes_back() -> None:
    rgb = np.random.default_rng(0).random((32, 32, 3))
    images = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    lab = lab_from_rgb(images)
    assert np.allclose(lab[0].permute(1, 2, 0).numpy(), rgb2lab(rgb), atol=0.02)
    assert torch.allclose(rgb_from_lab(lab), images, atol=1e-6)
    back = lab2rgb(lab[0].permute(1, 2, 0).numpy())
    assert np.allclose(rgb_from_lab(lab)[0].permute(1, 2, 0).numpy(), back, atol=1e-3)


def test_photometric_darkens_each_image_in_its_own_way_and_repeats() -> None:
    images = torch.full((16, 3, 8, 8), 0.6)
    out = photometric(images, torch.Generator().manual_seed(0))
    means = out.mean(dim=(1, 2, 3))
    assert bool((means < 0.6).all())
    assert len(set(means.tolist())) == 16
    assert torch.equal(out, photometric(images, torch.Generator().manual_seed(0)))
    assert float(out.min()) >= 0


def test_clahe_raises_the_contrast_of_a_dull_image_and_keeps_its_hue() -> None:
    noise = 0.45 + 0.03 * torch.randn(256, 256, generator=torch.Generator().manual_seed(2))
    images = torch.stack([noise, noise, noise])[None]
    out = clahe(images, clip_limit=4.0)
    assert float(out.std()) > 1.5 * float(images.std())
    assert float((out[:, 0] - out[:, 2]).abs().max()) < 5e-3  # grey stays grey


def test_a_high_clip_limit_with_one_tile_is_histogram_equalisation() -> None:
    lightness = torch.tensor([10.0, 20.0, 20.0, 90.0]).view(1, 1, 2, 2)
    images = rgb_from_lab(torch.cat([lightness, torch.zeros(1, 2, 2, 2)], dim=1))
    out = lab_from_rgb(clahe(images, clip_limit=256.0, grid=1))[0, 0].flatten()
    assert torch.allclose(out, torch.tensor([25.0, 75.0, 75.0, 100.0]), atol=0.3)  # the cumulative shares


def test_the_lowest_clip_limit_changes_little() -> None:
    images = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(1))
    change = (clahe(images, clip_limit=1e-6) - images).abs().mean()
    assert float(change) < 0.02


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (5, 9), (1, 1)])
def test_clahe_takes_any_size(size: tuple[int, int]) -> None:
    out = clahe(torch.rand(2, 3, *size))
    assert out.shape == (2, 3, *size)
    assert bool(torch.isfinite(out).all())


def test_clahe_treats_images_apart() -> None:
    images = torch.rand(3, 3, 24, 24)
    together = clahe(images)
    assert torch.allclose(together[1:2], clahe(images[1:2]), atol=1e-6)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="clip_limit 0"):
        clahe(torch.rand(1, 3, 8, 8), clip_limit=0)
