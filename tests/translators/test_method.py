"""Rows of methods: one more is two files and two lines."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import d2n
from d2n.config import METHODS as KNOBS
from d2n.translators import METHODS

ROOT = Path(d2n.__file__).parent
WALK = """
import torch
from pathlib import Path
from d2n.workflows.check import check
print(*check([Path("kut.yaml"), Path("kuts.yaml")]), sep="\\n")
from d2n import config
from d2n.translators import build, checkpoint
from d2n.workflows.preflight.translator import check_networks
experiment = config.load_experiment("kut.yaml")
check_networks(experiment.translator, 64, 2)
translator = build(experiment.translator, total_steps=2, seed=0)
random = torch.Generator().manual_seed(0)
for _ in range(2):
    batch = {name: torch.rand(2, 3, 32, 32, generator=random) * 2 - 1 for name in ("day", "night")}
    losses = translator.step(**batch)
assert all(torch.isfinite(value) for value in losses.values())
checkpoint.save_generator("out", translator.generator, experiment.translator)
assert checkpoint.load_generator("out")[1]["method"] == "kut"
print("trained", type(translator).__name__, sorted(losses))
"""
STUDY = """
name: kuts
experiment: kut.yaml
space: {translator.lambda_nce: {type: float, low: 1, high: 2}}
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
    (tmp_path / "kut.yaml").write_text("preset: toy\ntranslator: {method: kut, generator_channels: 4}\n")
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
    assert "trained Kut" in done.stdout
