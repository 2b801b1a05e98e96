"""Augmentations without a generator, to compare night translation with: photometric darkening and CLAHE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# sRGB (IEC 61966-2-1) to CIE XYZ under D65, and the white point of that matrix (its row sums).
_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_NUM_BINS = 256
_ROUNDING = 1e-4  # white is the level 255, whatever the last digit of its lightness


def photometric(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random gamma, darkening, contrast and colour cast an image: (B, 3, H, W) RGB in [0, 1], kept there.

    gamma in [1, 2.5], brightness x [0.25, 0.8], contrast x [0.7, 1.3] around the image's mean, each channel
    x [0.85, 1.15].
    """
    gamma = _uniform(images, 1, 1.0, 2.5, generator)
    brightness = _uniform(images, 1, 0.25, 0.8, generator)
    contrast = _uniform(images, 1, 0.7, 1.3, generator)
    cast = _uniform(images, 3, 0.85, 1.15, generator)
    dark = images.clamp(0, 1).pow(gamma) * brightness * cast
    mean = dark.mean(dim=(1, 2, 3), keepdim=True)
    return ((dark - mean) * contrast + mean).clamp(0, 1)


def clahe(images: Tensor, clip_limit: float = 1.0, grid: int = 8) -> Tensor:
    """Contrast-limited adaptive histogram equalisation of the Lab lightness; (B, 3, H, W) RGB in [0, 1].

    Each of grid x grid tiles is equalised over 256 levels; no level counts more than clip_limit times the
    mean count, the excess is spread evenly, and pixels blend the maps of their four nearest tiles
    (Zuiderveld, Graphics Gems IV, 1994). As OpenCV does it, called as mdir calls it: lightness is cut to its
    level, what does not spread evenly goes to single levels from the first one on, and where one side does not
    divide by the grid both are padded.
    """
    if clip_limit <= 0 or grid < 1:
        raise ValueError(f"clip_limit {clip_limit} and grid {grid}, expected above 0 and at least 1")
    lab = lab_from_rgb(images)
    levels = (lab[:, 0] / 100 * (_NUM_BINS - 1) + _ROUNDING).long().clamp(0, _NUM_BINS - 1)  # (B, H, W)
    maps = _tile_maps(levels, clip_limit, grid)  # (B, grid, grid, 256)
    lightness = _blend_tiles(levels, maps).round() / (_NUM_BINS - 1) * 100
    return rgb_from_lab(torch.cat([lightness[:, None], lab[:, 1:]], dim=1))


def lab_from_rgb(rgb: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] to CIE Lab under D65: L in [0, 100], a and b about [-110, 110]."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    matrix = rgb.new_tensor(_XYZ_FROM_RGB)
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / matrix.sum(dim=1)[:, None, None]
    delta = 6 / 29
    f = torch.where(xyz > delta**3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * delta**2) + 4 / 29)
    x, y, z = f.unbind(dim=1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def rgb_from_lab(lab: Tensor) -> Tensor:
    """The inverse of lab_from_rgb, clamped to [0, 1]."""
    lightness, a, b = lab.unbind(dim=1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    delta = 6 / 29
    xyz = torch.where(f > delta, f**3, 3 * delta**2 * (f - 4 / 29))
    matrix = lab.new_tensor(_XYZ_FROM_RGB)
    xyz = xyz * matrix.sum(dim=1)[:, None, None]
    linear = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(matrix), xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).clamp(0, 1)


def _uniform(
    images: Tensor, channels: int, low: float, high: float, generator: torch.Generator | None
) -> Tensor:
    drawn = torch.rand(len(images), channels, 1, 1, generator=generator)
    return (low + (high - low) * drawn).to(images)


def _tile_maps(levels: Tensor, clip_limit: float, grid: int) -> Tensor:
    """(B, H, W) levels to (B, grid, grid, 256): where each tile's equalisation sends each level, 0 to 255."""
    batch, height, width = levels.shape
    rows, columns = _padded(height, width, grid)
    across, down = columns - width, rows - height
    mode = "reflect" if down < height and across < width else "replicate"
    padded = functional.pad(levels[:, None].float(), (0, across, 0, down), mode=mode)[:, 0].long()
    area = rows // grid * (columns // grid)
    tiles = padded.view(batch, grid, rows // grid, grid, columns // grid).transpose(2, 3).reshape(-1, area)
    counts = torch.zeros(len(tiles), _NUM_BINS, device=levels.device, dtype=torch.int64)
    counts.scatter_add_(1, tiles, torch.ones_like(tiles))
    limit = max(int(clip_limit * area / _NUM_BINS), 1)
    excess = (counts - limit).clamp(min=0).sum(dim=1, keepdim=True)
    counts = counts.clamp(max=limit) + excess // _NUM_BINS + _residual(excess % _NUM_BINS)
    maps = counts.cumsum(dim=1) * ((_NUM_BINS - 1) / area)
    return maps.round().clamp(0, _NUM_BINS - 1).view(batch, grid, grid, _NUM_BINS)


def _residual(left: Tensor) -> Tensor:
    """(T, 1) counts that did not spread evenly to (T, 256): one each at evenly spaced levels from 0 on."""
    step = (_NUM_BINS // left.clamp(min=1)).clamp(min=1)
    bins = torch.arange(_NUM_BINS, device=left.device)[None]
    return ((bins % step == 0) & (bins // step < left)).long()


def _padded(height: int, width: int, grid: int) -> tuple[int, int]:
    """The sides that divide by the grid; a side that does is padded by a whole grid where the other does not."""
    if height % grid == 0 and width % grid == 0:
        return height, width
    return height + grid - height % grid, width + grid - width % grid


def _blend_tiles(levels: Tensor, maps: Tensor) -> Tensor:
    """Bilinear mean of the four nearest tiles' maps at each pixel: (B, H, W) in 0 to 255."""
    batch, height, width = levels.shape
    grid = maps.shape[1]
    rows, columns = _padded(height, width, grid)
    top, bottom, down = _neighbours(height, rows // grid, grid, levels.device)
    left, right, across = _neighbours(width, columns // grid, grid, levels.device)
    images = torch.arange(batch, device=levels.device)[:, None, None]

    def sent(rows: Tensor, columns: Tensor) -> Tensor:
        return maps[images, rows[:, None], columns[None, :], levels]

    upper = sent(top, left) * (1 - across) + sent(top, right) * across
    lower = sent(bottom, left) * (1 - across) + sent(bottom, right) * across
    return upper * (1 - down[:, None]) + lower * down[:, None]


def _neighbours(side: int, tile: int, grid: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel of a side: the tile before, the tile after, and how far it lies towards the latter."""
    at = torch.arange(side, device=device) / tile - 0.5  # in units of tiles, from the first centre
    before = at.floor()
    weight = at - before
    return before.clamp(0, grid - 1).long(), (before + 1).clamp(0, grid - 1).long(), weight
