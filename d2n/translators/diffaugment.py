"""DiffAugment (Zhao et al. 2020): random, differentiable changes of all that a discriminator sees.

Only translation and cutout: colour and brightness changes would erase what tells night from day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TRANSLATION_RATIO = 1 / 8  # of each side, as in the paper
CUTOUT_RATIO = 1 / 2


def diffaugment(images: Tensor, kinds: Sequence[str], random: torch.Generator) -> Tensor:
    """(B, C, H, W) to the same shape, each image changed by itself, the same way in all its channels."""
    for kind in kinds:
        images = AUGMENTATIONS[kind](images, random)
    return images


def translate_randomly(images: Tensor, random: torch.Generator) -> Tensor:
    """Shift by up to an eighth of each side; what comes in is 0."""
    batch, _, height, width = images.shape
    reach_y, reach_x = int(height * TRANSLATION_RATIO + 0.5), int(width * TRANSLATION_RATIO + 0.5)
    dy = _draw(-reach_y, reach_y + 1, batch, images, random)
    dx = _draw(-reach_x, reach_x + 1, batch, images, random)
    padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y))
    rows = torch.arange(height, device=images.device).view(1, height, 1) + reach_y + dy.view(batch, 1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, width) + reach_x + dx.view(batch, 1, 1)
    index = torch.arange(batch, device=images.device).view(batch, 1, 1)
    return padded.permute(0, 2, 3, 1)[index, rows, columns].permute(0, 3, 1, 2)


def cut_out_randomly(images: Tensor, random: torch.Generator) -> Tensor:
    """Set a window of half of each side to 0; its centre lies anywhere, so a part of it may fall outside."""
    batch, _, height, width = images.shape
    cut_y, cut_x = int(height * CUTOUT_RATIO + 0.5), int(width * CUTOUT_RATIO + 0.5)
    y0 = _draw(0, height + 1 - cut_y % 2, batch, images, random) - cut_y // 2
    x0 = _draw(0, width + 1 - cut_x % 2, batch, images, random) - cut_x // 2
    rows = torch.arange(height, device=images.device).view(1, height) - y0.view(batch, 1)
    columns = torch.arange(width, device=images.device).view(1, width) - x0.view(batch, 1)
    inside = ((rows >= 0) & (rows < cut_y)).unsqueeze(2) & ((columns >= 0) & (columns < cut_x)).unsqueeze(1)
    return images * (~inside).unsqueeze(1).to(images.dtype)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "translation": translate_randomly,
    "cutout": cut_out_randomly,
}


def _draw(low: int, high: int, batch: int, like: Tensor, random: torch.Generator) -> Tensor:
    drawn = torch.randint(low, high, (batch,), generator=random, device=random.device)
    return drawn.to(like.device, non_blocking=True)
