"""Processes that hold a registered model."""

from __future__ import annotations

import os
import time
from pathlib import Path

from d2n.tracking.registry_lock import exclusive
from d2n.tracking.runs import open_store


def add_one(uri: str, model: str, counter: Path, times: int) -> None:
    """Read a number and write one more, as if nobody else did; a few times."""
    store = open_store(uri)
    for _ in range(times):
        with exclusive(store, model, wait_s=60):
            number = int(counter.read_text())
            time.sleep(0.01)
            counter.write_text(str(number + 1))


def hold_and_die(uri: str, model: str) -> None:
    """End inside, as kill -9 does."""
    with exclusive(open_store(uri), model):
        os._exit(9)
