"""Resizing as the published FID codes do it; their results do not compare.

Parmar et al., 2022, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

Pixels = npt.NDArray[np.uint8]


def clean(image: Pixels, side_px: int) -> Tensor:
    """PIL's antialiased bicubic in float, clipped to [0, 255] but not rounded (clean-fid's)."""
    channels = [_bicubic(image[:, :, c].astype(np.float32), side_px) for c in range(image.shape[2])]
    return torch.from_numpy(np.stack(channels).clip(0, 255))


def tf1(image: Pixels, side_px: int) -> Tensor:
    """TensorFlow 1's bilinear: no antialiasing, output pixel i reads at i * scale (the 2017 FID code's)."""
    return _tf1(_tensor(image), side_px)


def half_pixel(image: Pixels, side_px: int) -> Tensor:
    """Torch's bilinear with half-pixel centres and no antialiasing (pytorch-fid's)."""
    x = _tensor(image)[None]
    return functional.interpolate(x, size=(side_px, side_px), mode="bilinear", align_corners=False)[0]


# (H, W, 3) uint8 to (3, side_px, side_px) float32 in [0, 255]
RESIZES: Mapping[str, Callable[[Pixels, int], Tensor]] = {"clean": clean, "tf1": tf1, "torch": half_pixel}
BY_TORCH = ("tf1", "torch")  # on a processor the others are PIL's, which runs beside other threads


def together(images: Tensor, side_px: int, kind: str) -> Tensor:
    """(B, 3, H, W) uint8 on any device to (B, 3, side_px, side_px) float32 in [0, 255] there, as RESIZES[kind].

    clean is torch's antialiased bicubic, within 0.01 of PIL's.
    """
    x, size = images.float(), (side_px, side_px)
    if kind == "tf1":
        return _tf1(x, side_px)
    if kind == "torch":
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return functional.interpolate(x, size=size, mode="bicubic", antialias=True).clamp_(0, 255)


def _tf1(x: Tensor, side_px: int) -> Tensor:
    (top, bottom, down), (left, right, across) = (
        (part.to(x.device) for part in _tf1_taps(side, side_px)) for side in x.shape[-2:]
    )
    rows = torch.lerp(x[..., top, :], x[..., bottom, :], down[:, None])
    return torch.lerp(rows[..., left], rows[..., right], across)


def _bicubic(channel: npt.NDArray[np.float32], side_px: int) -> npt.NDArray[Any]:
    return np.asarray(Image.fromarray(channel).resize((side_px, side_px), Image.Resampling.BICUBIC))


def _tensor(image: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()


def _tf1_taps(source_px: int, side_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two source pixels and the weight of the second, for each output pixel."""
    places = torch.arange(side_px, dtype=torch.float32) * (source_px / side_px)
    first = places.long()
    return first, (first + 1).clamp(max=source_px - 1), places - first
