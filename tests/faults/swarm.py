"""Workers on one study, in processes of their own, under whatever trouble a test makes; their history, checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import history_worker

from d2n.files import journal
from tests.faults.checker import Found, Operation, anomalies, read

Worker = subprocess.Popen[bytes]
MEAN_S = float(os.environ.get("FAULTS_MEAN_S", "0.3"))


@dataclass
class Swarm:
    """A study of so many trials that sleep, and its workers; one that ends early is started again."""

    folder: Path
    trials: int
    workers: int = 2
    lease_s: float = 300.0
    mean_s: float = MEAN_S  # a trial sleeps
    storage: str = ""  # '': SQLite in the folder
    seen_by_workers: str = ""  # '': the same storage
    environments: tuple[Mapping[str, str], ...] = ({},)  # of the workers, in turns
    running: list[Worker] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)  # of themselves, such as for want of a database
    started: int = 0

    def run(self, trouble: Callable[[Swarm], None], within_s: float = 3000.0) -> list[str]:
        """Until every trial has ended; what the history and the storage say against the promises."""
        study = history_worker.open_in(self.folder, self.trials, self.lease_s, self.storage)
        deadline = time.monotonic() + within_s
        try:
            while len(trials := study.trials()) < self.trials or not all(
                one.state.is_finished() for one in trials
            ):
                assert time.monotonic() < deadline, self.log().read_text()[-3000:]
                self.ended += [one.pid for one in self.running if one.poll() is not None]
                self.running = [one for one in self.running if one.poll() is None]
                while len(self.running) < self.workers:
                    self.running.append(self._start())
                trouble(self)
                time.sleep(0.1)
            for one in self.running:
                one.wait(timeout=120)
        finally:
            for one in self.running:
                one.kill()
        found = Found(trials={("s", one.number): one.state.name for one in study.trials()})
        failed = [f"{trial} ended as {state}" for trial, state in found.trials.items() if state != "COMPLETE"]
        return [*anomalies(self.history(), found, [*self.killed, *self.ended]), *failed]

    def history(self) -> list[Operation]:
        """What was acknowledged to the workers until now."""
        return read(self._path())

    def told(self, found: list[str]) -> str:
        """How many operations there were, and what was found."""
        return f"{len(self.history())} operations, {len(found)} anomalies {json.dumps(found[:3])}"

    def kill(self, worker: Worker) -> None:
        """kill -9."""
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        self.killed.append(worker.pid)

    def stop(self, worker: Worker, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while."""
        worker.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.send_signal(signal.SIGCONT)

    def log(self) -> Path:
        """What the workers said."""
        return self.folder / "workers.log"

    def _path(self) -> Path:
        return self.folder / "history.jsonl"

    def _start(self) -> Worker:
        own = self.environments[self.started % len(self.environments)]
        self.started += 1
        command = [sys.executable, history_worker.__file__, str(self.folder), str(self.mean_s)]
        if seen := self.seen_by_workers or self.storage:
            command.append(seen)
        with self.log().open("ab") as log:
            return subprocess.Popen(
                command,
                env={**os.environ, journal.VARIABLE: str(self._path()), **own},
                stdout=log,
                stderr=log,
            )
