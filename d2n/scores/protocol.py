"""Which scores may be compared: those of one protocol; and the names scores carry in other feature spaces."""

from __future__ import annotations

import re

from d2n.core import Score, ScoreProtocol
from d2n.errors import ProtocolMismatchError


def check_same_protocol(a: Score | ScoreProtocol, b: Score | ScoreProtocol) -> None:
    """Raise ProtocolMismatchError, both identities side by side, unless a and b may be compared.

    Scores without a protocol are refused too: nothing says what they were measured on.
    """
    first, second = _protocol(a), _protocol(b)
    if first is None or second is None or first.identity != second.identity:
        raise ProtocolMismatchError(
            f"scores of two protocols cannot be compared: {_described(first)} against {_described(second)}; "
            "score both with the same extractor, resize, number of images and reference"
        )


def score_name(base: str, protocol: ScoreProtocol) -> str:
    """``fid`` in the published Inception's space, else ``fid.<space>`` with characters that MLflow takes."""
    space = re.sub(r"[^A-Za-z0-9_.-]+", "-", protocol.space)
    return f"{base}.{space}" if space else base


def _protocol(value: Score | ScoreProtocol) -> ScoreProtocol | None:
    return value.protocol if isinstance(value, Score) else value


def _described(protocol: ScoreProtocol | None) -> str:
    return protocol.describe() if protocol is not None else "a score without a protocol"
