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


def find(store: Store, kind: str, dataset: str | None, status: str | None = None) -> list[RunRecord]:
    """Runs of a kind and data set, oldest first."""
    tags = {names.KIND: kind} | ({names.DATASET: dataset} if dataset else {})
    found = store.find_runs(tags=tags, status=status)
    return sorted(found, key=lambda record: (record.start_time, record.run_id))


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
