"""Loading of training crops at 256 px: images/s here against torchvision's ImageFolder with the same transforms.

    pytest benchmarks/test_datasets.py -s
    pytest benchmarks/test_datasets.py -s -k decoder      JPEGs alone: Pillow, torchvision's decoder, a turbo binding
    pytest benchmarks/test_datasets.py -s -k sleeps       whether a GPU that takes 500 images/s would wait

All read the same JPEGs in the same run; each figure is the best of three passes over all images.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import io, transforms
from torchvision.datasets import ImageFolder

from d2n.config import DatasetConfig
from d2n.datasets import prepare
from d2n.datasets.batches import TranslationBatches
from d2n.datasets.crops import window_px
from d2n.datasets.images import load_rgb
from d2n.datasets.index import Index

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio

SIZE_PX, BATCH_SIZE, NUM_IMAGES, REPEATS = 256, 5, 150, 3
GPU_IMAGES_PER_S = 500


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """day/ and night/ of 1024 x 768 JPEGs with photograph-like detail, indexed; all of split train."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for domain in ("day", "night"):
        (root / domain).mkdir()
        for i in range(NUM_IMAGES):
            coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).resize((1024, 768))
            noisy = np.asarray(coarse, dtype=float) + rng.normal(0, 6, (768, 1024, 3))
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
                root / domain / f"{i:03d}.jpg", quality=90
            )
    return prepare("folders", root, rule={"val_share": 0, "test_share": 0, "pairs": "none"})


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_images_per_second(photographs: Index, tmp_path: Path, num_workers: int, ratio: Ratio) -> None:
    torch.set_num_threads(1)
    _ours(photographs, num_workers, tmp_path)  # fills the cache
    theirs, ours, cached = _best_rates(
        lambda: _image_folder(photographs.root, num_workers),
        lambda: _ours(photographs, num_workers),
        lambda: _ours(photographs, num_workers, tmp_path),
    )
    print(
        f"\n{num_workers} workers, {SIZE_PX} px: ImageFolder {theirs:.0f} images/s, here {ours:.0f} "
        f"(ratio {ours / theirs:.2f}), here with the cache {cached:.0f} (ratio {cached / theirs:.2f})"
    )
    ratio(f"loading at {SIZE_PX} px, {num_workers} workers", "ImageFolder", ours / theirs)
    ratio(f"the same with the decoded cache, {num_workers} workers", "ImageFolder", cached / theirs)
    assert min(theirs, ours, cached) > 0


@pytest.mark.filterwarnings(
    "ignore:The image decoding:DeprecationWarning"
)  # torchvision's leaves with a later release
def test_a_decoder(photographs: Index) -> None:
    """Whole JPEGs to RGB, one thread: what the loader calls, and what could take its place."""
    simplejpeg = pytest.importorskip("simplejpeg")
    torch.set_num_threads(1)
    paths = sorted((photographs.root / "day").iterdir())
    contents = [path.read_bytes() for path in paths]
    tensors = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]
    rates = dict(
        zip(
            ("here (Pillow)", "torchvision.io", "simplejpeg", "simplejpeg, fast upsampling"),
            _best_rates(
                lambda: sum(load_rgb(path).ndim > 0 for path in paths),
                lambda: sum(io.decode_jpeg(one).ndim > 0 for one in tensors),
                lambda: sum(simplejpeg.decode_jpeg(one).ndim > 0 for one in contents),
                lambda: sum(
                    simplejpeg.decode_jpeg(one, fastdct=True, fastupsample=True).ndim > 0 for one in contents
                ),
            ),
            strict=True,
        )
    )
    ours = rates["here (Pillow)"]
    print(
        "\n"
        + "\n".join(f"{name}: {rate:.0f} images/s, {rate / ours:.2f} x here" for name, rate in rates.items())
    )
    assert min(rates.values()) > 0


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_consumer_that_sleeps(photographs: Index, tmp_path: Path, is_cached: bool) -> None:
    """A batch is taken as often as a GPU of 500 images/s asks: told is how many it gets, and its share of waiting."""
    torch.set_num_threads(1)
    num_workers = min(4, os.cpu_count() or 1)
    cache = tmp_path if is_cached else None
    if is_cached:
        _ours(photographs, num_workers, cache)
    count, waited, begun = 0, 0.0, time.perf_counter()
    for batch in _batches(photographs, cache, epochs=4, num_workers=num_workers):
        waited += time.perf_counter() - begun
        images = len(batch["day"]) + len(batch["night"])
        count += images
        if count == images:  # the first batch waits for the workers' start
            started, waited = time.perf_counter(), 0.0
        time.sleep(images / GPU_IMAGES_PER_S)
        begun = time.perf_counter()
    took = time.perf_counter() - started
    print(
        f"\n{num_workers} workers, {'decoded cache' if is_cached else 'JPEGs of 1024 x 768'}: "
        f"{(count - 2 * BATCH_SIZE) / took:.0f} images/s of {GPU_IMAGES_PER_S}, {waited / took:.0%} of the time waiting"
    )
    assert count > 0


def _best_rates(*passes: Callable[[], int]) -> list[float]:
    """Images a second of each, best of REPEATS, taken in turns so that a busy moment hits all alike."""
    rates = [0.0] * len(passes)
    for _ in range(REPEATS):
        for i, one_pass in enumerate(passes):
            start = time.perf_counter()
            rates[i] = max(rates[i], one_pass() / (time.perf_counter() - start))
    return rates


def _ours(index: Index, num_workers: int, cache_dir: Path | None = None) -> int:
    return sum(
        len(batch["day"]) + len(batch["night"])
        for batch in _batches(index, cache_dir, epochs=1, num_workers=num_workers)
    )


def _batches(
    index: Index, cache_dir: Path | None, *, epochs: int, num_workers: int
) -> Iterator[dict[str, torch.Tensor]]:
    batches = TranslationBatches(
        index,
        DatasetConfig(image_size_px=SIZE_PX, cache_mb=2000 if cache_dir else 0),
        split="train",
        paired=False,
        batch_size=BATCH_SIZE,
        seed=0,
        cache_dir=cache_dir,
    )
    yield from batches.iterate(0, epochs * batches.steps_per_epoch, num_workers)


def _image_folder(root: Path, num_workers: int) -> int:
    transform = transforms.Compose(
        [_scale_then_crop, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    )
    dataset = ImageFolder(str(root), transform)
    loader = DataLoader(dataset, 2 * BATCH_SIZE, shuffle=True, num_workers=num_workers)
    return sum(len(images) for images, _ in loader)


def _scale_then_crop(image: Image.Image) -> Image.Image:
    """The same rule, in torchvision's way: a transform of a Pillow image."""
    width, height = image.size
    window = window_px(SIZE_PX, float(torch.empty(1).uniform_(0.6, 1.0)), min(width, height))
    left = int(torch.randint(width - window + 1, ()))
    top = int(torch.randint(height - window + 1, ()))
    crop = image.crop((left, top, left + window, top + window))
    return crop.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC)
