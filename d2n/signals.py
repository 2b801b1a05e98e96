"""Ctrl-C, SIGTERM and SIGHUP: raised where nothing is lost by it, waited with where something would be.

A terminal, a process supervisor and torchrun may all pass on one wish to stop, so that one process hears it twice or
three times. Only a second Ctrl-C, a moment after the first, asks for more than the first did.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)
_AGAIN_S = 1.0  # a second Ctrl-C sooner than this is the first one, heard twice
_DROPPED_S = 0.05  # until a dropped one is sent again, outside of what dropped it
_unheard: list[int] = []  # came in a training that had no step left to stop before


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. A KeyboardInterrupt: no `except Exception` swallows it; runs close as KILLED."""

    def __init__(self, number: int) -> None:
        super().__init__(f"{signal.Signals(number).name} received")
        self.number = number
        self.exit_code = 128 + number


class StopRequested(KeyboardInterrupt):
    """Work was interrupted where it can go on; with the run, if there is one, and what of it is saved."""

    def __init__(self, run_id: str = "", saved: str = "", exit_code: int = 128 + signal.SIGINT) -> None:
        super().__init__(f"run {run_id} was interrupted" if run_id else "interrupted")
        self.run_id, self.saved, self.exit_code = run_id, saved, exit_code


@contextmanager
def termination_raises() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGHUP raises Terminated; later ones wait until the block has closed its runs.

    An interruption raised where Python drops exceptions, in a destructor or a weak reference's callback, is sent again;
    one that Python turned into another exception, as it does while a class is made, ends the block as itself.
    Former handlers come back at the end. Outside the main thread, where Python allows no handlers, nothing changes.
    """
    arrived: list[int] = []

    def raise_once(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            arrived.append(number)
            raise Terminated(number)

    with _handled(raise_once, _available("SIGTERM", "SIGHUP")), _sent_again(arrived.clear):
        try:
            yield
        except Exception as error:
            if (wish := behind(error)) is not None:
                raise wish from None  # it is the error's cause: no circle
            raise


def behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """The interruption that an error was made of, as `__set_name__` makes a RuntimeError of any; None if none was."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


@contextmanager
def _sent_again(forget: Callable[[], None]) -> Iterator[None]:
    """Inside, an interruption that Python drops comes again a moment later, after ``forget()``."""
    former = sys.unraisablehook

    def hook(dropped: Any) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            former(dropped)
            return
        forget()
        number = getattr(dropped.exc_value, "number", signal.SIGINT)
        # a threading.Thread takes a lock that may be held here
        _thread.start_new_thread(_interrupt, (number,))

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = former


def _interrupt(number: int) -> None:
    time.sleep(_DROPPED_S)
    if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
        return  # nobody listens any more
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # ends its sleep too
    else:
        _thread.interrupt_main(signal.Signals(number))


@contextmanager
def signals_between_steps() -> Iterator[threading.Event]:
    """Inside, a signal sets an event, which the work looks at between its steps; a second Ctrl-C interrupts at once.

    One that came too late for any step is not lost: `raise_unheard` raises it.
    """
    raise_unheard()
    stop = threading.Event()
    arrived: list[tuple[int, float]] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if not arrived:
            logger.warning("%s: process %d stops after this step", signal.Signals(number).name, os.getpid())
            stop.set()
        elif _is_second_wish(number, arrived[0][1]):
            raise StopRequested
        arrived.append((number, time.monotonic()))

    with _handled(handle, (signal.SIGINT, *_available("SIGTERM", "SIGHUP"))):
        yield stop
    if arrived:
        _unheard.append(arrived[0][0])


def raise_unheard() -> None:
    """Raise StopRequested for a signal that came when a training had no step left to stop before."""
    if _unheard:
        number = _unheard[0]
        _unheard.clear()
        raise StopRequested(exit_code=128 + number)


@contextmanager
def deferred() -> Iterator[None]:
    """A signal inside waits for the end of the block, which must be short; a second Ctrl-C does not."""
    arrived: list[tuple[int, float]] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        if arrived and _is_second_wish(number, arrived[0][1]):
            raise KeyboardInterrupt
        arrived.append((number, time.monotonic()))

    with _handled(keep, _available("SIGINT", "SIGTERM", "SIGHUP")):
        yield
    if arrived:
        signal.raise_signal(arrived[0][0])


def exit_code(error: BaseException) -> int:
    """What a process that ends by this interruption exits with: 130 after Ctrl-C, 143 after SIGTERM."""
    return int(getattr(error, "exit_code", 128 + signal.SIGINT))


def _is_second_wish(number: int, first: float) -> bool:
    return number == signal.SIGINT and time.monotonic() - first >= _AGAIN_S


def _available(*names: str) -> tuple[int, ...]:
    """Those that the system has and that are not ignored, as nohup has them."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return tuple(number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], Any], numbers: tuple[int, ...]) -> Iterator[None]:
    """The handler inside, the former ones afterwards. Outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in former.items():
            if before is not None:
                signal.signal(number, before)
