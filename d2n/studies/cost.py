"""What a study's hours bought: how much better than its first trial an hour made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """A trial by its number: its value where it is complete and counts, and the hours that it took."""

    number: int
    value: float | None
    hours: float


@dataclass(frozen=True)
class Gain:
    """The best trial against the first one that has a value."""

    first: int
    best: int
    value: float  # of the best
    hours: float  # of all trials up to the best, whatever came of them
    better: float  # than the first, 0 or more

    @property
    def an_hour(self) -> float | None:
        """None where no hours are known, or the first trial is the best."""
        return self.better / self.hours if self.hours > 0 and self.better > 0 else None


def gain(trials: Sequence[Spent], direction: str) -> Gain | None:
    """None where no trial has a value. ``direction`` is ``minimize`` or ``maximize``."""
    sign = 1 if direction == "minimize" else -1
    valued = [(trial.number, trial.value) for trial in trials if trial.value is not None]
    if not valued:
        return None
    first, best = min(valued), min(valued, key=lambda one: (sign * one[1], one[0]))
    hours = sum(trial.hours for trial in trials if trial.number <= best[0])
    return Gain(first[0], best[0], best[1], hours, sign * (first[1] - best[1]))
