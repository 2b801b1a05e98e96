"""What a run's tags say, read back: a value, None where the tag is absent, or why it cannot be read.

Tags can be edited by hand in MLflow's pages; whoever reads many runs leaves such a one out and says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from d2n.core import ScoreProtocol
from d2n.errors import TrackingError
from d2n.tracking import knobs, names

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord


class UnreadableError(TrackingError):
    """A tag that holds something else than d2n wrote."""


class BestScore(NamedTuple):
    """A run's first score at its best step."""

    name: str
    value: float
    step: int | None = None  # of the generator that was kept


def protocol(record: RunRecord, tag: str = names.PROTOCOL_TEXT) -> ScoreProtocol | None:
    """The protocol of a run's validation scores, or (names.TEST_PROTOCOL_TEXT) of its test scores."""
    text = record.tags.get(tag)
    if not text:
        return None
    try:
        return ScoreProtocol.from_json(text)
    except ValueError as error:
        raise _unreadable(record, tag, error) from error


def best_score(record: RunRecord) -> BestScore | None:
    """The first score at its best step; the metric's last value may be another."""
    text = record.tags.get(names.BEST_SCORE)
    if not text:
        return None
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"it holds {_short(text)}, expected an object with name and value")
        name, value = values.get("name"), values.get("value")
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"it holds {_short(text)}, expected a name and a number")
        step = values.get("step")
        return BestScore(name, float(value), step if type(step) is int else None)
    except (ValueError, RecursionError, OverflowError) as error:
        raise _unreadable(record, names.BEST_SCORE, error) from error


def trial_number(record: RunRecord) -> int:
    """The number of a trial's run in its study."""
    return whole_number(record, names.TRIAL, record.trial)


def require_knobs(record: RunRecord) -> None:
    """Refuse a run whose tag of knobs that are no params was edited by hand."""
    try:
        knobs.read(record.tags)
    except (ValueError, RecursionError) as error:
        raise _unreadable(record, names.KNOBS, error) from error


def whole_number(record: RunRecord, name: str, text: str) -> int:
    """A tag's or param's text as a whole number."""
    try:
        return int(text)
    except ValueError:
        raise _unreadable(record, name, f"it holds {_short(text)}, expected a number") from None


def require_protocol(record: RunRecord) -> ScoreProtocol:
    """As protocol; a run without one is unreadable too."""
    found = protocol(record)
    if found is None:
        raise _unreadable(record, names.PROTOCOL_TEXT, "it is absent")
    return found


def require_best_score(record: RunRecord) -> BestScore:
    """As best_score; a run without one is unreadable too."""
    found = best_score(record)
    if found is None:
        raise _unreadable(record, names.BEST_SCORE, "it is absent")
    return found


def _unreadable(record: RunRecord, tag: str, why: object) -> UnreadableError:
    what = tag if tag.startswith("param ") else f"tag {tag}"
    return UnreadableError(
        f"run {record.run_id}: its {what} is unreadable, because {_reason(why)}; put back what d2n wrote, or "
        "delete the run"
    )


def _reason(why: object) -> str:
    if isinstance(why, json.JSONDecodeError):
        return f"it is no JSON ({why.msg}, character {why.pos})"
    return str(why)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
