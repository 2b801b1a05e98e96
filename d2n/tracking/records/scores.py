"""Scores as a run keeps them: the value, its deviation, interval and floor, each a metric; all of them as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from d2n.core import Score
from d2n.tracking import names
from d2n.tracking.records.entries import Entries

_INTERVAL_SIGMAS = 2 * 1.959964  # a 95 % interval of a normal distribution is so many deviations wide


def metrics(scores: Iterable[Score]) -> dict[str, float]:
    """The finite ones of every score's values."""
    made: dict[str, float] = {}
    for score in scores:
        low, high = score.interval or (None, None)
        known: dict[Literal["std", "low", "high", "floor"], float | None]
        known = {"floor": score.floor, "std": score.std, "low": low, "high": high}
        if math.isfinite(score.value):
            made[names.score(score.name)] = score.value
        for part, value in known.items():
            if value is not None and math.isfinite(value):
                made[names.score_part(part, score.name)] = value
    return made


def noise(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Deviations and floors among a run's metrics; of a score with an interval alone, its width over 2 * 1.96."""
    low, high = of_kind(metrics, "score_low"), of_kind(metrics, "score_high")
    from_interval = {name: (high[name] - low[name]) / _INTERVAL_SIGMAS for name in low if name in high}
    return {
        "score_std": {**from_interval, **of_kind(metrics, "score_std")},
        "score_floor": of_kind(metrics, "score_floor"),
    }


def prd_places(split: str) -> tuple[str, str, str]:
    """Where the PRD curve of a split's scores lies: the figure, its picture, the table."""
    stem = f"{_before(split)}prd"
    return f"plots/{stem}.json", f"plots/{stem}.svg", f"tables/{stem}.json"


def table(scores: Sequence[Score], split: str = "val") -> Entries:
    """Every score with its interval and floor, of the validation or the test split."""
    columns: dict[str, list[Any]] = {
        "score": [row.name for row in scores],
        "value": [row.value for row in scores],
        "std": [row.std for row in scores],
        "low": [row.interval[0] if row.interval else None for row in scores],
        "high": [row.interval[1] if row.interval else None for row in scores],
        "real_vs_real": [row.floor for row in scores],
    }
    return Entries(tables={table_path(split): columns})


def table_path(split: str) -> str:
    """Where the table of a split's scores lies."""
    return f"tables/{_before(split)}scores.json"


def _before(split: str) -> str:
    return "" if split == "val" else f"{split}_"


def of_kind(logged: Mapping[str, float], kind: str) -> dict[str, float]:
    """``{"fid": …}`` of ``{"score_std/fid": …}``."""
    return {
        key.removeprefix(f"{kind}/"): value for key, value in logged.items() if key.startswith(f"{kind}/")
    }
