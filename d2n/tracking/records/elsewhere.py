"""What a generator scores on a data set that it was not trained on (thesis, figure 5.1: Retrieval-SfM)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n.core import Score, ScoreProtocol
from d2n.tracking import names
from d2n.tracking.records import reading, scores
from d2n.tracking.records.entries import Entries

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord

_ON = "on/"
_PROTOCOL = "d2n.on."  # tag: before the data set's name, core.ScoreProtocol as JSON


@dataclass(frozen=True)
class Elsewhere:
    """Scores on one other data set, by name, under one protocol."""

    dataset: str
    scores: Mapping[str, float]
    protocol: ScoreProtocol | None

    @staticmethod
    def read(record: RunRecord) -> dict[str, Elsewhere]:
        """By data set, what a run says; UnreadableError where a protocol was edited by hand."""
        found: dict[str, dict[str, float]] = {}
        for key, value in record.metrics.items():
            dataset, slash, name = key.removeprefix(_ON).partition("/")
            if key.startswith(_ON) and slash and math.isfinite(value):
                found.setdefault(dataset, {})[name] = value
        return {
            dataset: Elsewhere(dataset, values, reading.protocol(record, f"{_PROTOCOL}{dataset}"))
            for dataset, values in found.items()
        }

    @staticmethod
    def measured(dataset: str, found: Sequence[Score], protocol: ScoreProtocol) -> Entries:
        """The finite scores, all of them as a table, and the protocol."""
        return Entries(
            metrics={
                names.on(dataset, score.name): score.value for score in found if math.isfinite(score.value)
            },
            tags={f"{_PROTOCOL}{dataset}": protocol.to_json()},
            tables=scores.table(found, split_of(dataset)).tables,
        )


def split_of(dataset: str) -> str:
    """What stands for the split in the names of its files."""
    return f"on_{dataset}"
