"""A Markdown text cut to what a database keeps, each of its sections still there."""

from __future__ import annotations

import re

LONGEST = 4900  # characters; a registry's databases hold 5000
_LEFT_OUT = "- … the rest is in the run"
_HEADING = re.compile(r"(?m)^(?=#{1,6} )")


def fitted(text: str, longest: int) -> str:
    """Its longest sections shortened by whole lines until `longest` characters hold it; a line says so in each.

    Where even sections of one line are too long together, the end is cut.
    """
    parts = [part for part in _HEADING.split(text) if part]
    while sum(map(len, parts)) > longest:
        at = max(range(len(parts)), key=lambda number: len(parts[number]))
        shorter = _shortened(parts[at])
        if len(shorter) >= len(parts[at]):
            return "".join(parts)[: max(0, longest - 1)] + "…"
        parts[at] = shorter
    return "".join(parts)


def _shortened(part: str) -> str:
    """Without its last lines; where it has a heading and a line or two, cut to half."""
    body = part.rstrip("\n")
    end = part[len(body) :]
    lines = [line for line in body.split("\n") if line != _LEFT_OUT]
    for kept in range(len(lines) - 1, 2, -1):
        shorter = "\n".join([*lines[:kept], _LEFT_OUT]) + end
        if len(shorter) < len(part):
            return shorter
    return body[: len(body) // 2].rstrip("…") + "…" + end
