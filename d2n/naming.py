"""The one rule for names that people give to data sets, studies, models and aliases.

They become file names, tags and arguments.

Whatever obeys the rule needs no quotes in a shell, in a search of MLflow, in a file system or behind an ``@``.
"""

from __future__ import annotations

import re

from d2n.errors import ConfigError, D2NError

LONGEST = 100
RULE = f"1 to {LONGEST} of a-z, A-Z, 0-9, '-', '_' and '.', a letter or digit first and last, no '..'"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_LONGEST_TITLE = 200


def is_name(text: str) -> bool:
    """Whether the text obeys the rule."""
    return len(text) <= LONGEST and ".." not in text and _NAME.fullmatch(text) is not None


def checked_name(text: str, what: str, kind: type[D2NError] = ConfigError) -> str:
    """The name itself; ``kind`` of error in one line where it breaks the rule. ``what`` is such as ``dataset.name``."""
    if not is_name(text):
        raise kind(f"{what} is {brief(text)}, which is no name: expected {RULE}")
    return text


def checked_title(text: str, what: str, kind: type[D2NError] = ConfigError) -> str:
    """A heading for people, such as a run's: one printable line of at most 200 characters."""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_TITLE:
        raise kind(
            f"{what} is {brief(text)}, expected one printable line of 1 to {_LONGEST_TITLE} characters"
        )
    return text


def brief(text: str) -> str:
    """The text quoted for a message, on one line, its middle left out where it is long."""
    return repr(text) if len(text) <= 60 else f"{text[:30]!r}… ({len(text)} characters)"
