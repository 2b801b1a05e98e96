"""Tags read back, and those that someone edited by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from d2n.core import ScoreProtocol
from d2n.tracking import names, records
from d2n.tracking.records import UnreadableError
from d2n.tracking.runs import RunRecord

PROTOCOL = ScoreProtocol("inception", "w" * 64, "clean@299", 100, "r" * 64)


def record(**tags: str) -> RunRecord:
    named = {getattr(names, key): value for key, value in tags.items()}
    return RunRecord("abc", "run", "d2n/toycity", "FINISHED", {}, {}, named, datetime.now(UTC), None)


def test_a_protocol_comes_back_as_it_was_written() -> None:
    assert records.protocol(record(PROTOCOL_TEXT=PROTOCOL.to_json())) == PROTOCOL
    assert (
        records.protocol(record(TEST_PROTOCOL_TEXT=PROTOCOL.to_json()), names.TEST_PROTOCOL_TEXT) == PROTOCOL
    )
    assert records.protocol(record()) is None


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("mine", "it is no JSON"),
        ("[1, 2]", "it holds list, expected extractor"),
        ("{}", "it holds nothing, expected extractor"),
        ("[" * 100_000, "nested too deep"),
        (PROTOCOL.to_json().replace("100", '"many"'), "its num_images is 'many', expected a whole number"),
        (PROTOCOL.to_json().replace('"inception"', "[]"), r"its extractor is \[\], expected text"),
        (PROTOCOL.to_json().replace("resize", "size"), "it holds .*size.*, expected extractor"),
    ],
)
def test_an_edited_protocol_is_unreadable_because(text: str, because: str) -> None:
    with pytest.raises(UnreadableError, match=because) as caught:
        records.protocol(record(PROTOCOL_TEXT=text))
    assert str(caught.value).startswith(f"run abc: its tag {names.PROTOCOL_TEXT} is unreadable, because ")
    assert "\n" not in str(caught.value)


def test_the_best_score_comes_back_or_says_why_not() -> None:
    assert records.best_score(record(BEST_SCORE=json.dumps({"name": "fid", "value": 3, "step": 7}))) == (
        "fid",
        3.0,
        7,
    )
    assert records.best_score(record()) is None
    for text in ("7", '{"name": "fid"}', '{"name": 1, "value": 2}', '{"name": "fid", "value": "low"}', "{"):
        with pytest.raises(UnreadableError, match="unreadable, because"):
            records.best_score(record(BEST_SCORE=text))


def test_a_trials_number_is_one() -> None:
    assert records.trial_number(record(TRIAL="12")) == 12
    with pytest.raises(UnreadableError, match="it holds 'twelve', expected a number"):
        records.trial_number(record(TRIAL="twelve"))


def test_what_a_run_must_have_is_missed() -> None:
    with pytest.raises(UnreadableError, match="because it is absent"):
        records.require_protocol(record())
    with pytest.raises(UnreadableError, match="because it is absent"):
        records.require_best_score(record())
