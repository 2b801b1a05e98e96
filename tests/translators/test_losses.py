"""Losses against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from d2n.translators import losses

REAL = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
FAKE = torch.tensor([[0.5, -3.0]], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_vanilla_by_hand() -> None:
    real, fake = losses.discriminator_loss(REAL, FAKE, "vanilla")
    assert real.item() == pytest.approx(-(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2, rel=1e-12)
    assert fake.item() == pytest.approx(
        -(math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3))) / 2, rel=1e-12
    )
    g = losses.generator_loss(FAKE, "vanilla")
    assert g.item() == pytest.approx(-(math.log(sigmoid(0.5)) + math.log(sigmoid(-3))) / 2, rel=1e-12)


def test_least_squares_by_hand() -> None:
    real, fake = losses.discriminator_loss(REAL, FAKE, "least_squares")
    assert (real.item(), fake.item()) == ((1 + 4) / 2, (0.25 + 9) / 2)
    assert losses.generator_loss(FAKE, "least_squares").item() == (0.25 + 16) / 2


def test_hinge_by_hand() -> None:
    real, fake = losses.discriminator_loss(REAL, FAKE, "hinge")
    assert (real.item(), fake.item()) == ((0 + 2) / 2, (1.5 + 0) / 2)
    assert losses.generator_loss(FAKE, "hinge").item() == 1.25


def test_vanilla_does_not_saturate() -> None:
    """Where the discriminator is sure, the generator's gradient is largest, unlike that of log(1 - s)."""
    logit = torch.tensor([-20.0], requires_grad=True)
    losses.generator_loss(logit, "vanilla").backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(-1.0)


def test_huge_logits_stay_finite() -> None:
    x = torch.tensor([1e4, -1e4])
    assert all(torch.isfinite(v) for v in losses.discriminator_loss(x, x, "vanilla"))


def test_bf16_is_computed_in_float32() -> None:
    assert losses.l1(torch.ones(3, dtype=torch.bfloat16), torch.zeros(3)).dtype == torch.float32
    assert losses.generator_loss(torch.ones(3, dtype=torch.bfloat16), "hinge").dtype == torch.float32


def test_loss_weight_normalization_equation_3_1() -> None:
    assert losses.loss_weights({"gan": 1, "l1": 100}, True) == {"gan": 1 / 101, "l1": 100 / 101}
    assert losses.loss_weights({"gan": 1, "cycle": 10}, True) == {"gan": 1 / 11, "cycle": 10 / 11}
    assert losses.loss_weights({"gan": 1, "l1": 100}, False) == {"gan": 1, "l1": 100}


def test_discriminator_accuracy_counts_the_right_side() -> None:
    real, fake = torch.tensor([0.6, 0.4]), torch.tensor([0.2, -0.1, 0.7, 0.9])
    assert losses.discriminator_accuracy(real, fake, "least_squares").item() == (1 / 2 + 2 / 4) / 2
    assert losses.discriminator_accuracy(real, fake, "vanilla").item() == (1 + 1 / 4) / 2


def test_sobel_of_a_step_edge() -> None:
    """A step of height 1 has the Sobel response 1 + 2 + 1 = 4 in the two columns beside it."""
    image = torch.zeros(1, 3, 5, 6, dtype=torch.float64)
    image[..., 3:] = 1.0
    edges = losses.sobel_edges(image)[0, 0]
    torch.testing.assert_close(
        edges[1], torch.tensor([0.0, 4.0, 4.0, 0.0], dtype=torch.float64), atol=2e-6, rtol=0
    )


def test_edge_consistency_ignores_contrast_and_sees_displacement() -> None:
    torch.manual_seed(0)
    day = torch.rand(2, 3, 16, 16)
    assert losses.edge_consistency(day, day).item() == 0
    assert losses.edge_consistency(day, 0.3 * day - 0.7).item() < 0.01
    assert losses.edge_consistency(day, day.flip(3)).item() > 0.3


def grey(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).expand(1, 3, -1, -1).clone()


def test_luminance_inversion_by_hand() -> None:
    """Places 0, 1, 3 by day and 2, 0, 3 by night: pairs (1, -2), (3, 1), (2, 3) of differences."""
    found = losses.luminance_inversion(grey([0.0, 1.0, 3.0]), grey([2.0, 0.0, 3.0]))
    assert found.item() == pytest.approx(2 / (2 + 3 + 6), rel=1e-6)


def test_luminance_inversion_is_0_where_the_night_rises_with_the_day_and_1_for_a_negative() -> None:
    torch.manual_seed(0)
    day = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    assert losses.luminance_inversion(day, 0.1 * day - 0.9).item() == 0
    assert losses.luminance_inversion(day, -0.5 * day).item() == pytest.approx(1, rel=1e-4)
    assert losses.luminance_inversion(day, torch.ones_like(day)).item() == 0
    mixed = torch.stack([day[0], -day[1]])
    assert losses.luminance_inversion(day, mixed).item() == pytest.approx(0.5, rel=1e-4)
    assert losses.luminance_inversion(day.bfloat16(), day.bfloat16()).dtype == torch.float32


def test_luminance_inversion_compares_means_of_places() -> None:
    day = grey([0.0, 0.2, 1.0, 1.2])
    night = grey([0.0, 0.6, 0.1, 0.3])  # places 0.1, 1.1 by day; 0.3, 0.2 by night
    assert losses.luminance_inversion(day, night, cells=2).item() == pytest.approx(1, rel=1e-4)


def test_the_gradient_of_luminance_inversion_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    day, night = (torch.rand(1, 3, 4, 4, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: losses.luminance_inversion(day, x), night.requires_grad_())


def test_historical_average_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False).double()
    history = losses.HistoricalAverage([layer])
    assert history.penalty().item() == 0
    for value in (1.0, 4.0, 7.0):
        nn.init.constant_(layer.weight, value)
        history.update()
    nn.init.constant_(layer.weight, 6.0)  # the mean of the past is 4
    penalty = history.penalty()
    assert penalty.item() == pytest.approx(4.0, rel=1e-12)
    penalty.backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == pytest.approx(4.0)  # 2 (theta - mean)
    other = losses.HistoricalAverage([layer])
    other.load_state(history.state())
    assert other.penalty().item() == penalty.item()
