"""Images on their way into the network: shrunk as retrieval does it, kept in memory, batched by size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from d2n.pixels import unit_tensor

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the original image
LoadImage = Callable[[Path], Pixels]

_CACHE_BYTES = 1 << 30  # decoded training images kept in memory
_BATCH_PX = 1 << 21  # pixels in one forward pass, so that large images do not fill the memory


def shrink(image: Pixels, longest_px: float) -> Pixels:
    """The Lanczos thumbnail with its longest side at most longest_px; aspect kept, never enlarged."""
    if max(image.shape[:2]) <= longest_px:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def stretch(image: Pixels, side_px: int) -> Pixels:
    """Resized (Lanczos) to a square, whatever its aspect, so that sizes tell nothing about the camera."""
    return np.asarray(Image.fromarray(image).resize((side_px, side_px), Image.Resampling.LANCZOS))


def crop_and_shrink(image: Pixels, box: Box, longest_px: int) -> Pixels:
    """A query's box cut from the original, at the scale the whole image would have had."""
    cut = np.asarray(
        Image.fromarray(image).crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))
    )
    return shrink(cut, longest_px * max(cut.shape[:2]) / max(image.shape[:2]))


def shrunk_size(size: tuple[int, int], longest_px: float) -> tuple[int, int]:
    """(width, height) of what ``shrink`` makes of an image of that size: Pillow's thumbnail, without one."""
    width, height = size
    if max(size) <= longest_px:
        return size
    longest, aspect = math.floor(longest_px), width / height
    if aspect <= 1:  # the side whose rounding keeps the aspect best
        exact = longest * aspect
        short = min((math.floor(exact), math.ceil(exact)), key=lambda n: abs(aspect - n / longest))
        return max(short, 1), longest
    exact = longest / aspect
    short = min((math.floor(exact), math.ceil(exact)), key=lambda n: abs(aspect - longest / n) if n else 0.0)
    return longest, max(short, 1)


def cropped_size(size: tuple[int, int], box: Box, longest_px: int) -> tuple[int, int]:
    """(width, height) of what ``crop_and_shrink`` makes of a box in an image of that size."""
    cut = round(box[2]) - round(box[0]), round(box[3]) - round(box[1])
    return shrunk_size(cut, longest_px * max(cut) / max(size))


def to_tensor(images: Sequence[Pixels], device: torch.device | str = "cpu") -> Tensor:
    """Images of one size to (B, 3, H, W) float32 in [0, 1]."""
    return unit_tensor(np.stack(images), device)


def batches_by_size(images: Sequence[Pixels], batch_size: int) -> Iterator[list[int]]:
    """Positions of images of one size, at most batch_size and about two megapixels together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for position, image in enumerate(images):
        by_size.setdefault(image.shape[:2], []).append(position)
    for (height, width), positions in by_size.items():
        size = max(1, min(batch_size, _BATCH_PX // (height * width)))
        for start in range(0, len(positions), size):
            yield positions[start : start + size]


def embed(
    network: nn.Module, images: Sequence[Pixels], device: torch.device | str, batch_size: int
) -> Tensor:
    """Descriptors (N, D) float32 of images of any sizes, in order, on the device, without gradients."""
    out: list[Tensor | None] = [None] * len(images)
    with torch.inference_mode():
        for positions in batches_by_size(images, batch_size):
            descriptors = network(to_tensor([images[p] for p in positions], device)).float()
            for position, descriptor in zip(positions, descriptors, strict=True):
                out[position] = descriptor
    return torch.stack([descriptor for descriptor in out if descriptor is not None])


class ImageStore:
    """Images by number: decoded once, shrunk, and kept in memory as long as they fit max_bytes."""

    def __init__(
        self,
        paths: Sequence[Path],
        load_image: LoadImage,
        image_size_px: int,
        *,
        num_workers: int = 0,
        max_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.paths, self._load_image, self._image_size_px = paths, load_image, image_size_px
        self._num_workers, self._free_bytes = num_workers, max_bytes
        self._kept: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def many(self, numbers: Iterable[int]) -> list[Pixels]:
        """The images of these numbers, in order; decoded by num_workers threads."""
        wanted = [int(number) for number in numbers]
        absent = [number for number in dict.fromkeys(wanted) if number not in self._kept]
        loaded = dict(zip(absent, self._decoded(absent), strict=True))
        for number, image in loaded.items():
            if image.nbytes <= self._free_bytes:
                self._free_bytes -= image.nbytes
                self._kept[number] = image
        return [self._kept[number] if number in self._kept else loaded[number] for number in wanted]

    def _decoded(self, numbers: Sequence[int]) -> list[Pixels]:
        if self._num_workers < 2 or len(numbers) < 2:
            return [self._one(number) for number in numbers]
        with ThreadPoolExecutor(self._num_workers) as pool:
            return list(pool.map(self._one, numbers))

    def _one(self, number: int) -> Pixels:
        return shrink(self._load_image(self.paths[number]), self._image_size_px)
