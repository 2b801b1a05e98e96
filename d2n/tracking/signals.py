"""SIGTERM as an exception, so that runs are closed and checkpoints kept when a machine is taken away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. A KeyboardInterrupt: no `except Exception` swallows it; runs close as KILLED."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name} received")
        self.exit_code = 128 + number


@contextmanager
def termination_raises() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGHUP raises Terminated; later ones wait until the block has closed its runs.

    Former handlers come back at the end. Outside the main thread, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def raise_once(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            arrived.append(number)
            raise Terminated(number)

    wanted = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {number: signal.getsignal(number) for number in wanted}
    for number in wanted:
        if former[number] is not signal.SIG_IGN:  # nohup
            signal.signal(number, raise_once)
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:
                signal.signal(number, handler)
