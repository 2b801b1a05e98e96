"""Window, resizing and range of a crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from d2n.datasets.crops import resized, scaled_box, to_float, window_px


@pytest.mark.parametrize(
    ("size_px", "scale", "side_px", "expected"),
    [
        (256, 1.0, 1000, 256),
        (256, 0.6, 1000, 427),
        (256, 0.6, 300, 300),
        (256, 0.8, 1000, 320),
        (256, 0.895, 1000, 287),
    ],
)
def test_the_window_is_ceil_of_size_over_scale_within_the_image(
    size_px: int, scale: float, side_px: int, expected: int
) -> None:
    assert window_px(size_px, scale, side_px) == expected


def test_a_box_keeps_its_part_of_another_size_and_is_never_empty() -> None:
    assert scaled_box((10, 20, 30, 40), 2, 0.5) == (20, 10, 60, 20)
    assert scaled_box((10, 20, 11, 21), 0.1, 0.1) == (1, 2, 2, 3)


def test_resizing_is_pillows_bicubic_to_within_a_level() -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    made = resized(image, (5, 7, 65, 67), 24).permute(1, 2, 0).numpy().astype(int)
    expected = Image.fromarray(image).crop((5, 7, 65, 67)).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.abs(made - np.asarray(expected)).max() <= 1


def test_a_window_of_the_size_itself_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(resized(image, (3, 2, 15, 14), 12).permute(1, 2, 0).numpy(), image[2:14, 3:15])


def test_bytes_become_minus_one_to_one() -> None:
    levels = to_float(torch.tensor([0, 255], dtype=torch.uint8))
    assert levels.tolist() == [-1.0, 1.0]
    assert ((to_float(torch.arange(256, dtype=torch.uint8)) + 1) * 127.5).round().tolist() == list(range(256))
