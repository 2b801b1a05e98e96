"""Padding to the stride of a generator, so that it takes any image size."""

from __future__ import annotations

import logging

from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

Pads = tuple[int, int, int, int]  # left, right, top, bottom


def pad_to_stride(x: Tensor, stride: int, smallest: int = 0) -> tuple[Tensor, Pads]:
    """(B, C, H, W) with both sides padded up to multiples of ``stride``, at least ``smallest``; and the pads.

    Centred, the odd pixel right and bottom. By reflection; both axes by replication, and logged, where a
    side is too small to reflect.
    """
    height, width = x.shape[-2:]
    missing_x = max(width + -width % stride, smallest) - width
    missing_y = max(height + -height % stride, smallest) - height
    pads = (missing_x // 2, missing_x - missing_x // 2, missing_y // 2, missing_y - missing_y // 2)
    if not any(pads):
        return x, pads
    reflects = pads[1] < width and pads[3] < height
    if not reflects:
        logger.info("%d x %d pixels are too few to reflect for stride %d: replicated", height, width, stride)
    return F.pad(x, pads, mode="reflect" if reflects else "replicate"), pads


def unpad(x: Tensor, pads: Pads) -> Tensor:
    """What lay inside the pads."""
    left, right, top, bottom = pads
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
