"""A worker whose trials sleep: `python history_worker.py FOLDER MEAN_S`; the study is FOLDER/s.yaml."""

from __future__ import annotations

import random
import sys
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
    """Each trial sleeps for a time drawn around a mean."""

    def __init__(self, mean_s: float) -> None:
        self.mean_s = mean_s

    def run(self, trial: worker.ClaimedTrial) -> worker.Outcome:
        end = time.monotonic() + random.expovariate(1 / self.mean_s)
        while time.monotonic() < end:
            time.sleep(0.02)
            trial.check()
        return worker.Outcome(values=(float(trial.settings["translator.lambda_l1"] or 0),))

    def settle(self, trial: optuna.trial.FrozenTrial) -> None:
        """Nothing is open."""


def open_in(folder: Path, trials: int, lease_s: float = 300.0) -> studies.OpenStudy:
    """The study of a folder on SQLite."""
    (folder / "e.yaml").write_text("preset: toy\ntranslator: {method: pix2pix}\n")
    (folder / "s.yaml").write_text(STUDY.format(trials=trials, lease_s=lease_s))
    return opened(folder)


def opened(folder: Path) -> studies.OpenStudy:
    url = studies.storage_url(f"sqlite:///{folder}/optuna.db")
    return studies.open_study(studies.load_study(folder / "s.yaml"), url)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for _ in worker.work(opened(place), Sleeping(float(sys.argv[2]))):
        pass
