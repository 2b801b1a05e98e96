"""Finding runs, and leaving out, by name, what someone edited so that it cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from d2n.tracking import names, records

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Runs:
    """A store's runs by kind, each read once: sections ask for the same ones, and thousands take seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, list[RunRecord]] = {}

    def find(self, kind: str, dataset: str | None, status: str | None = None) -> list[RunRecord]:
        """Runs of a kind and data set, oldest first."""
        if kind not in self._known:
            found = self._store.find_runs(tags={names.KIND: kind})
            self._known[kind] = sorted(found, key=lambda record: (record.start_time, record.run_id))
        return [
            record
            for record in self._known[kind]
            if (not dataset or dataset == record.dataset) and status in (None, record.status)
        ]


def find(store: Store | Runs, kind: str, dataset: str | None, status: str | None = None) -> list[RunRecord]:
    """Runs of a kind and data set, oldest first."""
    return (store if isinstance(store, Runs) else Runs(store)).find(kind, dataset, status)


def readable(record: RunRecord, read: Callable[[RunRecord], T]) -> T | None:
    """What is read from a run; None, with a warning that names it, where someone edited what it holds."""
    try:
        return read(record)
    except records.UnreadableError as error:
        logger.warning("left out: %s", error)
        return None


def score_base(name: str) -> str:
    """``fid.squeezenet1_0`` → ``fid``."""
    return name.split(".")[0]
