"""Learning rate factors by hand."""

from __future__ import annotations

import pytest

from d2n.translators.schedules import lr_factor


def test_constant_is_one() -> None:
    assert [lr_factor("constant", step, 10, 0.5) for step in (0, 5, 9)] == [1, 1, 1]


def test_linear_falls_in_the_second_half() -> None:
    factors = [lr_factor("linear", step, 8, 0.5) for step in range(9)]
    assert factors == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_cosine_from_the_start() -> None:
    factors = [lr_factor("cosine", step, 4, 0.0) for step in range(5)]
    assert factors == pytest.approx([1, (1 + 2**-0.5) / 2, 0.5, (1 - 2**-0.5) / 2, 0])


def test_beyond_the_end_it_stays_zero() -> None:
    assert lr_factor("linear", 12, 8, 0.5) == 0
