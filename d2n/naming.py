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
GENERATORS = "d2n-"  # before a data set: its registered generator
RETRIEVAL_NETWORKS = "d2n-retrieval-"  # before a data set: its registered retrieval network


def is_name(text: str) -> bool:
    """Whether the text obeys the rule."""
    return len(text) <= LONGEST and ".." not in text and _NAME.fullmatch(text) is not None


def checked_name(text: str, what: str, kind: type[D2NError] = ConfigError) -> str:
    """The name itself; ``kind`` of error in one line where it breaks the rule. ``what`` is such as ``dataset.name``."""
    if not is_name(text):
        raise kind(f"{what} is {brief(text)}, which is no name: expected {RULE}")
    return text


def checked_dataset(text: str, what: str, kind: type[D2NError] = ConfigError) -> str:
    """A data set's name: obeys the rule, and its generator's name is no retrieval network's."""
    checked_name(text, what, kind)
    if f"{GENERATORS}{text}".startswith(RETRIEVAL_NETWORKS):
        other = text.removeprefix(RETRIEVAL_NETWORKS.removeprefix(GENERATORS))
        raise kind(
            f"{what} is {brief(text)}: its generator would be registered as {GENERATORS}{text}, which is the retrieval "
            f"network of {other or 'another'}; choose a name that does not begin with 'retrieval-'"
        )
    return text


def checked_network(text: str, what: str, kind: type[D2NError] = ConfigError) -> str:
    """A name to register a retrieval network under: obeys the rule, and is no data set's generator."""
    checked_name(text, what, kind)
    if text.startswith(GENERATORS) and not text.startswith(RETRIEVAL_NETWORKS):
        raise kind(
            f"{what} is {brief(text)}, the name of the generator of {brief(text.removeprefix(GENERATORS))}; expected "
            f"{RETRIEVAL_NETWORKS}<data set>, or a name that does not begin with {GENERATORS!r}"
        )
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
