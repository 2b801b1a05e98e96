"""Translation of images of any size with a trained generator."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from d2n.errors import ImageError
from d2n.translators.padding import pad_to_stride, unpad

TILE_OVERLAP_PX = 64


@torch.no_grad()
def translate_batch(generator: nn.Module, images: Tensor, stride: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1], any size, to the same shape, in eval mode; the mode is given back."""
    padded, pads = pad_to_stride(images, stride, cast(int, getattr(generator, "smallest_side", stride)))
    with _evaluating(generator):
        return unpad(generator(padded), pads)


def translate_image(
    generator: nn.Module,
    image: npt.NDArray[np.uint8],
    stride: int,
    max_pixels: int = 4_000_000,
    overlap_px: int = TILE_OVERLAP_PX,
) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 to the same, rounded to the nearest of 256 levels.

    An image of more than ``max_pixels`` goes through in tiles that overlap by ``overlap_px`` and are blended
    there linearly. Statistics of instance norm are then each tile's own: brightness may drift between
    distant tiles.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"image of shape {image.shape}, {image.dtype}; expected (H, W, 3) uint8")
    parameter = next(generator.parameters())
    x = to_tensor(image).unsqueeze(0).to(parameter.device, parameter.dtype)
    height, width = image.shape[:2]
    if height * width <= max_pixels:
        return to_uint8(translate_batch(generator, x, stride)[0])
    return to_uint8(_translate_tiles(generator, x, stride, max_pixels, overlap_px)[0])


def to_tensor(image: npt.NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


def to_uint8(image: Tensor) -> npt.NDArray[np.uint8]:
    """(3, H, W) in [-1, 1] to (H, W, 3) uint8, rounded (truncation would darken 63 of the 256 levels)."""
    levels = ((image.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of ``tile`` pixels begin to cover ``length``, overlapping by ``overlap`` or more."""
    if length <= tile:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _translate_tiles(generator: nn.Module, x: Tensor, stride: int, max_pixels: int, overlap: int) -> Tensor:
    side = max(int(math.sqrt(max_pixels)) // stride, 1) * stride
    overlap = min(overlap, side // 2)
    height, width = x.shape[-2:]
    tile_h, tile_w = min(side, height), min(side, width)
    total = torch.zeros_like(x)
    weight = torch.zeros_like(x[:, :1])
    ramp = _ramp(tile_h, overlap, x).view(-1, 1) * _ramp(tile_w, overlap, x).view(1, -1)
    for top in tile_starts(height, tile_h, overlap):
        for left in tile_starts(width, tile_w, overlap):
            window = (..., slice(top, top + tile_h), slice(left, left + tile_w))
            total[window] += translate_batch(generator, x[window], stride) * ramp
            weight[window] += ramp
    return total / weight


def _ramp(length: int, overlap: int, like: Tensor) -> Tensor:
    """Rises from 1 / (overlap + 1) to 1 over the overlap, and falls as it rose."""
    position = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)
    return torch.minimum(position, position.flip(0)).clamp(max=overlap + 1) / (overlap + 1)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
