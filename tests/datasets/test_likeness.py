"""Whether a photograph is like those that something was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.datasets.likeness import FEWEST, Likeness, look


def scene(seed: int, light: float = 1.0, height: int = 48, width: int = 64) -> np.ndarray:
    """A sky over a wall with windows."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    horizon = height // 3 + rng.integers(-4, 5)
    image[:horizon] = np.array([120, 170, 230]) + rng.integers(-15, 16, 3)
    image[horizon:] = np.array([150, 130, 110]) + rng.integers(-20, 21, 3)
    for x in range(rng.integers(2, 6), width - 6, 10):
        image[horizon + 6 : horizon + 16, x : x + 5] = 60
    return np.clip(image * light + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def likeness() -> Likeness:
    return Likeness.of(scene(seed) for seed in range(60))


def test_a_photograph_of_the_same_kind_is_like_and_a_night_noise_and_grey_are_not(
    likeness: Likeness,
) -> None:
    others = [scene(seed) for seed in range(100, 130)]
    assert sum(likeness.is_unlike(image) for image in others) <= 1
    rng = np.random.default_rng(0)
    assert likeness.is_unlike(scene(7, light=0.15))
    assert likeness.is_unlike(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    assert likeness.is_unlike(np.full((48, 64, 3), 128, np.uint8))
    assert likeness.oddness(scene(3)) < 1  # one that it knows


def test_the_size_of_the_photograph_hardly_matters(likeness: Likeness) -> None:
    large = np.repeat(np.repeat(scene(101), 3, axis=0), 3, axis=1)
    assert abs(likeness.oddness(large) - likeness.oddness(scene(101))) < 0.5


def test_too_few_images_and_equal_images_are_no_trap() -> None:
    with pytest.raises(ValueError, match=f"2 images, expected {FEWEST} at least"):
        Likeness.of([scene(0), scene(1)])
    same = Likeness.of([scene(0)] * FEWEST)
    assert not same.is_unlike(scene(0))
    assert same.is_unlike(scene(1, light=0.2))
    assert np.isfinite(look(np.zeros((1, 1, 3), np.uint8).repeat(2, 1))).all()
