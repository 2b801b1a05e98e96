"""Processes of workers for test_many_workers.py: d2n's, Optuna's alone, Optuna's proxy, runs that log."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from d2n import studies
from d2n.studies import worker
from d2n.studies.leases import this_process
from d2n.tracking.runs import open_store

LOGGED_S = 90  # of the runs that log


class Sleeping:
    """A worker's trials: each sleeps; claims and ends are timed and written down."""

    def __init__(self, name: str, mean_s: float, log: Any) -> None:
        self._name, self._mean_s, self._log = name, mean_s, log
        self._rng, self._trial = random.Random(name), -1

    def run(self, trial: worker.ClaimedTrial) -> worker.Outcome:
        self._trial = trial.number
        self._say("claim", trial=trial.number, attempt=trial.attempt, s=self._last_s)
        time.sleep(self._rng.expovariate(1 / self._mean_s) if self._mean_s else 0)
        return worker.Outcome(values=(self._rng.random(),))

    def settle(self, trial: optuna.trial.FrozenTrial) -> None:
        self._say("end", trial=trial.number)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._last_s = time.perf_counter() - begun

    def _say(self, what: str, **known: Any) -> None:
        self._log.write(json.dumps({"what": what, "worker": self._name, "at": time.time(), **known}) + "\n")
        self._log.flush()


def be_workers(folder: Path, url: str, first: int, count: int, mean_s: float) -> None:
    """A process of so many workers."""
    definition = studies.load_study(folder / "s.yaml")

    def life(index: int) -> None:
        name = f"m{index}"
        me = replace(this_process(name), machine=name, processes=name, pid=index, pid_started=0.0)
        with (folder / f"{os.getpid()}-{name}.jsonl").open("a") as log:
            sleeping = Sleeping(name, mean_s, log)
            study = studies.open_study(definition, url)
            for _ in worker.work(study, sleeping, name=me, undisturbed=sleeping.timed):
                pass

    together([threading.Thread(target=life, args=(first + i,)) for i in range(count)])


def be_optunas_workers(folder: Path, url: str, first: int, count: int, mean_s: float) -> None:
    """The same with Optuna alone: ``url`` is a database, or HOST:PORT of its proxy."""
    left = threading.Semaphore(int((folder / "trials").read_text()))

    def life(index: int) -> None:
        study = optuna.load_study(
            study_name="plain",
            storage=_optunas_storage(url),
            sampler=optuna.samplers.RandomSampler(seed=index),
        )
        rng = random.Random(index)
        with (folder / f"{os.getpid()}-m{index}.jsonl").open("a") as log:
            while left.acquire(blocking=False):
                begun = time.perf_counter()
                trial = study.ask()
                took_s = time.perf_counter() - begun
                log.write(
                    json.dumps({"what": "claim", "at": time.time(), "trial": trial.number, "s": took_s})
                    + "\n"
                )
                trial.suggest_float("lr", 1e-5, 1e-2, log=True)
                trial.suggest_float("l1", 10, 300, log=True)
                time.sleep(rng.expovariate(1 / mean_s))
                study.tell(trial, rng.random())

    together([threading.Thread(target=life, args=(first + i,)) for i in range(count)])


def _optunas_storage(url: str) -> optuna.storages.BaseStorage:
    if "://" in url:
        return optuna.storages.RDBStorage(url, engine_kwargs={"pool_size": 1, "pool_pre_ping": True})
    host, _, port = url.partition(":")
    return optuna.storages.GrpcStorageProxy(host=host, port=int(port))


def be_the_proxy(url: str, port: int) -> None:
    optuna.storages.run_grpc_proxy_server(optuna.storages.RDBStorage(url), host="127.0.0.1", port=port)


def be_logging_runs(folder: Path, uri: str, first: int, count: int, every_s: float) -> None:
    """Runs that each log what a training does: eight losses at once, every so often."""
    store = open_store(uri)

    def life(index: int) -> None:
        rng = random.Random(index)
        with (folder / f"{os.getpid()}-m{index}.jsonl").open("a") as log:
            run = store.start_run("many", f"run {index}")
            end, step = time.monotonic() + LOGGED_S, 0
            while time.monotonic() < end:
                time.sleep(rng.uniform(0.5, 1.5) * every_s)
                step += 1
                begun = time.perf_counter()
                run.log_metrics({f"loss/{i}": rng.random() for i in range(8)}, step=step)
                log.write(
                    json.dumps({"what": "log", "at": time.time(), "s": time.perf_counter() - begun}) + "\n"
                )
            run.close("FINISHED")

    together([threading.Thread(target=life, args=(first + i,)) for i in range(count)])


def together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "proxy":
        be_the_proxy(rest[0], int(rest[1]))
    else:
        be = {"d2n": be_workers, "Optuna": be_optunas_workers, "log": be_logging_runs}[what]
        folder, url, first, count, seconds = rest
        be(Path(folder), url, int(first), int(count), float(seconds))
