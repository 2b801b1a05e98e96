"""What an hour of a study bought, by hand."""

from __future__ import annotations

from d2n.studies.cost import Gain, Spent, gain

TRIALS = [Spent(0, None, 1.0), Spent(1, 8.0, 2.0), Spent(2, 5.0, 1.0), Spent(3, 6.0, 4.0)]


def test_the_hours_are_those_until_the_best() -> None:
    assert gain(TRIALS, "minimize") == Gain(first=1, best=2, value=5.0, hours=4.0, better=3.0)
    assert gain(TRIALS, "minimize").an_hour == 0.75  # type: ignore[union-attr] # it is there


def test_a_first_trial_that_is_the_best_bought_nothing() -> None:
    found = gain(TRIALS, "maximize")
    assert found == Gain(first=1, best=1, value=8.0, hours=3.0, better=0.0)
    assert found.an_hour is None
    assert gain([Spent(0, None, 1.0)], "minimize") is None
    assert gain([], "maximize") is None
    assert gain([Spent(0, 2.0, 0.0), Spent(1, 1.0, 0.0)], "minimize").an_hour is None  # type: ignore[union-attr] # no hours
