"""The one reader of JSON: bounded size, depth and numbers, errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from d2n.errors import D2NError, DataError
from d2n.files.nesting import nesting_problem
from d2n.files.reading import brief, read_text, reason

MAX_BYTES = 256 * 2**20
SMALL_BYTES = 16 * 2**20  # cards and descriptions
_MAX_VALUES = 100_000_000


def read_json(
    path: str | Path,
    error: type[D2NError] = DataError,
    *,
    at_most: int = MAX_BYTES,
    absent: str = "no such file",
    finite: bool = True,
) -> Any:
    """The value of a JSON file; ``error``, beginning with the path, for whatever is none.

    ``finite`` refuses NaN and Infinity, which are no JSON and which Python writes.
    """
    text = read_text(path, error, at_most=at_most, absent=absent)
    return parse_json(text, str(path), error, finite=finite)


def read_json_object(
    path: str | Path,
    error: type[D2NError] = DataError,
    *,
    absent: str = "no such file",
    at_most: int = SMALL_BYTES,
    finite: bool = False,
) -> dict[str, Any]:
    """As read_json, of a card: ``error`` where it holds anything but names with values."""
    value = read_json(path, error, at_most=at_most, absent=absent, finite=finite)
    if not isinstance(value, dict):
        raise error(f"{path}: holds a {type(value).__name__}, expected names with values in {{}}")
    return value


def parse_json(
    text: str | bytes, source: str, error: type[D2NError] = DataError, *, finite: bool = True
) -> Any:
    """The value of a JSON text; ``source`` begins the error."""
    try:
        value = json.loads(text, parse_constant=_refused if finite else None, object_pairs_hook=_object)
    except (ValueError, RecursionError, MemoryError) as problem:
        said = "nested too deep" if isinstance(problem, RecursionError) else reason(problem)
        raise error(f"{source}: not the JSON that belongs here ({said})") from problem
    if problem_found := nesting_problem(value, max_values=_MAX_VALUES):
        raise error(f"{source}: {problem_found}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping as it is written; Python's own reader would silently keep the last of equal names."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{brief(twice)} stands twice")
    return values


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
