"""Alarm measures by hand."""

from __future__ import annotations

import pytest
import torch

from d2n.errors import TrainingError
from d2n.translators.alarms import alarms, check_finite, input_correlation, output_deviation


class Fake:
    def __init__(self, function) -> None:
        self.translate = function


DAY = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_deviation_over_the_inputs_by_hand() -> None:
    images = torch.stack([torch.full((3, 2, 2), value) for value in (0.0, 2.0)])
    assert output_deviation(images) == pytest.approx(1.0)
    assert output_deviation(images[:1].repeat(3, 1, 1, 1)) == 0


def test_correlation_of_a_copy_and_of_a_negative() -> None:
    assert input_correlation(DAY, 0.2 * DAY - 0.5) == pytest.approx(1.0)
    assert input_correlation(DAY, -DAY) == pytest.approx(-1.0)
    assert input_correlation(DAY, torch.zeros_like(DAY)) == 0


@pytest.mark.parametrize(
    ("function", "raised"),
    [
        (lambda x: 0.3 * x - 0.6, set()),
        (lambda x: -0.3 * x - 0.6, {"inversion"}),
        (lambda x: x[:1].expand_as(x), {"collapse"}),
    ],
)
def test_alarm_flags(function, raised) -> None:
    found = alarms(Fake(function), DAY, {"d_accuracy": 0.7})
    assert {name for name in ("collapse", "inversion", "saturation") if found[name]} == raised
    assert found["discriminator_accuracy"] == 0.7


def test_a_discriminator_that_is_always_right_is_saturated() -> None:
    assert alarms(Fake(None), None, {"d_accuracy": 0.999}) == {
        "discriminator_accuracy": 0.999,
        "saturation": 1.0,
    }


def test_non_finite_names_the_loss_and_the_steps() -> None:
    check_finite({"g": 1.0}, 50, 0)
    with pytest.raises(TrainingError, match=r"d = inf between steps 50 and 100"):
        check_finite({"g": 1.0, "d": float("inf")}, 100, 50)
