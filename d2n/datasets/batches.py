"""Batches of two domains or more for translator training, and whole held-out images for its scores."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from d2n.config import DatasetConfig
from d2n.datasets import kind_of
from d2n.datasets.ahead import brought_ahead
from d2n.datasets.cache import DecodedCache, default_cache_dir
from d2n.datasets.crops import Box, resized, scaled_box, to_float, window_px
from d2n.datasets.images import load_rgb, open_rgb
from d2n.datasets.index import ImageRow, Index
from d2n.errors import DataError, ImageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PAIR = 2  # stream of random numbers of pairs; of the domains: 0, 1, then from 3 on


class TranslationBatches:
    """Random crops of the images of each domain; ``batch(step)`` is a pure function of the seed and the step.

    Every image of a domain is taken once before any is taken again, in an order drawn anew for each pass. A crop
    is a square window of ceil(S / s) px at a random place, s uniform in [scale_min, scale_max], resized to S x S
    (bicubic, antialiased); s is raised where the image is smaller than the window. A pair shares window and flip.
    ``shorter_side_px`` shrinks each image to that shorter side before (never enlarges it), so that small crops show
    as much as the whole images that the generator will translate. ``load="resize"`` takes the whole image instead;
    ``"auto"`` does as the set's row says. Sizes and places of the knobs: config.DatasetConfig.

    Raises DataError where a domain, or the pairs, are empty, or an image's shorter side is under S; with
    ``on_bad_image="skip"`` such images, and those that do not decode, are left out and counted in ``skipped``.
    """

    def __init__(
        self,
        index: Index,
        data: DatasetConfig,
        *,
        split: str,
        paired: bool,
        batch_size: int,
        seed: int,
        cache_dir: str | Path | None = None,
    ) -> None:
        _check_sizes(data)
        self._index, self._split, self._paired = index, split, paired
        self._batch_size, self._seed, self._size_px = batch_size, seed, data.image_size_px
        self._crop = _load(index, data) == "crop"
        self._scale_min, self._scale_max, self._flip = data.scale_min, data.scale_max, data.flip
        self._shorter_side_px = data.shorter_side_px
        self._skip = data.on_bad_image == "skip"
        self._bad: set[str] = set()
        self._cache = DecodedCache(Path(cache_dir) if cache_dir else default_cache_dir(), data.cache_mb)
        self._rows, self._pairs = self._usable()
        longest = len(self._pairs) if paired else max(map(len, self._rows.values()))
        self.steps_per_epoch = max(1, longest // batch_size)

    @property
    def skipped(self) -> int:
        """Images left out so far: too small, or found unreadable on the way."""
        return len(self._bad)

    def batch(self, step: int) -> dict[str, Tensor]:
        """By domain (``day``, ``night``): (B, 3, S, S) float32 in [-1, 1], x / 127.5 - 1, that is mean = std = 0.5."""
        return {domain: to_float(crops) for domain, crops in self.crops(step).items()}

    def crops(self, step: int) -> dict[str, Tensor]:
        """The batch before it is scaled: (B, 3, S, S) uint8."""
        decoded: dict[str, np.ndarray] = {}  # an image that comes twice in a batch is decoded once
        places = [self._one(step, place, decoded) for place in range(self._batch_size)]
        return {domain: torch.stack([one[domain] for one in places]) for domain in self._index.domains}

    def iterate(
        self, start_step: int, stop_step: int, num_workers: int = 0, device: str = "cpu"
    ) -> Iterator[dict[str, Tensor]]:
        """The batches of steps start_step … stop_step - 1, made ahead by worker processes where there are any.

        For a CUDA device they lie there, brought as bytes while the batch before is computed on.
        """
        steps = range(start_step, stop_step)
        loader: DataLoader[tuple[dict[str, Tensor], set[str]]] = DataLoader(
            _Steps(self),
            batch_size=None,
            sampler=steps,
            num_workers=min(num_workers, len(steps)),
            worker_init_fn=_start_worker,
            pin_memory=torch.device(device).type == "cuda",
        )
        for crops in brought_ahead(self._loaded(loader), torch.device(device)):
            yield {domain: to_float(tensor) for domain, tensor in crops.items()}

    def _loaded(self, loader: DataLoader[tuple[dict[str, Tensor], set[str]]]) -> Iterator[dict[str, Tensor]]:
        for crops, bad in loader:  # bytes cross the process boundary: a quarter of the floats
            self._bad |= bad
            yield crops

    def _usable(self) -> tuple[dict[str, list[ImageRow]], list[tuple[ImageRow, ImageRow]]]:
        """The rows of the split that are large enough, and its pairs."""
        rows = {domain: self._index.select(domain, self._split) for domain in self._index.domains}
        pairs = self._index.select_pairs(self._split) if self._paired else []
        self._refuse_empty(rows, pairs, "")
        if self._crop:
            groups: Iterable[Iterable[ImageRow]] = pairs if self._paired else rows.values()
            involved = {row for group in groups for row in group}
            small = sorted(
                (r for r in involved if min(r.width, r.height) < self._size_px), key=lambda r: r.path
            )
            self._refuse_small(small)
        rows = {domain: [row for row in found if row.path not in self._bad] for domain, found in rows.items()}
        pairs = [pair for pair in pairs if not {row.path for row in pair} & self._bad]
        self._refuse_empty(rows, pairs, f", {self.skipped} left out under {self._size_px} px")
        return rows, pairs

    def _refuse_small(self, small: list[ImageRow]) -> None:
        if small and not self._skip:
            first = f"{small[0].path} ({small[0].width} x {small[0].height})"
            raise DataError(
                f"{self._index.name}: {len(small)} images of split {self._split} have a side under "
                f"{self._size_px} px, first {first}; lower dataset.image_size_px or set dataset.on_bad_image=skip"
            )
        self._bad.update(row.path for row in small)

    def _refuse_empty(
        self, rows: dict[str, list[ImageRow]], pairs: list[tuple[ImageRow, ImageRow]], why: str
    ) -> None:
        what = f"{self._index.name}: split {self._split} has"
        if self._paired and not pairs:
            raise DataError(
                f"{what} no pairs{why}; train unpaired (cyclegan, cut), or prepare the set with pairs"
            )
        for domain, found in rows.items():
            if not found:
                expected = "both domains" if len(rows) == 2 else f"{len(rows)} domains"
                raise DataError(f"{what} 0 {domain} images{why}; expected {expected}, see `d2n data list`")

    def _one(self, step: int, place: int, decoded: dict[str, np.ndarray]) -> dict[str, Tensor]:
        """The crop of each domain at one place of a batch, (3, S, S) uint8."""
        item = step * self._batch_size + place
        if not self._paired:
            return {
                domain: self._retried(
                    rows, item, _stream(i), lambda row, rng: self._cut([row], rng, decoded)
                )[0]
                for i, (domain, rows) in enumerate(self._rows.items())
            }
        crops = self._retried(self._pairs, item, _PAIR, lambda pair, rng: self._cut(pair, rng, decoded))
        return dict(zip(self._index.domains, crops, strict=True))

    def _retried(
        self,
        items: Sequence[T],
        item: int,
        stream: int,
        cut: Callable[[T, np.random.Generator], list[Tensor]],
    ) -> list[Tensor]:
        """Cut the ``item``-th of an endless stream of passes; a bad one, if skipped, is replaced by a random other."""
        rng = np.random.default_rng((self._seed, stream, item))
        passes, position = divmod(item, len(items))
        chosen = int(_permutation(len(items), self._seed, stream, passes)[position])
        for _ in range(100):
            try:
                return cut(items[chosen], rng)
            except ImageError as error:
                if not self._skip:
                    raise
                logger.warning("skipped %s", error)
            chosen = int(rng.integers(len(items)))
        raise DataError(
            f"{self._index.name}: 100 bad images in a row; run `d2n data verify {self._index.name}`"
        )

    def _cut(
        self, rows: Sequence[ImageRow], rng: np.random.Generator, decoded: dict[str, np.ndarray]
    ) -> list[Tensor]:
        """One window of one image, or of both images of a pair."""
        images = [self._decoded(row, decoded) for row in rows]
        boxes = self._boxes(images, rng) if self._crop else [None] * len(images)
        flip = self._flip and bool(rng.random() < 0.5)
        crops = [resized(image, box, self._size_px) for image, box in zip(images, boxes, strict=True)]
        return [crop.flip(2) for crop in crops] if flip else crops

    def _decoded(self, row: ImageRow, decoded: dict[str, np.ndarray]) -> np.ndarray:
        if row.path in self._bad:
            raise ImageError(f"{row.path}: found bad before")
        if row.path not in decoded:
            try:
                decoded[row.path] = self._cache.get(self._kept_as(row), lambda: self._decode(row))
            except ImageError:
                self._bad.add(row.path)
                raise
        return decoded[row.path]

    def _kept_as(self, row: ImageRow) -> str:
        if not self._crop:
            return f"{row.sha256}-{self._size_px}"
        return row.sha256 if self._shorter_side_px is None else f"{row.sha256}-short{self._shorter_side_px}"

    def _decode(self, row: ImageRow) -> np.ndarray:
        path = self._index.path(row)
        if not self._crop:
            image = load_rgb(path, self._size_px)
            return resized(image, None, self._size_px).permute(1, 2, 0).contiguous().numpy()
        image = load_rgb(path, self._shorter_side_px)
        if min(image.shape[:2]) < self._size_px:
            raise ImageError(
                f"{row.path}: {image.shape[1]} x {image.shape[0]} px, the index has another size"
            )
        return image if self._shorter_side_px is None else shrunk(image, self._shorter_side_px)

    def _boxes(self, images: Sequence[np.ndarray], rng: np.random.Generator) -> list[Box]:
        """(left, top, right, bottom) in each image; the second of a pair is taken as stretched onto the first."""
        height, width = images[0].shape[:2]
        window = window_px(
            self._size_px, float(rng.uniform(self._scale_min, self._scale_max)), min(height, width)
        )
        left, top = int(rng.integers(width - window + 1)), int(rng.integers(height - window + 1))
        box = (left, top, left + window, top + window)
        return [scaled_box(box, image.shape[1] / width, image.shape[0] / height) for image in images]


def _stream(place: int) -> int:
    """The stream of random numbers of the domain at this place."""
    return place if place < _PAIR else place + 1


def _check_sizes(data: DatasetConfig) -> None:
    if data.shorter_side_px is not None and data.shorter_side_px < data.image_size_px:
        raise DataError(
            f"dataset.shorter_side_px {data.shorter_side_px} is under image_size_px {data.image_size_px}; "
            "expected no less"
        )
    if data.scale_min > data.scale_max:
        raise DataError(
            f"dataset.scale_min {data.scale_min} is above scale_max {data.scale_max}; expected min <= max"
        )


def _load(index: Index, data: DatasetConfig) -> str:
    if data.load != "auto":
        return data.load
    kind = kind_of(index)
    return "crop" if kind is None else kind.load


def shrunk(image: np.ndarray, shorter_side_px: int) -> np.ndarray:
    """(H, W, 3) uint8 with its shorter side at most ``shorter_side_px``, aspect kept (antialiased bicubic)."""
    height, width = image.shape[:2]
    factor = shorter_side_px / min(height, width)
    if factor >= 1:
        return image
    size = (max(shorter_side_px, round(width * factor)), max(shorter_side_px, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def held_out_rows(index: Index, domain: str, split: str) -> list[ImageRow]:
    """The images of a domain that a split is scored on, in the order of their paths.

    A held-out split with fewer than two images of the domain is joined by the other one, never by train (logged).
    """
    rows = index.select(domain, split)
    if len(rows) < 2 and split in ("val", "test"):
        rows = [row for held_out in ("val", "test") for row in index.select(domain, held_out)]
        logger.warning(
            "%s: %s has under 2 %s images; val and test are scored together", index.name, split, domain
        )
    return sorted(rows, key=lambda row: row.path)


def evaluation_images(
    index: Index,
    domain: str,
    split: str,
    image_size_px: int,
    num_images: int | None = None,
    seed: int = 0,
    workers: int = 2,
) -> tuple[list[ImageRow], np.ndarray]:
    """Whole held-out images resized to S x S (bicubic): their rows and (N, S, S, 3) uint8.

    The rows are those of held_out_rows; ``num_images`` draws a subset by the seed. Raises DataError where there
    is none.
    """
    chosen = evaluation_rows(index, domain, split, num_images, seed)
    if not chosen:
        raise DataError(
            f"{index.name}: split {split} has 0 {domain} images; prepare it with a larger dataset.rule.{split}_share"
        )
    return chosen, _load_whole(index, chosen, image_size_px, workers)


def evaluation_rows(
    index: Index, domain: str, split: str, num_images: int | None = None, seed: int = 0
) -> list[ImageRow]:
    """The rows of evaluation_images, without a look at their pixels; none where there is none."""
    return _subset(held_out_rows(index, domain, split), num_images, seed)


def evaluation_pairs(
    index: Index,
    split: str,
    image_size_px: int,
    num_images: int | None = None,
    seed: int = 0,
    workers: int = 2,
) -> tuple[list[tuple[ImageRow, ImageRow]], np.ndarray, np.ndarray]:
    """Whole held-out pairs: their rows, day and night, each (N, S, S, 3) uint8; else as evaluation_images."""
    pairs = index.select_pairs(split)
    if not pairs and split in ("val", "test"):
        pairs = [pair for held_out in ("val", "test") for pair in index.select_pairs(held_out)]
    if not pairs:
        raise DataError(f"{index.name}: split {split} has no pairs; score it without ssim and ms_ssim")
    chosen = _subset(sorted(pairs, key=lambda pair: (pair[0].path, pair[1].path)), num_images, seed)
    day, night = (
        _load_whole(index, [pair[side] for pair in chosen], image_size_px, workers) for side in (0, 1)
    )
    return chosen, day, night


class _Steps(Dataset[tuple[dict[str, Tensor], set[str]]]):
    """Steps as a map-style data set, so that DataLoader's workers prefetch whole batches."""

    def __init__(self, batches: TranslationBatches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> tuple[dict[str, Tensor], set[str]]:
        return self.batches.crops(step), set(self.batches._bad)


def _start_worker(_: int) -> None:
    info = get_worker_info()
    if info is not None:
        torch.set_num_threads(1)
        cast(_Steps, info.dataset).batches._cache.split(info.num_workers)


@lru_cache(maxsize=16)
def _permutation(n: int, seed: int, stream: int, passes: int) -> np.ndarray:
    return np.random.default_rng((seed, stream, passes, n)).permutation(n)


def _subset(items: list[T], num: int | None, seed: int) -> list[T]:
    if num is None or num >= len(items):
        return items
    return [items[i] for i in sorted(np.random.default_rng(seed).permutation(len(items))[:num])]


def _load_whole(index: Index, rows: Sequence[ImageRow], size_px: int, workers: int) -> np.ndarray:
    def load(row: ImageRow) -> np.ndarray:
        image = open_rgb(index.path(row), shrink_to_px=size_px)
        return np.asarray(image.resize((size_px, size_px), Image.Resampling.BICUBIC))

    with ThreadPoolExecutor(max(1, workers)) as pool:
        return np.stack(list(pool.map(load, rows)))
