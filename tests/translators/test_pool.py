"""The pool's statistics."""

from __future__ import annotations

import torch

from d2n.translators.pool import ImagePool


def numbered(start: int, count: int) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.float32).view(count, 1, 1, 1)


def test_size_zero_returns_everything_unchanged() -> None:
    x = numbered(0, 4)
    assert torch.equal(ImagePool(0, 1).query(x), x)


def test_images_come_back_unchanged_until_the_pool_is_full() -> None:
    pool = ImagePool(6, 1)
    assert torch.equal(pool.query(numbered(0, 4)), numbered(0, 4))
    assert torch.equal(pool.query(numbered(4, 2)), numbered(4, 2))
    assert len(pool.images) == 6


def test_swaps_half_of_the_images_once_full_each_stored_one_equally_often() -> None:
    pool = ImagePool(10, 3)
    pool.query(numbered(0, 10))
    swapped, slots = 0, torch.zeros(10)
    trials = 4000
    for i in range(trials):
        before = [image.item() for image in pool.images]
        (back,) = pool.query(numbered(100 + i, 1)).flatten().tolist()
        if back != 100 + i:
            swapped += 1
            slots[before.index(back)] += 1
            assert pool.images[before.index(back)].item() == 100 + i
    assert abs(swapped / trials - 0.5) < 4 * 0.5 / trials**0.5
    expected = swapped / 10
    assert ((slots - expected).square() / expected).sum().item() < 27.9  # chi square, 9 degrees, p = 0.001


def test_state_restores_contents_and_draws() -> None:
    pool = ImagePool(3, 5)
    pool.query(numbered(0, 5))
    other = ImagePool(3, 99)
    other.load_state(pool.state(), torch.device("cpu"))
    assert torch.equal(pool.query(numbered(10, 20)), other.query(numbered(10, 20)))


def test_stored_images_carry_no_gradient_and_no_alias() -> None:
    pool = ImagePool(1, 0)
    x = torch.ones(1, 3, 2, 2, requires_grad=True)
    assert not pool.query(x).requires_grad
    with torch.no_grad():
        x.zero_()
    assert pool.images[0].sum().item() == 12
