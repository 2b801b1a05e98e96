"""Worker processes on this machine: started with a share of the cores, started again when one dies, ended together."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from d2n import secrets
from d2n.errors import D2NError, StudyError
from d2n.files.refusals import refusal

if TYPE_CHECKING:
    from d2n.workflows.search import SearchRequest

logger = logging.getLogger(__name__)
_SPAWN = multiprocessing.get_context("spawn")
_POLL_S = 1.0
_EARLY_S = 5.0  # a worker that dies so soon did not get to its trial
_EARLY_DEATHS = 5
_GRACE_S = 60.0  # to write a checkpoint after SIGTERM


@dataclass
class _Worker:
    index: int
    process: SpawnProcess
    answer: Connection
    started: float


def supervise(request: SearchRequest, workers: int, poll: Callable[[], None] = lambda: None) -> str:
    """Run so many workers until the study has enough; why they ended.

    A worker that was killed is started again: its trial is resumed by whoever claims first. A worker's error that
    a user can mend ends all and is raised here.
    """
    running = [_start(request, index) for index in range(workers)]
    reason, early = "", 0
    try:
        while running:
            wait([worker.process.sentinel for worker in running], timeout=_POLL_S)
            poll()
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
                running.append(_start(request, worker.index))
    finally:
        _end(running)
    return reason


def _start(request: SearchRequest, index: int) -> _Worker:
    receiving, sending = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(request, index, sending), name=f"d2n-worker-{index}")
    process.start()
    sending.close()
    return _Worker(index, process, receiving, time.monotonic())


def _answer(worker: _Worker) -> tuple[str, str]:
    try:
        kind, text = worker.answer.recv() if worker.answer.poll() else ("died", "")
    except EOFError:
        kind, text = "died", ""
    worker.answer.close()
    return str(kind), str(text)


def _end(running: list[_Worker]) -> None:
    """SIGTERM to all; they write checkpoints and give their trials back. SIGKILL to those that do not."""
    for worker in running:
        worker.process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for worker in running:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            logger.warning("worker %d did not end within %.0f s: killed", worker.index, _GRACE_S)
            worker.process.kill()
            worker.process.join()
        worker.answer.close()


def _work(request: SearchRequest, index: int, answer: Connection) -> None:
    """The life of a worker process."""
    from threadpoolctl import threadpool_limits

    secrets.install()
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C reaches the supervisor alone, which ends the workers in order
    _end_with_parent()
    if request.num_threads:
        os.environ["OMP_NUM_THREADS"] = str(request.num_threads)  # torch reads it when it is imported
    from d2n.tracking.signals import termination_raises
    from d2n.workflows import search

    try:
        with threadpool_limits(request.num_threads or None), termination_raises():
            reason = search.work(request, name=f"worker-{index}-{os.getpid()}")
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
