"""Descriptors of an image collection; the search among them is ranking.rank."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from d2n.devices import autocast, resolve_precision
from d2n.errors import RetrievalError
from d2n.retrieval.images import (
    Box,
    LoadImage,
    Pixels,
    batches_by_size,
    crop_and_shrink,
    cropped_size,
    shrink,
    shrunk_size,
    stretch,
    to_tensor,
)
from d2n.retrieval.network import RetrievalNetwork, l2n
from d2n.retrieval.ranking import rank as rank


@dataclass(frozen=True)
class View:
    """How images enter the network: at which longest side in px and which scales of it, or stretched to a square."""

    image_size_px: int
    scales: Sequence[float] = (1.0,)
    square: bool = False
    precision: str = (
        "fp32"  # bf16: autocast, and channels last in memory; auto: where the processor is fast with it
    )


def extract(
    network: RetrievalNetwork,
    images: Sequence[Path],
    view: View,
    *,
    load_image: LoadImage,
    boxes: Sequence[Box | None] | None = None,
    batch_size: int = 32,
    progress: bool = False,
) -> NDArray[np.float32]:
    """Descriptors (N, D) float32 of images, aggregated over the view's scales, on the network's device.

    boxes: a crop for each image, in pixels of the original.
    """
    if boxes is not None and len(boxes) != len(images):
        raise RetrievalError(f"{len(boxes)} boxes for {len(images)} images, expected one for each")
    network = network.eval()
    device = network.mean.device
    half = resolve_precision(view.precision, device) == "bf16"
    if half:
        network = network.to(memory_format=torch.channels_last)
    rows: list[NDArray[np.float32]] = []
    window = 4 * batch_size  # images held in memory, so that those of one size find each other
    with tqdm(total=len(images), desc="descriptors", disable=None if progress else True) as bar:
        for start in range(0, len(images), window):
            box_of = boxes[start : start + window] if boxes is not None else [None] * window
            pixels = [
                prepare(load_image(path), box, view.image_size_px, view.square)
                for path, box in zip(images[start : start + window], box_of, strict=False)
            ]
            with autocast(device, "bf16") if half else contextlib.nullcontext():
                rows.append(embed_scales(network, pixels, view.scales, batch_size, device))
            bar.update(len(pixels))
    return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)


def prepare(image: Pixels, box: Box | None, image_size_px: int, square: bool = False) -> Pixels:
    """An image as it enters the network: stretched, cropped, or shrunk to the longest side image_size_px."""
    if square:
        whole = image if box is None else crop_and_shrink(image, box, max(image.shape[:2]))
        return stretch(whole, image_size_px)
    return shrink(image, image_size_px) if box is None else crop_and_shrink(image, box, image_size_px)


def embed_scales(
    network: RetrievalNetwork,
    images: Sequence[Pixels],
    scales: Sequence[float],
    batch_size: int,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Descriptors (N, D) of images of any sizes, in order: see aggregate_scales."""
    out: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for positions in batches_by_size(images, batch_size):
            batch = to_tensor([images[p] for p in positions], device)
            descriptors = aggregate_scales(network, batch, scales).cpu().numpy()
            out.update(zip(positions, descriptors, strict=True))
    return np.stack([out[position] for position in range(len(images))])


def aggregate_scales(network: RetrievalNetwork, images: Tensor, scales: Sequence[float]) -> Tensor:
    """(mean over scales of f_s^m)^(1/m), then L2: (B, 3, H, W) in [0, 1] to (B, D).

    Scaled bilinearly without aligned corners; m is GeM's p, or 1 where a head follows it (TPAMI 2019, section 3.2).
    """
    if tuple(scales) == (1.0,):
        descriptors: Tensor = network(images).float()
        return descriptors
    power = network.multiscale_power
    total = torch.zeros((), device=images.device)
    lit = network.lit(images)
    for scale in scales:
        total = total + l2n(network.embed(_scaled(lit, scale))).float().pow(power)
    return l2n((total / len(scales)).pow(1 / power))


def smallest_side(network: RetrievalNetwork, at_most: int = 512) -> int:
    """The shortest side in px that the network's trunk still has an output for; RetrievalError over ``at_most``."""
    trunk = network.features
    parameter = next(trunk.parameters())
    was_training = trunk.training
    trunk.eval()
    try:
        for side in range(1, at_most + 1):
            with torch.inference_mode(), contextlib.suppress(RuntimeError, ValueError):
                if trunk(torch.zeros(1, 3, side, side, device=parameter.device)).numel():
                    return side
    finally:
        trunk.train(was_training)
    raise RetrievalError(
        f"the network has no output for images of {at_most} px, expected one for smaller ones"
    )


def entering_size(
    size: tuple[int, int],
    box: Box | None,
    image_size_px: int,
    scales: Sequence[float] = (1.0,),
    square: bool = False,
) -> tuple[int, int]:
    """(width, height) in px with which an image of that size enters the network at the smallest of the scales."""
    if square:
        width = height = image_size_px
    elif box is None:
        width, height = shrunk_size(size, image_size_px)
    else:
        width, height = cropped_size(size, box, image_size_px)
    scale = min(scales)
    return (width, height) if scale == 1 else (math.floor(width * scale), math.floor(height * scale))


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    return functional.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
