"""What the report reads of a run's files: score tables, PRD curves, sample sheets."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n.core import Score
from d2n.errors import TrackingError
from d2n.files.scratch import scratch
from d2n.tracking import names
from d2n.tracking.records import RetrievalRecord, scores
from d2n.tracking.records.elsewhere import split_of
from d2n.tracking.records.retrieval import QUERIES

if TYPE_CHECKING:
    from d2n.tracking.runs import Store
    from d2n.workflows.report.rows import Arm, Generator

logger = logging.getLogger(__name__)


def with_uncertainty(store: Store, generator: Generator) -> Generator:
    """The generator with the deviation, interval and floor of its run's score tables: one download a split."""
    known = {
        split: _with_table(found, _table(store, generator.run_id, scores.table_path(split)) or {})
        for split, found in generator.by_split.items()
    }
    return dataclasses.replace(generator, scores=known.get(generator.split, {}), by_split=known)


def with_queries(store: Store, arm: Arm) -> Arm:
    """The arm with the average precision of every query, as far as its run kept them: one download."""
    table = _table(store, arm.run_id, QUERIES)
    try:
        known = RetrievalRecord.average_precisions(table) if table else {}
    except (TypeError, ValueError, IndexError) as error:
        logger.warning("run %s: its %s is unreadable (%s)", arm.run_id, QUERIES, error)
        known = {}
    return dataclasses.replace(arm, average_precisions=known)


def read_prd(
    store: Store, generator: Generator, dataset: str | None = None
) -> tuple[list[float], list[float]] | None:
    """(precision, recall) of a generator on the split of its scores, or on another data set; None where none is."""
    split = generator.split if dataset is None else split_of(dataset)
    table = _table(store, generator.run_id, scores.prd_places(split)[2])
    if table is None or not table.get("precision"):
        return None
    return [float(p) for p in table["precision"]], [float(r) for r in table["recall"]]


def read_sheet(store: Store, run_id: str, path: str = names.SAMPLE_SHEET) -> bytes | None:
    """The PNG with day over fake night, or another; None where none was logged."""
    with scratch("report") as folder:
        found = _artifact(store, run_id, path, folder)
        return found.read_bytes() if found is not None else None


def number(value: Any) -> float | None:
    """A finite number; None for whatever is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _with_table(found: Mapping[str, Score], table: Mapping[str, list[Any]]) -> dict[str, Score]:
    rows: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(table.get("score", [])):
        rows[names.legal(str(name))] = {column: values[i] for column, values in table.items()}
    made = {}
    for name, score in found.items():
        row = rows.get(name, {})
        low, high = number(row.get("low")), number(row.get("high"))
        interval = None if low is None or high is None else (low, high)
        floor = number(row.get("real_vs_real"))
        made[name] = Score(name, score.value, score.protocol, number(row.get("std")), interval, floor)
    return made


def _as_json(text: str | None) -> dict[str, Any]:
    """A JSON object; empty for whatever is none."""
    try:
        values = json.loads(text) if text else {}
    except json.JSONDecodeError:
        return {}
    return values if isinstance(values, dict) else {}


def _table(store: Store, run_id: str, path: str) -> dict[str, list[Any]] | None:
    """Columns of a logged table (pandas' "split" layout)."""
    with scratch("report") as folder:
        file = _artifact(store, run_id, path, folder)
        values = _as_json(file.read_text(encoding="utf-8")) if file is not None else {}
    if "columns" not in values or "data" not in values:
        return None
    return {column: [row[i] for row in values["data"]] for i, column in enumerate(values["columns"])}


def _artifact(store: Store, run_id: str, path: str, folder: Path) -> Path | None:
    try:
        found = store.artifact(run_id, path, folder)
    except TrackingError as error:
        logger.info("run %s has no %s: %s", run_id, path, error)
        return None
    return found if found.is_file() else None
