"""What must import where something is absent."""

from __future__ import annotations

import subprocess
import sys

import pytest

ROOMS_OF_TRAINING = ["d2n.datasets", "d2n.translators", "d2n.scores", "d2n.retrieval", "d2n.plots"]
COMPUTING = [
    "d2n.datasets.batches",
    "d2n.datasets.toycity",
    "d2n.translators.loop",
    "d2n.translators.checkpoint",
    "d2n.scores.evaluate",
    "d2n.scores.features",
    "d2n.retrieval.loop",
    "d2n.retrieval.search",
    "d2n.workflows.translation",
    "d2n.workflows.retrieval",
]


def imports_without(absent: list[str], modules: list[str]) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({absent!r}))\n"
        f"import importlib\n[importlib.import_module(name) for name in {modules!r}]\nprint('imported')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_training_and_scoring_import_where_mlflow_optuna_and_pydantic_are_absent() -> None:
    done = imports_without(["mlflow", "optuna", "pydantic", "sqlalchemy"], [*ROOMS_OF_TRAINING, *COMPUTING])
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.parametrize(
    "module",
    [
        *("d2n.config", "d2n.core", "d2n.promotion", "d2n.studies.loading", "d2n.tracking.runs"),
        *("d2n.studies", "d2n.scores", "d2n.datasets", "d2n.workflows.check"),
    ],
)
def test_studies_are_listed_where_torch_is_absent(module: str) -> None:
    done = imports_without(["torch", "torchvision"], [module])
    assert done.stdout == "imported\n", done.stderr
