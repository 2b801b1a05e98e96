"""Descriptors of an image collection, and exact nearest-neighbour search among them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
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

_CHUNK_ROWS = 65536  # database rows in one matrix product
_CHUNK_QUERIES = 64  # queries whose full ranking is sorted at once


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


def rank(queries: ArrayLike, database: ArrayLike, k: int | None = None) -> NDArray[np.int64]:
    """Exact search by dot product: (k or N, Q) database rows, best first; equal scores in order of their row.

    queries: (Q, D), database: (N, D). k None ranks the whole database.
    """
    q, x = _checked(queries, "queries"), _checked(database, "database")
    q = q.to(x.dtype)
    if q.shape[1] != x.shape[1]:
        raise RetrievalError(
            f"queries have {q.shape[1]} dimensions, the database {x.shape[1]}; whiten both or none"
        )
    if k is None or k >= len(x):
        return _rank_all(q, x)
    if k < 1:
        raise RetrievalError(f"the best {k} were asked for, expected at least 1")
    return _rank_best(q, x, k)


def _scaled(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    return functional.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)


def _rank_all(queries: Tensor, database: Tensor) -> NDArray[np.int64]:
    out = np.empty((len(database), len(queries)), dtype=np.int64)
    for start in range(0, len(queries), _CHUNK_QUERIES):
        scores = queries[start : start + _CHUNK_QUERIES] @ database.T
        order = torch.sort(scores, dim=1, descending=True, stable=True).indices
        out[:, start : start + _CHUNK_QUERIES] = order.T.numpy()
    return out


def _rank_best(queries: Tensor, database: Tensor, k: int) -> NDArray[np.int64]:
    """Chunk by chunk: the best k so far against the best k of the next rows."""
    best = torch.empty(len(queries), 0, dtype=queries.dtype)
    rows = torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(database), _CHUNK_ROWS):
        scores = queries @ database[start : start + _CHUNK_ROWS].T
        values, found = _stable_topk(scores, k)
        best, rows = torch.cat([best, values], dim=1), torch.cat([rows, found + start], dim=1)
        best, places = torch.sort(best, dim=1, descending=True, stable=True)  # earlier rows stand first
        best, rows = best[:, :k], rows.gather(1, places)[:, :k]
    return rows.T.contiguous().numpy()


def _stable_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """torch.topk whose ties go to the earlier column, also at the border of the best k."""
    if k >= scores.shape[1]:
        ordered = torch.sort(scores, dim=1, descending=True, stable=True)
        return ordered.values, ordered.indices
    values, columns = torch.topk(scores, k, dim=1, sorted=False)
    columns, _ = torch.sort(columns, dim=1)
    last = values.amin(dim=1, keepdim=True)
    for row in torch.nonzero((scores >= last).sum(dim=1) > k).flatten().tolist():
        columns[row] = _border_resolved(scores[row], float(last[row]), k)
    values, places = torch.sort(scores.gather(1, columns), dim=1, descending=True, stable=True)
    return values, columns.gather(1, places)


def _border_resolved(scores: Tensor, last: float, k: int) -> Tensor:
    above = torch.nonzero(scores > last).flatten()
    level = torch.nonzero(scores == last).flatten()[: k - len(above)]
    return torch.sort(torch.cat([above, level])).values


def _checked(x: ArrayLike, name: str) -> Tensor:
    array = np.ascontiguousarray(x)
    if array.ndim != 2 or not len(array):
        raise RetrievalError(f"{name} are {array.shape} descriptors, expected (N, D) with N at least 1")
    if not np.isfinite(array).all():
        raise RetrievalError(f"{name}: descriptors are not all finite; check the network's weights")
    return torch.from_numpy(array.astype(np.float32) if array.dtype != np.float64 else array)
