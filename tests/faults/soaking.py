"""What the processes of a long search hold, trial by trial, and how it grows."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil


@dataclass(frozen=True)
class Sample:
    """One process after so many ended trials."""

    role: str  # worker, server
    pid: int
    at_s: float
    trials: int
    memory_mb: float  # of its own: what would be free if it ended
    handles: int
    threads: int


@dataclass(frozen=True)
class Growth:
    """A quantity a trial, as a straight line through its samples, with the half width of its 95 % interval."""

    slope: float
    half_width: float
    first: float
    last: float

    @property
    def least(self) -> float:
        """What the quantity grows by at least, a trial."""
        return self.slope - self.half_width

    def __str__(self) -> str:
        return f"{self.first:.4g} → {self.last:.4g}, {self.slope:+.4f} ± {self.half_width:.4f} a trial"


class Sampler(threading.Thread):
    """Looks at the processes whenever another trial has ended, until it is stopped."""

    def __init__(
        self, roles: Callable[[], Mapping[str, Iterable[psutil.Process]]], ended: Callable[[], int], log: Path
    ) -> None:
        super().__init__(daemon=True)
        self._roles, self._ended, self._log, self._stop_it = roles, ended, log, threading.Event()
        self.samples: list[Sample] = []

    def run(self) -> None:
        began, before = _now(), -1
        while not self._stop_it.wait(0.5):
            trials = self._ended()
            if trials == before:
                continue
            before = trials
            for role, processes in self._roles().items():
                for process in processes:
                    sample = _look(role, process, _now() - began, trials)
                    if sample is not None:
                        self.samples.append(sample)
                        with self._log.open("a") as file:
                            file.write(json.dumps(asdict(sample)) + "\n")

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()


def growth(trials: Iterable[float], values: Iterable[float]) -> Growth:
    """Least squares; neighbouring samples are alike, so that twenty means of neighbours stand for all of them."""
    x, y = np.asarray(list(trials), float), np.asarray(list(values), float)
    parts = min(20, len(x))
    if parts < 4:
        return Growth(math.nan, math.inf, math.nan, math.nan)
    mean_x = np.array([part.mean() for part in np.array_split(x, parts)])
    mean_y = np.array([part.mean() for part in np.array_split(y, parts)])
    centred = mean_x - mean_x.mean()
    slope = float(centred @ mean_y / (centred @ centred))
    residual = mean_y - mean_y.mean() - slope * centred
    error = math.sqrt(float(residual @ residual) / (parts - 2) / float(centred @ centred))
    return Growth(slope, 2.1 * error, float(mean_y[0]), float(mean_y[-1]))


def _look(role: str, process: psutil.Process, at_s: float, trials: int) -> Sample | None:
    try:
        memory = process.memory_full_info().uss / 1e6
        return Sample(role, process.pid, at_s, trials, memory, process.num_fds(), process.num_threads())
    except psutil.Error:
        return None


def _now() -> float:
    import time

    return time.monotonic()
