"""The geometry of a training crop: its window, and the resizing of it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

Box = tuple[int, int, int, int]  # left, top, right, bottom in px


def window_px(size_px: int, scale: float, shorter_side_px: int) -> int:
    """Side of the window that, shrunk by ``scale``, gives ``size_px``: ceil(S / s), at most the image's side."""
    # The margin keeps S / s that is a whole number from being raised by a rounding error.
    return min(math.ceil(size_px / scale - 1e-9), shorter_side_px)


def scaled_box(box: Box, x: float, y: float) -> Box:
    """The same part of an image that is x times as wide and y times as high; never empty."""
    if x == y == 1:
        return box
    left, top = int(box[0] * x), int(box[1] * y)
    return left, top, max(left + 1, int(box[2] * x)), max(top + 1, int(box[3] * y))


def resized(image: np.ndarray, box: Box | None, size_px: int) -> Tensor:
    """(3, S, S) uint8 of a window of (H, W, 3): cut first, so that pixels beyond its border have no say."""
    left, top, right, bottom = box if box is not None else (0, 0, image.shape[1], image.shape[0])
    window = torch.from_numpy(image[top:bottom, left:right].copy()).permute(2, 0, 1)
    if window.shape[1:] == (size_px, size_px):
        return window.contiguous()
    # Pillow's filter in integers too (within 1 of it), several times as fast
    shrunk = interpolate(window[None], (size_px, size_px), mode="bicubic", antialias=True)
    return shrunk[0].contiguous()


def to_float(crops: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]: x / 127.5 - 1, that is mean = std = 0.5."""
    return crops.to(torch.float32).div_(127.5).sub_(1)
