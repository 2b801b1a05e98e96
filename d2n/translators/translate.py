"""Translation of images of any size with a trained generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from d2n.errors import ImageError
from d2n.pixels import signed_tensor, to_uint8
from d2n.translators.padding import pad_to_stride, unpad
from d2n.translators.strips import Field


@torch.no_grad()
def translate_batch(generator: nn.Module, images: Tensor, stride: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1], any size, to the same shape, in eval mode; the mode is given back."""
    padded, pads = pad_to_stride(images, stride, cast(int, getattr(generator, "smallest_side", stride)))
    with _evaluating(generator):
        return unpad(generator(padded), pads)


@torch.no_grad()
def translate_image(
    generator: nn.Module,
    image: npt.NDArray[np.uint8],
    stride: int,
    max_pixels: int = 4_000_000,
) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 to the same, rounded to the nearest of 256 levels.

    An image of more than ``max_pixels`` goes through in strips, layer by layer (translators/strips.py): the same
    night, but for the rounding of sums, in less memory. In the precision of the generator's parameters.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(f"image of shape {image.shape}, {image.dtype}; expected (H, W, 3) uint8")
    parameter = next(generator.parameters())
    height, width = image.shape[:2]

    def rows(first: int, last: int) -> Tensor:
        return signed_tensor(image[first:last]).unsqueeze(0).to(parameter.device, parameter.dtype)

    if height * width <= max_pixels:
        return to_uint8(translate_batch(generator, rows(0, height), stride)[0])
    day = Field((1, 3, height, width), parameter.dtype, parameter.device, rows)
    night = translate_batch(generator, cast(Tensor, day), stride)
    strips = night.strips() if isinstance(night, Field) else [(0, height)]
    return np.concatenate([to_uint8(_rows(night, first, last)[0]) for first, last in strips])


def _rows(image: Tensor | Field, first: int, last: int) -> Tensor:
    return image.rows(first, last) if isinstance(image, Field) else image[:, :, first:last]


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
