"""A retrieval arm that takes a second, and a receiver that runs it."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from d2n.config import RetrievalExperiment, build_experiment
from d2n.tracking.runs import RunRecord, Store
from d2n.workflows.champion import measure_champions

RECEIVER = Path(__file__).parents[2] / "docs" / "receiver.py"
SLEEP_S = 1.0


def experiment() -> RetrievalExperiment:
    values = {
        "kind": "retrieval",
        "name": "arm",
        "dataset": {"name": "toycity"},
        "network": {"backbone": "toy"},
    }
    built = build_experiment(values)
    assert isinstance(built, RetrievalExperiment)
    return built


def fake_arm(wanted: RetrievalExperiment, *, store: Store, run: RunRecord, seconds: float = 0.0) -> None:
    """Goes on with a run as `retrieve` does, and measures the number of its generator's version."""
    reference = wanted.night.generator or ""
    with store.resume_run(run.run_id) as own:
        name, _, version = reference.rpartition("/")
        own.log_generator(name, version, "")
        time.sleep(seconds)
        own.log_metrics({"map/toycity/night": int(version) / 100})


def receiver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("receiver", RECEIVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(model: str, port: int) -> None:
    """The receiver of the documents, with this arm."""

    def slow_arm(*args: Any, **options: Any) -> None:
        fake_arm(*args, **options, seconds=SLEEP_S)

    module: Any = receiver()
    module.measure_champions = lambda name, _: measure_champions(name, experiment(), arm=slow_arm)
    module.main(model, "", port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
