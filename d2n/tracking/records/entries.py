"""What a record gives a run to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2n.tracking.tracked_run import TrackedRun


@dataclass(frozen=True)
class Entries:
    """Params, metrics and tags by MLflow's names, texts and tables by their place among the artifacts.

    Where ``shown`` names some of the params, the pages show these alone.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    shown: Collection[str] | None = None

    def write(self, run: TrackedRun, step: int | None = None, changeable: Collection[str] = ()) -> None:
        """Into a run; ``changeable`` params of a resumed one keep their first value, as `log_params` says."""
        if self.params:
            run.log_params(self.params, changeable, self.shown)
        if self.metrics:
            run.log_metrics(self.metrics, step=step)
        if self.tags:
            run.set_tags(self.tags)
        for path, text in self.texts.items():
            run.log_text(text, path)
        for path, table in self.tables.items():
            run.log_table(table, path)
