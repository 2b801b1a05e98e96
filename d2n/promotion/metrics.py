"""By what a promotion decides: names of scores with their weights, ranks of several, bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2n.errors import D2NError
from d2n.scores import directed_names, direction_of

MAP = "map/"
_CONSTRAINT = re.compile(r"\s*(\S+?)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Metric:
    """A score that decides, and how much it weighs beside others."""

    name: str
    weight: float = 1.0

    @property
    def is_map(self) -> bool:
        """Whether retrieval runs measure it, and no evaluation of images."""
        return self.name.startswith(MAP)


@dataclass(frozen=True)
class Constraint:
    """A bound on a score of a candidate."""

    name: str
    sign: str  # >=, <=, >, <
    bound: float

    def holds(self, value: float) -> bool:
        """Whether the value keeps it; NaN does not."""
        return {
            ">=": value >= self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            "<": value < self.bound,
        }[self.sign]

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.bound:g}"


def lower_is_better(score_name: str) -> bool:
    """Whether the smaller value wins, by the score's base name; D2NError where no direction is known."""
    direction = direction_of(score_name)
    if direction is None:
        known = ", ".join(directed_names())
        raise D2NError(
            f"score {score_name!r} has no known direction; one of these promotes: {known}, {MAP}<benchmark>"
        )
    return direction == "minimize"


def parse_metrics(texts: Sequence[str]) -> tuple[Metric, ...]:
    """``fid``, ``map/toycity/night``, or several with weights, ``fid=2``; D2NError in one line for anything else."""
    found: list[Metric] = []
    for text in (part for one in texts for part in one.split(",")):
        name, equals, weight = text.strip().partition("=")
        value = _number(weight) if equals else 1.0
        if value is None or not 0 < value < math.inf:
            raise D2NError(f"metric {text.strip()!r}: expected NAME or NAME=WEIGHT with a weight above 0")
        lower_is_better(name.strip())
        found.append(Metric(name.strip(), value))
    names = [metric.name for metric in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise D2NError(f"metric {twice[0]!r} is named twice; name it once, with the sum of its weights")
    if len(found) > 1 and any(metric.is_map for metric in found):
        raise D2NError(
            f"metrics {', '.join(names)}: a mAP cannot be weighed against scores of images, which have other noise; "
            'decide by one, and bound the other: --constraint "map/toycity/day >= 80"'
        )
    return tuple(found)


def parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """``map/toycity/day >= 80``, ``fid <= 60``; of a mAP a bound over 1 is meant in percent."""
    return tuple(_constraint(text) for text in texts)


def weighted_ranks(values: Sequence[Mapping[str, float]], metrics: Sequence[Metric]) -> tuple[float, ...]:
    """Weighted mean rank of each, from 1 (best); equal values share the mean of their ranks, NaN ranks last."""
    total = sum(metric.weight for metric in metrics)
    ranks = [0.0] * len(values)
    for metric in metrics:
        sign = 1.0 if lower_is_better(metric.name) else -1.0
        keys = [sign * row[metric.name] for row in values]
        keys = [key if not math.isnan(key) else math.inf for key in keys]
        for i, key in enumerate(keys):
            below, equal = sum(k < key for k in keys), keys.count(key)
            ranks[i] += metric.weight / total * (below + (equal + 1) / 2)
    return tuple(ranks)


def _constraint(text: str) -> Constraint:
    parts = _CONSTRAINT.fullmatch(text)
    bound = _number(parts[3]) if parts else None
    if parts is None or bound is None or not math.isfinite(bound):
        raise D2NError(
            f'constraint {text!r}: expected NAME >= NUMBER (or <=, >, <), such as "map/toycity/day >= 80"'
        )
    lower_is_better(parts[1])
    if parts[1].startswith(MAP) and bound > 1:
        bound /= 100
    return Constraint(parts[1], parts[2], bound)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
