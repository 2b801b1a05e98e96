"""A study whose trials are trained by two processes that torchrun started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from d2n.datasets import toycity
from d2n.errors import StudyError
from d2n.studies.study import load_optuna
from d2n.workflows.search import several
from tests.workflows.conftest import TINY_TRANSLATION

STUDY = """\
name: s
experiment: e.yaml
space: {translator.lr: {type: float, low: 1.0e-5, high: 1.0e-2, log: true}}
sampler: {name: random, seed: 1}
pruner: {name: median, n_startup_trials: 1}
stop: {trials: 4}
"""


@pytest.mark.parametrize(
    ("kind", "workers", "has_seats", "said"),
    [
        ("retrieval", 1, False, "a retrieval trains in one"),
        ("translation", 2, False, "--workers or --workers-per-gpu ask for more"),
        ("translation", 1, True, "--workers or --workers-per-gpu ask for more"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, workers: int, has_seats: bool, said: str
) -> None:
    several.refuse_workers(kind, workers, has_seats)  # alone all of it can be
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StudyError, match=said):
        several.refuse_workers(kind, workers, has_seats)
    several.refuse_workers("translation", 1, False)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("city") / "toycity"
    toycity.make(folder, seed=0, scale=0.02, workers=1)
    return folder


def start(folder: Path, city: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    experiment = {
        **TINY_TRANSLATION,
        "name": "e",
        "dataset": {"name": "toycity", "image_size_px": 32, "root": str(city)},
        "training": {"n_epochs": 4, "steps_per_epoch": 6, "batch_size": 2},
        "evaluation": {
            **TINY_TRANSLATION["evaluation"],
            "extractor": "random-squeezenet1_1",
            "resize_px": 48,
            "every_epochs": 1,
        },
    }
    (folder / "e.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "s.yaml").write_text(STUDY)
    many = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "d2n", "search", "s.yaml"]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *many],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )


def ended(folder: Path) -> list[tuple[str, dict[int, float]]]:
    study = load_optuna(f"sqlite:///{folder}/mlruns/optuna.db", "s")
    return [(trial.state.name, trial.intermediate_values) for trial in study.trials]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_processes_walk_a_study_and_go_on_where_they_were_stopped(tmp_path: Path, city: Path) -> None:
    """A median pruner ends some trials; SIGTERM comes to torchrun in a training, and the same command goes on."""
    undisturbed = tmp_path / "undisturbed"
    assert start(undisturbed, city).wait(timeout=900) == 0, (undisturbed / "log.txt").read_text()[-3000:]
    expected = ended(undisturbed)
    assert len(expected) == 4
    assert {state for state, _ in expected} == {"COMPLETE", "PRUNED"}

    stopped = tmp_path / "stopped"
    first = start(stopped, city)
    while not list((stopped / "mlruns" / "work").glob("*/checkpoint/*.json")):
        assert first.poll() is None, (stopped / "log.txt").read_text()[-3000:]
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=300) != 0
    assert start(stopped, city).wait(timeout=900) == 0, (stopped / "log.txt").read_text()[-3000:]
    assert ended(stopped) == expected
