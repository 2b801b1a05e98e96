"""Rows of methods: one more is two files and two lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import d2n
from d2n.config import METHODS as KNOBS
from d2n.translators import METHODS

ROOT = Path(d2n.__file__).parent
WALK = """
import torch
from click.testing import CliRunner
from d2n.cli import cli
from d2n.datasets import toycity

torch.set_num_threads(1)
toycity.make("data/toycity", seed=0, scale=0.02, workers=1)

def d2n(*arguments):
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, (done.output, done.exception)
    print(done.output)

d2n("check", "kut.yaml", "kuts.yaml")
d2n("search", "kuts.yaml")
from d2n.tracking import runs
store = runs.open_store()
(trial,) = store.find_runs(tags={"d2n.method": "kut"})
d2n("score", trial.run_id)
d2n("report", "--out", "report")
print("trained", trial.status, "score/fid.random-squeezenet1_0" in trial.metrics)
"""
EXPERIMENT = """
preset: toy
dataset: {name: toycity, image_size_px: 32}
translator: {method: kut, generator_channels: 4, generator_blocks: 1, discriminator_channels: 4}
training: {n_epochs: 1, steps_per_epoch: 2, batch_size: 2, precision: fp32, device: cpu}
evaluation:
  {extractor: random-squeezenet1_0, scores: [fid], num_images: 8, num_bootstrap: 0, num_clusters: 3, num_samples: 2}
"""
STUDY = """
name: kuts
experiment: kut.yaml
space: {translator.lambda_nce: {type: float, low: 1, high: 2}}
objective: fid
pruner: none
stop: {trials: 1}
"""


def test_both_halves_of_a_row_name_the_same_methods() -> None:
    assert list(METHODS) == list(KNOBS)
    assert all(row.knobs is KNOBS[name] for name, row in METHODS.items())


def add_line(path: Path, name: str) -> None:
    """One more line in the dict of rows, and the module in the import above it."""
    text = path.read_text()
    last = next(line for line in text.splitlines() if line.startswith('    "cut": '))
    text = text.replace(f"{last}\n", f"{last}\n{last.replace('cut', name)}\n")
    path.write_text(text.replace("import cut, ", f"import cut, {name}, "))


@pytest.mark.slow
def test_a_copy_of_cut_under_another_name_is_two_files_and_two_lines(tmp_path: Path) -> None:
    package = tmp_path / "d2n"
    shutil.copytree(ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("experiments", "optuna_studies"):
        if (ROOT.parent / kind).is_dir():
            shutil.copytree(ROOT.parent / kind, tmp_path / kind)
    for home in ("config/methods", "translators"):
        copy = (package / home / "cut.py").read_text()
        copy = copy.replace('"cut"', '"kut"').replace("methods.cut", "methods.kut").replace("Cut", "Kut")
        (package / home / "kut.py").write_text(copy)
        add_line(package / home / "__init__.py", "kut")
    (tmp_path / "kut.yaml").write_text(EXPERIMENT)
    (tmp_path / "kuts.yaml").write_text(STUDY)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WALK],
        cwd=tmp_path,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "kut.yaml: kut on toycity" in done.stdout
    assert "study kuts, 1 dimensions fit" in done.stdout
    assert "trained FINISHED True" in done.stdout
    assert "kut" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
