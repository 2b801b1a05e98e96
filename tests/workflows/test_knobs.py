"""``d2n knobs``: one source of names, defaults, ranges and meanings."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Lt, MinLen

from d2n import config
from d2n.errors import ConfigError
from d2n.workflows import knobs


def test_every_knob_has_a_meaning() -> None:
    assert [knob.name for knob in knobs.all_knobs() if len(knob.meaning) < 10] == []


@pytest.mark.parametrize("kind", ["translation", "retrieval"])
def test_every_knob_of_an_experiment_is_explained(kind: str) -> None:
    explained = {knob.name for knob in knobs.all_knobs() if knob.kind == kind or knob.room == "dataset"}
    assert set(config.knobs(kind)) <= explained


def test_a_new_field_without_a_meaning_would_be_seen() -> None:
    @dataclasses.dataclass(frozen=True)
    class Room:
        told: int = 1
        """What it does."""
        untold: int = 2
        last: int = 3
        """Two
        lines."""

    assert knobs.meanings(Room) == {"told": "What it does.", "last": "Two\nlines."}


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (Annotated[float, Gt(0), Lt(10)], "number > 0, < 10"),
        (Annotated[int, Ge(8)] | None, "integer >= 8 or null"),
        (Literal["a", "b"], "a | b"),
        (bool, "true | false"),
        (str | None, "text or null"),
        (Annotated[tuple[str, ...], MinLen(1)], "list of text (at least 1)"),
    ],
)
def test_a_range_in_words(hint: object, text: str) -> None:
    assert knobs.range_text(hint) == text


def test_a_room_a_knob_and_all_of_them() -> None:
    lines = knobs.explain("translator.lr")
    assert lines[1] == "  translator.lr = 0.0002   [number > 0, < 10]"
    assert "learning rate" in lines[2]
    both = [line for line in knobs.explain("training") if not line.startswith(" ")]
    assert [line for line in both if line.startswith("training")] == [
        "training (d2n train and search)",
        "training (d2n retrieve)",
    ]
    assert len(knobs.explain()) > 2 * len(config.knobs())


@pytest.mark.parametrize(
    ("asked", "nearest"), [("translater", "translator"), ("lamda_cycle", "translator.lambda_cycle")]
)
def test_a_wrong_name_is_answered_with_the_nearest(asked: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        knobs.explain(asked)
