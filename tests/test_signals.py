from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from d2n import signals
from d2n.signals import (
    StopRequested,
    Terminated,
    deferred,
    signals_between_steps,
    termination_raises,
)


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """What a shell starts in the background ignores Ctrl-C: the tests do not inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def heard(*numbers: signal.Signals, pause_s: float = 0.0) -> bool:
    """Whether work between steps goes on through the signals, told to stop."""
    with termination_raises(), signals_between_steps() as stop:
        for number in numbers:
            send(number)
            time.sleep(pause_s)
        told = stop.is_set()
    with pytest.raises(StopRequested):
        signals.raise_unheard()
    return told


def test_a_wish_to_stop_that_is_heard_several_times_is_one() -> None:
    """As when a terminal, a supervisor and torchrun each pass it on."""
    assert heard(signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    assert heard(signal.SIGTERM, signal.SIGTERM, pause_s=signals._AGAIN_S)


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        heard(signal.SIGINT, signal.SIGINT, pause_s=signals._AGAIN_S)


def test_a_signal_that_came_after_the_last_step_is_heard_later() -> None:
    with signals_between_steps():
        send(signal.SIGTERM)
    with pytest.raises(StopRequested) as caught:
        signals.raise_unheard()
    assert caught.value.exit_code == 143
    signals.raise_unheard()  # once
    with signals_between_steps():
        send(signal.SIGINT)
    with pytest.raises(StopRequested), signals_between_steps():
        pytest.fail("trained on")


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_deferred_signal_waits_for_the_end_of_the_block(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    done = []

    def work() -> None:
        with termination_raises(), deferred():
            send(number)
            done.append("all")

    with pytest.raises(raised):
        work()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_an_interruption_that_python_drops_comes_again(
    number: signal.Signals, raised: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exceptions of a weak reference's callback are printed and forgotten."""

    class Thing:
        pass

    thing = Thing()
    things: list[Any] = []
    callbacks: list[object] = []

    def last_words(_: object) -> None:
        callbacks.append(_)
        send(number)
        pytest.fail("interrupted later")

    kept = weakref.ref(thing, last_words)
    began = time.monotonic()
    things.append(thing)
    del thing
    with pytest.raises(raised), termination_raises():
        forget_and_sleep(things, 60)
    assert len(callbacks) == 1
    assert kept() is None
    assert time.monotonic() - began < 50  # in its sleep
    assert "ignored" not in capsys.readouterr().err


def forget_and_sleep(things: list[Any], seconds: float) -> None:
    things.clear()
    time.sleep(seconds)


def test_an_interruption_that_python_made_another_error_of_ends_as_itself() -> None:
    """What `__set_name__` raises while a class is made becomes a RuntimeError: an import may be interrupted so."""

    class Named:
        def __set_name__(self, owner: type, name: str) -> None:
            send(signal.SIGTERM)
            time.sleep(60)

    def make() -> None:
        type("Holder", (), {"named": Named()})

    with pytest.raises(Terminated) as caught, termination_raises():
        make()
    assert caught.value.__cause__ is None  # whoever follows the causes comes to an end
    with pytest.raises(RuntimeError, match="on its own"), termination_raises():
        raise RuntimeError("on its own") from ValueError("of another kind")
