"""Scores of generated images and of ranked lists: pure functions on arrays, and feature networks.

Who takes one function does not load the rows of all scores: they are read when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d2n.scores.kinds import Direction, ScoreKind
    from d2n.scores.rows import SCORES, columns, directed_names, direction_of, leading

__all__ = ["SCORES", "Direction", "ScoreKind", "columns", "directed_names", "direction_of", "leading"]

_KINDS = ("Direction", "ScoreKind")

if not TYPE_CHECKING:  # a checker shall still refuse names that are not there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module("d2n.scores.kinds" if name in _KINDS else "d2n.scores.rows")
        value = globals()[name] = getattr(home, name)
        return value
