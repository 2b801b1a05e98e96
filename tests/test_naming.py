from __future__ import annotations

import pytest

from d2n.errors import ConfigError, DataError
from d2n.naming import brief, checked_name, checked_title


@pytest.mark.parametrize("name", ["toycity", "my-photos_2.b", "A", "24-7", "x" * 100])
def test_a_plain_name_comes_back(name: str) -> None:
    assert checked_name(name, "x") == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "o'brien", 'a"b', "me@home", "my city", "a/b", "a:b", "../x", ".x", "x.", "a..b", "-x", "a\nb", "a\n",
     "a\0", "a`b", "a;b", "a%b", "ß", "é", "x" * 101, "x" * 300],
)  # fmt: skip
def test_another_is_refused_in_one_short_line_with_the_rule(name: str) -> None:
    with pytest.raises(DataError, match="no name: expected 1 to 100 of a-z") as caught:
        checked_name(name, "the data set's name", DataError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("title", ["my first run, o'brien's", "Městečko by night", "x" * 200])
def test_a_title_is_any_printable_line(title: str) -> None:
    assert checked_title(title, "x") == title


@pytest.mark.parametrize("title", ["", "  ", "a\nb", "a\x1b[1m", "x" * 201])
def test_a_title_that_breaks_a_line_is_refused(title: str) -> None:
    with pytest.raises(ConfigError, match="one printable line"):
        checked_title(title, "x")


def test_a_long_text_is_quoted_short() -> None:
    assert brief("a'b") == '"a\'b"'
    assert brief("x" * 300) == f"'{'x' * 30}'… (300 characters)"
