"""What DiffAugment does to pixels and gradients."""

from __future__ import annotations

import torch

from d2n.translators.diffaugment import cut_out_randomly, diffaugment, translate_randomly


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_translation_shifts_by_at_most_an_eighth_and_fills_with_zeros() -> None:
    images = torch.zeros(200, 2, 16, 24)
    images[:, :, 8, 12] = 1.0
    moved = translate_randomly(images, stream(0))
    where = moved[:, 0].nonzero()
    assert len(where) == 200  # the point stays inside
    dy, dx = where[:, 1] - 8, where[:, 2] - 12
    assert (dy.min().item(), dy.max().item()) == (-2, 2)
    assert (dx.min().item(), dx.max().item()) == (-3, 3)
    assert torch.equal(moved[:, 0], moved[:, 1])  # every channel alike
    ones = translate_randomly(torch.ones(50, 1, 16, 16), stream(1))
    assert set(ones.unique().tolist()) == {0.0, 1.0}


def test_cutout_removes_a_window_of_half_the_sides() -> None:
    cut = cut_out_randomly(torch.ones(300, 3, 16, 16), stream(0))
    removed = (cut[:, 0] == 0).sum(dim=(1, 2))
    assert removed.max().item() == 64  # 8 x 8 where it lies inside
    assert removed.min().item() >= 16  # a corner of 4 x 4 at least, its centre being inside
    assert torch.equal(cut[:, 0], cut[:, 2])
    rows = (cut[:, 0] == 0).any(dim=2).sum(dim=1)
    columns = (cut[:, 0] == 0).any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, removed)  # a rectangle


def test_same_stream_same_change_and_gradients_flow() -> None:
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    one = diffaugment(images, ("translation", "cutout"), stream(4))
    two = diffaugment(images, ("translation", "cutout"), stream(4))
    assert torch.equal(one, two)
    one.sum().backward()
    assert images.grad is not None
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}  # moved or cut out, never scaled


def test_nothing_asked_nothing_done() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert diffaugment(images, (), stream(0)) is images
