"""Light that is evened out before the network, CLAHE against its published algorithm written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from d2n.config import NetworkConfig
from d2n.retrieval import light
from d2n.retrieval.network import RetrievalNetwork, l2n
from d2n.retrieval.photometric import lab_from_rgb, rgb_from_lab
from d2n.retrieval.search import aggregate_scales


def opencv_clahe(grey: np.ndarray, clip_limit: float, grid: int) -> np.ndarray:
    """(H, W) uint8: imgproc/clahe.cpp in loops, from its description."""
    height, width = grey.shape
    if height % grid or width % grid:
        down, across = grid - height % grid, grid - width % grid
        padded = np.pad(grey, ((0, down), (0, across)), mode="reflect")  # BORDER_REFLECT_101
    else:
        padded = grey
    th, tw = padded.shape[0] // grid, padded.shape[1] // grid
    limit = max(int(clip_limit * th * tw / 256), 1)
    luts = np.zeros((grid, grid, 256))
    for y in range(grid):
        for x in range(grid):
            counts = np.bincount(padded[y * th : (y + 1) * th, x * tw : (x + 1) * tw].ravel(), minlength=256)
            clipped = int(np.maximum(counts - limit, 0).sum())
            counts = np.minimum(counts, limit) + clipped // 256
            residual = clipped % 256
            if residual:
                step, i = max(256 // residual, 1), 0
                while i < 256 and residual > 0:
                    counts[i] += 1
                    i, residual = i + step, residual - 1
            luts[y, x] = np.clip(np.rint(counts.cumsum() * np.float32(255 / (th * tw))), 0, 255)
    out = np.zeros_like(grey)
    for y in range(height):
        fy = y / th - 0.5
        y1 = int(np.floor(fy))
        ya, y2 = fy - y1, min(y1 + 1, grid - 1)
        y1 = max(y1, 0)
        for x in range(width):
            fx = x / tw - 0.5
            x1 = int(np.floor(fx))
            xa, x2 = fx - x1, min(x1 + 1, grid - 1)
            x1, v = max(x1, 0), grey[y, x]
            upper = luts[y1, x1, v] * (1 - xa) + luts[y1, x2, v] * xa
            lower = luts[y2, x1, v] * (1 - xa) + luts[y2, x2, v] * xa
            out[y, x] = np.clip(np.rint(upper * (1 - ya) + lower * ya), 0, 255)
    return out


@pytest.mark.parametrize(("height", "width"), [(64, 48), (61, 50), (64, 50), (59, 48)])
@pytest.mark.parametrize("clip", [1.0, 4.0])
def test_clahe_is_opencvs_called_as_mdir_calls_it(height: int, width: int, clip: float) -> None:
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0, 0.7, height), np.linspace(0, 0.25, width))
    images = torch.from_numpy((smooth + rng.uniform(0, 0.05, (1, 3, height, width))).astype(np.float32))
    lab = lab_from_rgb(images)
    levels = (lab[0, 0] / 100 * 255 + 1e-4).numpy().astype(np.uint8)  # mdir cuts; 1e-4: the last digits
    lab[0, 0] = torch.from_numpy(opencv_clahe(levels, clip, 8).astype(np.float32)) / 255 * 100
    expected = rgb_from_lab(lab)
    found = light.Clahe(clip)(images)
    assert float((found - expected).abs().max()) * 255 < 1.5
    assert float((found - expected).abs().mean()) * 255 < 0.05


def test_gamma_gives_every_image_the_same_mean_lightness() -> None:
    images = torch.rand(3, 3, 20, 24) * torch.tensor([0.1, 0.5, 1.0])[:, None, None, None]
    grey = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)  # no colour leaves the range of RGB
    evened = lab_from_rgb(light.Gamma(0.4)(grey))[:, 0] / 100
    assert evened.mean(dim=(1, 2)).tolist() == pytest.approx([0.4] * 3, abs=1e-3)
    assert light.Gamma(0.4)(torch.zeros(1, 3, 4, 4)).max() < 1e-3


def test_the_knob_chooses_the_module() -> None:
    assert light.build(NetworkConfig()) is None
    assert repr(light.build(NetworkConfig(light="clahe", clahe_grid=4))) == "Clahe(clip_limit=1.0, grid=4)"
    assert repr(light.build(NetworkConfig(light="gamma"))) == "Gamma(target=0.5)"


def test_light_is_evened_out_once_before_all_scales() -> None:
    trunk = torch.nn.Conv2d(3, 6, 3)
    images = torch.rand(2, 3, 40, 32)
    plain, lit = RetrievalNetwork(trunk).eval(), RetrievalNetwork(trunk, light=light.Clahe()).eval()
    with torch.inference_mode():
        expected = aggregate_scales(plain, light.Clahe()(images), (1.0, 0.5))
        assert torch.allclose(aggregate_scales(lit, images, (1.0, 0.5)), expected, atol=1e-6)
        assert torch.allclose(lit(images), l2n(plain.embed(light.Clahe()(images))), atol=1e-6)
