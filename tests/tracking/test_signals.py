from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from d2n.tracking import signals
from d2n.tracking.signals import (
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
