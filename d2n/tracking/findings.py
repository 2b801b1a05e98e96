"""What a doctor finds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from d2n.errors import D2NError

logger = logging.getLogger(__name__)
Kind = Literal[
    "schema", "moved store", "leftover", "orphan run", "missing folder", "broken version", "alias", "unfinished model",
    "unreadable", "seal", "unsent",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: Kind
    subject: str  # a run id, NAME/VERSION, NAME@ALIAS, a logged model's id, a file
    message: str  # one line
    mending: str  # what mend() does; '' where a person has to decide
    advice: str = ""  # what a person does


def examined(subject: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds; where it breaks on what is broken, that is the finding, and the other checks go on."""
    try:
        return list(check())
    except D2NError as error:
        return [Finding("unreadable", subject, str(error), "")]
    except Exception as error:  # whoever wrote into the database, anything may come out
        logger.debug("%s could not be examined", subject, exc_info=True)
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        return [Finding("unreadable", subject, f"cannot be examined: {type(error).__name__}: {reason}", "")]
