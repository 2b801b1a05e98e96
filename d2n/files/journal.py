"""A history of what happened to promises: a JSON line an operation, where D2N_HISTORY names a file.

Off unless the variable is set; what the lines are held against stands in docs/reliability.md. Times are those of the
machine's steady clock, which all its processes share and no correction of the time of day moves.
"""

from __future__ import annotations

import json
import os
import time

VARIABLE = "D2N_HISTORY"


def now() -> float:
    """When an operation begins: seconds of this machine's steady clock."""
    return time.monotonic()


def note(what: str, began: float, **facts: object) -> None:
    """One operation that was acknowledged, with when it began and ended; lines of several processes never mix."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = (
        json.dumps({"what": what, "from": began, "to": time.monotonic(), "pid": os.getpid(), **facts}) + "\n"
    )
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)
