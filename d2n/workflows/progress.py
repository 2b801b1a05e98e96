"""Progress where no terminal is: a line an evaluation and a line a finished trial, with the time left, on stderr.

On a terminal there are bars instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

_SHOWN_SCORES = 4


class Lines:
    """Writes lines about work of ``total`` parts, ``done`` of them before; silent on a terminal or unless wanted."""

    def __init__(
        self,
        title: str,
        total: float,
        done: float = 0,
        *,
        wanted: bool = True,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out if out is not None else sys.stderr
        self.is_on = wanted and not self._out.isatty()
        self._title, self._total, self._before, self._clock = title, total, done, clock
        self._started = clock()

    def tell(self, text: str, done: float) -> None:
        """One line: the title, the text, the time left at the pace of this session."""
        if self.is_on:
            left = time_left(self._clock() - self._started, done - self._before, self._total - done)
            self.say(f"{text}; {left}" if left else text)

    def say(self, text: str) -> None:
        """One line without the time left."""
        if self.is_on:
            self._out.write(f"{self._title}: {text}\n" if self._title else f"{text}\n")
            self._out.flush()


def time_left(seconds: float, done: float, left: float) -> str:
    """``3.2 min left`` when ``done`` parts took so many seconds; '' before the first, and where nothing is left."""
    return f"{duration(seconds / done * left)} left" if done > 0 and left > 0 else ""


def duration(seconds: float) -> str:
    """``42 s``, ``3.2 min``, ``5.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def scores_text(scores: Mapping[str, float]) -> str:
    """The first few scores, ``fid 12.3, kid 0.021``."""
    return ", ".join(f"{name} {value:.4g}" for name, value in list(scores.items())[:_SHOWN_SCORES])
