import math

import pytest
import torch

from d2n.retrieval.losses import contrastive_loss, tuple_contrastive_loss


def test_a_hand_computed_tuple() -> None:
    descriptors = torch.tensor([[0.0, 0.0], [0.3, 0.4], [0.6, 0.0], [3.0, 4.0]], dtype=torch.float64)
    loss = contrastive_loss(descriptors, torch.tensor([-1, 1, 0, 0]), margin=0.75, eps=0.0)
    # the positive at 0.5, a negative at 0.6 inside the margin, one at 5 beyond it
    assert float(loss) == pytest.approx(0.5 * 0.25 + 0.5 * 0.15**2, abs=1e-12)


def test_eps_is_added_to_each_difference() -> None:
    descriptors = torch.zeros(2, 4, dtype=torch.float64)
    loss = contrastive_loss(descriptors, torch.tensor([-1, 1]), margin=0.7, eps=0.1)
    assert float(loss) == pytest.approx(0.5 * 4 * 0.01, abs=1e-12)


def test_losses_of_tuples_add_up_whatever_their_lengths() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(9, 5, generator=generator, dtype=torch.float64)
    labels = torch.tensor([-1, 1, 0, 0, -1, 1, -1, 0, 1])
    parts = [(0, 4), (4, 6), (6, 9)]
    apart = sum(float(contrastive_loss(x[a:b], labels[a:b], margin=2.0)) for a, b in parts)
    assert float(contrastive_loss(x, labels, margin=2.0)) == pytest.approx(apart, rel=1e-12)


def test_tuples_of_one_length_give_the_labelled_loss() -> None:
    x = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([-1, 1, 0, 0, 0, 0, 0]).repeat(3)
    batched = tuple_contrastive_loss(x, margin=4.0)
    assert float(batched) == pytest.approx(float(contrastive_loss(x.view(21, 8), labels, 4.0)), rel=1e-12)


def test_gradients_are_finite_for_equal_descriptors_and_right_elsewhere() -> None:
    same = torch.ones(2, 3, requires_grad=True)
    contrastive_loss(same, torch.tensor([-1, 0]), margin=0.7).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([-1, 1, 0, 0])
    assert torch.autograd.gradcheck(lambda y: contrastive_loss(y, labels, 5.0), (x,))


def test_unit_vectors_apart_by_a_right_angle() -> None:
    loss = contrastive_loss(torch.eye(2, dtype=torch.float64), torch.tensor([-1, 1]), margin=0.7, eps=0.0)
    assert float(loss) == pytest.approx(math.sqrt(2) ** 2 / 2)


@pytest.mark.parametrize(
    ("shape", "labels", "said"),
    [
        ((2, 3), [1, -1], "the first label is 1"),
        ((2, 3), [-1, 2], "labels are"),
        ((2, 3), [-1], "expected"),
        ((6,), [-1], "expected"),
    ],
)
def test_misfits_are_refused(shape: tuple[int, ...], labels: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        contrastive_loss(torch.zeros(shape), torch.tensor(labels), margin=0.7)


def test_a_tuple_needs_a_query_and_a_positive() -> None:
    with pytest.raises(ValueError, match="expected \\(tuples"):
        tuple_contrastive_loss(torch.zeros(3, 1, 4), margin=0.7)
