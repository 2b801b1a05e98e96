"""A worker whose trials sleep: `python history_worker.py FOLDER MEAN_S [STORAGE]`; the study is FOLDER/s.yaml."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path

import optuna

from d2n import studies
from d2n.studies import worker

STUDY = """\
name: s
experiment: e.yaml
space:
  translator.lr: {{type: float, low: 1.0e-5, high: 1.0e-2, log: true}}
  translator.lambda_l1: {{type: float, low: 10, high: 300, log: true}}
sampler: random
pruner: none
stop: {{trials: {trials}}}
lease_s: {lease_s}
max_attempts: 1000
"""


class Sleeping:
    """Each trial sleeps for a time drawn around a mean, and so long at least."""

    def __init__(self, mean_s: float, least_s: float = 0.0) -> None:
        self.mean_s, self.least_s = mean_s, least_s

    def run(self, trial: worker.ClaimedTrial) -> worker.Outcome:
        end = time.monotonic() + max(self.least_s, random.expovariate(1 / self.mean_s))
        while time.monotonic() < end:
            time.sleep(0.02)
            trial.check()
        return worker.Outcome(values=(float(trial.settings["translator.lambda_l1"] or 0),))

    def settle(self, trial: optuna.trial.FrozenTrial) -> None:
        """Nothing is open."""


def open_in(folder: Path, trials: int, lease_s: float = 300.0, storage: str = "") -> studies.OpenStudy:
    """The study of a folder, on SQLite there or in a database that is named."""
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(STUDY.format(trials=trials, lease_s=lease_s))
    return opened(folder, storage)


def opened(folder: Path, storage: str = "") -> studies.OpenStudy:
    url = studies.storage_url(storage or f"sqlite:///{folder}/optuna.db")
    return studies.open_study(studies.load_study(folder / "s.yaml"), url)


if __name__ == "__main__":
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:  # libfaketime 0.9.10 refuses the sleep of Python 3.11
        time.sleep = lambda seconds: threading.Event().wait(seconds) and None  # type: ignore[assignment]
    place = Path(sys.argv[1])
    for _ in worker.work(opened(place, *sys.argv[3:]), Sleeping(float(sys.argv[2]))):
        pass
