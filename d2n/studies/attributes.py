"""Paths in a study storage's attributes: rewritten where the storage was moved with what they lead to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from d2n.errors import StudyError
from d2n.studies.study import DEFINITION, IDENTITY

_TABLES = (
    "study_user_attributes",
    "study_system_attributes",
    "trial_user_attributes",
    "trial_system_attributes",
)
_AS_WRITTEN = (IDENTITY, DEFINITION)  # what the study's YAML says, compared with it at every start


def is_storage(database: Path) -> bool:
    """Whether the SQLite file holds studies. StudyError where it cannot be read."""
    return {"studies", "trials"} <= _table_names(database)


def is_lease_table(database: Path) -> bool:
    """Whether the SQLite file holds d2n's leases. StudyError where it cannot be read."""
    return "d2n_leases" in _table_names(database)


def rewrite_paths(database: Path, former: Path, own: Path) -> int:
    """Make every path below ``former`` in an attribute one below ``own``, in one transaction; how many changed."""
    changed = 0
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as opened, opened:
            for table in sorted(set(_TABLES) & _table_names(database)):
                rows = opened.execute(f'SELECT rowid, key, value_json FROM "{table}"').fetchall()  # noqa: S608
                for row, key, text in rows:
                    new = text if key in _AS_WRITTEN else _rewritten(text, str(former), str(own))
                    if new != text:
                        opened.execute(f'UPDATE "{table}" SET value_json = ? WHERE rowid = ?', (new, row))  # noqa: S608
                        changed += 1
    except sqlite3.Error as error:
        raise StudyError(f"study storage {database}: {error}") from error
    return changed


def _rewritten(text: Any, former: str, own: str) -> Any:
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text  # damaged: not ours to mend
    new = _replaced(value, former, own)
    return text if new == value else json.dumps(new)


def _replaced(value: Any, former: str, own: str) -> Any:
    """The value with each string that is the former folder, or a path or file: URI below it, led to the new one."""
    if isinstance(value, dict):
        return {key: _replaced(one, former, own) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, former, own) for one in value]
    if not isinstance(value, str):
        return value
    for old, new in ((former, own), (Path(former).as_uri(), Path(own).as_uri())):
        if value == old or value.startswith(f"{old}/"):
            return new + value[len(old) :]
    return value


def _table_names(database: Path) -> set[str]:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
        ) as opened:
            return {row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error as error:
        raise StudyError(f"{database} cannot be read: {error}") from error
