import math

import pytest
import torch
from torch.nn import functional

from d2n.retrieval.losses import (
    contrastive_loss,
    multi_similarity_loss,
    tuple_contrastive_loss,
    tuple_multi_similarity_loss,
)


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


def test_multi_similarity_of_a_tuple_by_its_formula() -> None:
    x = functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.tensor([-1, 1, 0, -1, 1, 0, 0])
    expected = 0.0
    for query, positives, negatives in ((0, [1], [2]), (3, [4], [5, 6])):
        pull = sum(math.exp(-2 * (float(x[query] @ x[i]) - 0.5)) for i in positives)
        push = sum(math.exp(50 * (float(x[query] @ x[i]) - 0.5)) for i in negatives)
        expected += math.log(1 + pull) / 2 + math.log(1 + push) / 50
    assert float(multi_similarity_loss(x, labels)) == pytest.approx(expected, rel=1e-5)
    equal = torch.cat([x[:3], x[3:6]])
    both = multi_similarity_loss(equal, torch.tensor([-1, 1, 0, -1, 1, 0]), 1.0, 10.0, 0.2)
    assert float(tuple_multi_similarity_loss(equal.view(2, 3, 5), 1.0, 10.0, 0.2)) == pytest.approx(
        float(both)
    )


def test_multi_similarity_pulls_the_positive_and_pushes_the_hardest_negative() -> None:
    x = functional.normalize(torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(2)), dim=-1)
    x.requires_grad_(True)
    tuple_multi_similarity_loss(x).backward()
    assert x.grad is not None
    query, grad = x[0, 0].detach(), x.grad[0]
    assert float(grad[1] @ query) < 0
    hardest = int((x[0, 2:].detach() @ query).argmax()) + 2
    assert float(grad[hardest] @ query) == max(float(one @ query) for one in grad[2:])
    with pytest.raises(ValueError, match="expected"):
        tuple_multi_similarity_loss(torch.zeros(3, 1, 4))
