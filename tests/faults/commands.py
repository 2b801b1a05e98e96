"""Commands within this process, and what is asked of one that found no room."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from d2n.cli import main


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    said: str  # on stderr


def d2n(folder: Path, *arguments: str) -> Done:
    """A command in a folder, within this process: torch is loaded once. A trace is this test's."""
    said = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            main(list(arguments))
        except SystemExit as ended:
            return Done(int(ended.code or 0), said.getvalue())
    return Done(0, said.getvalue())


def assert_told(done: Done, at: Path) -> None:
    """It ended with exit 2, and its last line says which disk and how much of it is free."""
    last = done.said.strip().splitlines()[-1]
    assert done.code == 2, done.said[-2000:]
    assert "Traceback" not in done.said
    assert f"{at}: " in last, last
    assert " free" in last, last
