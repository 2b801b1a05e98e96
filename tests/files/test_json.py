"""What is no JSON, and JSON that says two things."""

from __future__ import annotations

import pytest

from d2n.errors import DataError
from d2n.files.json import parse_json


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"x": {"a": 1, "b": 2, "a": 1}}]'])
def test_a_name_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"^here: .*'a' stands twice"):
        parse_json(text, "here")


def test_equal_names_in_different_places_are_none() -> None:
    assert parse_json('{"a": {"a": [{"a": 1}]}}', "here") == {"a": {"a": [{"a": 1}]}}
