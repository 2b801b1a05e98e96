from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2n.retrieval.images import (
    ImageStore,
    batches_by_size,
    crop_and_shrink,
    embed,
    shrink,
    stretch,
    to_tensor,
)

RNG = np.random.default_rng(0)


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((300, 400), 100, (75, 100)),
        ((400, 300), 100, (100, 75)),
        ((50, 80), 100, (50, 80)),
        ((8, 800), 100, (1, 100)),
    ],
)
def test_shrinking_keeps_the_aspect_and_never_enlarges(
    size: tuple[int, int], longest: int, expected: tuple[int, int]
) -> None:
    assert shrink(noise(*size), longest).shape[:2] == expected


def test_shrinking_is_pillows_lanczos_thumbnail() -> None:
    image = noise(120, 90)
    thumbnail = Image.fromarray(image)
    thumbnail.thumbnail((40, 40), Image.Resampling.LANCZOS)
    assert np.array_equal(shrink(image, 40), np.asarray(thumbnail))


def test_a_box_is_cut_from_the_original_and_scaled_as_the_whole_would_be() -> None:
    image = noise(400, 800)
    crop = crop_and_shrink(image, (100.4, 50.0, 500.4, 250.0), 200)
    assert crop.shape == (50, 100, 3)  # 200 px * 400 / 800
    assert np.array_equal(crop, shrink(image[50:250, 100:500], 100))
    assert crop_and_shrink(image, (0, 0, 100, 50), 1600).shape == (50, 100, 3)


def test_stretching_gives_a_square() -> None:
    assert stretch(noise(30, 70), 64).shape == (64, 64, 3)


def test_tensors_are_in_zero_to_one() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[1, 2] = (255, 51, 0)
    tensor = to_tensor([image])
    assert tensor.shape == (1, 3, 2, 3)
    assert tensor[0, :, 1, 2].tolist() == pytest.approx([1.0, 0.2, 0.0])


def test_batches_hold_one_size_each_and_every_image_once() -> None:
    images = [noise(8, 8), noise(8, 9), noise(8, 8), noise(8, 8), noise(9, 8)]
    batches = list(batches_by_size(images, 2))
    assert batches == [[0, 2], [3], [1], [4]]


def test_large_images_make_small_batches() -> None:
    images = [np.zeros((1024, 1024, 3), dtype=np.uint8)] * 5
    assert [len(batch) for batch in batches_by_size(images, 32)] == [2, 2, 1]


def test_embedding_keeps_the_order_of_mixed_sizes() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3))

    images = [np.full((size, 4, 3), value, dtype=np.uint8) for value, size in enumerate([4, 5, 4, 6, 5, 4])]
    out = embed(Mean(), images, "cpu", 2)
    assert torch.allclose(out[:, 0] * 255, torch.arange(6.0), atol=1e-4)


class Counting:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: Path) -> np.ndarray:
        self.asked.append(path.name)
        return np.full((10, 10, 3), int(path.name), dtype=np.uint8)


@pytest.mark.parametrize("num_workers", [0, 3])
def test_images_are_decoded_once_while_they_fit(num_workers: int) -> None:
    load = Counting()
    store = ImageStore([Path(str(i)) for i in range(4)], load, 10, num_workers=num_workers, max_bytes=600)
    first = [int(image[0, 0, 0]) for image in store.many([2, 0, 2, 3])]
    again = [int(image[0, 0, 0]) for image in store.many([3, 2, 0])]
    assert first == [2, 0, 2, 3]
    assert again == [3, 2, 0]
    assert sorted(load.asked) == ["0", "2", "3", "3"]  # two of 300 bytes fit, the third is read again
    assert len(store) == 4
