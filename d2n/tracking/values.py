"""Texts and points as MLflow keeps them: params and tags of bounded length, a curve's points by step."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from d2n import secrets

LONGEST_PARAM, LONGEST_TAG = 6000, 8000  # characters


def overlay_points(precision: Sequence[float], recall: Sequence[float]) -> list[tuple[int, float]]:
    """(round(1000 * recall), precision), ascending, one point a step: the highest precision there."""
    best: dict[int, float] = {}
    for p, r in zip(precision, recall, strict=True):
        step = round(1000 * float(r))
        best[step] = max(best.get(step, -math.inf), float(p))
    return sorted(best.items())


def param_text(value: Any) -> str:
    """A param's text: booleans and None as in YAML, floats in full; above 6000 characters cut, with the rest named."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return _cut(secrets.scrub_urls(str(value)), LONGEST_PARAM)


def tag_text(value: Any) -> str:
    """A tag's text: no password of a URL; above 8000 characters cut, with the rest named."""
    return _cut(secrets.scrub_urls(str(value)), LONGEST_TAG)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f"… ({len(text)} characters, crc {_crc(text)})"
    return text[: limit - len(note)] + note


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
