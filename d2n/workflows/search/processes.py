"""Worker processes on this machine: started with a share of the cores, started again when one dies, ended together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from d2n import secrets
from d2n.errors import D2NError, StudyError
from d2n.files.refusals import refusal
from d2n.signals import deferred, termination_raises

if TYPE_CHECKING:
    from d2n.workflows.search.worker import WorkerRequest

logger = logging.getLogger(__name__)
_SPAWN = multiprocessing.get_context("spawn")
_POLL_S = 1.0
_EARLY_S = 5.0  # a worker that dies so soon did not get to its trial
_EARLY_DEATHS = 5
_GRACE_S = 600.0  # after SIGTERM: the step or the score under way, and the checkpoint
_TOLD_S = 5.0  # after which a person is told what is waited for


@dataclass
class _Worker:
    index: int
    process: SpawnProcess
    answer: Connection
    started: float


def supervise(request: WorkerRequest, workers: int) -> Generator[str, None, None]:
    """Run so many workers until the study has enough. Yields "" about every second, and at last why they ended.

    Left earlier, it ends them in order. A worker that was killed is started again: its trial is resumed by whoever
    claims first. A worker's error that a user can mend ends all and is raised here.
    """
    running: list[_Worker] = []
    reason, early = "", 0
    try:
        for index in range(workers):
            _start(request, index, running)
        while running:
            wait([worker.process.sentinel for worker in running], timeout=_POLL_S)
            yield ""
            for worker in [w for w in running if not w.process.is_alive()]:
                running.remove(worker)
                kind, text = _answer(worker)
                if kind == "done":
                    reason = text
                    continue
                if kind == "error":
                    raise StudyError(text)
                early = early + 1 if time.monotonic() - worker.started < _EARLY_S else 0
                if early >= _EARLY_DEATHS:
                    raise StudyError(
                        f"{early} workers died at once, the last with exit code {worker.process.exitcode}"
                    )
                logger.warning(
                    "worker %d died (exit code %s): started again", worker.index, worker.process.exitcode
                )
                _start(request, worker.index, running)
    finally:
        _end(running)
    yield reason


def _start(request: WorkerRequest, index: int, running: list[_Worker]) -> None:
    """Start a worker and count it among the running ones; a signal meanwhile finds it there."""
    receiving, sending = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(request, index, sending), name=f"d2n-worker-{index}")
    with deferred(), _ctrl_c_blocked():
        process.start()
        sending.close()
        running.append(_Worker(index, process, receiving, time.monotonic()))


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """A process started inside hears no SIGINT until it unblocks it: it has no handler for it yet."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _answer(worker: _Worker) -> tuple[str, str]:
    try:
        kind, text = worker.answer.recv() if worker.answer.poll() else ("died", "")
    except EOFError:
        kind, text = "died", ""
    worker.answer.close()
    return str(kind), str(text)


def _end(running: list[_Worker]) -> None:
    """SIGTERM to all; they write checkpoints and give their trials back. SIGKILL to those that do not.

    A second Ctrl-C does not wait for them: whoever comes next resumes their trials from the checkpoints that are there.
    """
    try:
        for worker in running:
            worker.process.terminate()
        _join(running, _TOLD_S)
        if left := _alive(running):
            logger.warning(
                "%d workers write their checkpoints and give their trials back; a second Ctrl-C kills them",
                left,
            )
        _join(running, _GRACE_S)
        if left := _alive(running):
            logger.warning("%d workers did not end within %.0f s: killed", left, _GRACE_S)
    finally:
        with deferred():
            for worker in running:
                if worker.process.is_alive():
                    worker.process.kill()
                worker.process.join()
                worker.answer.close()


def _join(running: list[_Worker], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    for worker in running:
        worker.process.join(max(0.0, deadline - time.monotonic()))


def _alive(running: list[_Worker]) -> int:
    return sum(worker.process.is_alive() for worker in running)


def _work(request: WorkerRequest, index: int, answer: Connection) -> None:
    """The life of a worker process."""
    from threadpoolctl import threadpool_limits

    secrets.install()
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches the supervisor alone, which ends the workers in order
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that was sent before, too
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()
    if request.pins:
        os.sched_setaffinity(0, request.pins[index])
    if request.gpus:  # torch reads it when it first asks for a device
        os.environ["CUDA_VISIBLE_DEVICES"] = request.gpus[index % len(request.gpus)]
    if request.num_threads:
        os.environ["OMP_NUM_THREADS"] = str(request.num_threads)  # torch reads it when it is imported
    from d2n.workflows.search import worker

    try:
        with threadpool_limits(request.num_threads or None), termination_raises():
            name = f"{request.seat.job or 'worker'}-{index}-{os.getpid()}"
            *_, reason = worker.work(request, name=name)
        answer.send(("done", reason))
    except D2NError as error:
        answer.send(("error", str(error)))
        sys.exit(2)
    except KeyboardInterrupt:
        answer.send(("done", "interrupted"))
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - a bug shows its trace, without the passwords in it
        line = refusal(error)
        if line is None:
            secrets.show(type(error), error, error.__traceback__)
            sys.exit(1)
        answer.send(("error", line))
        sys.exit(2)


def _end_with_parent() -> None:
    """A worker does not outlive its supervisor: it gives its trial back as on SIGTERM."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
