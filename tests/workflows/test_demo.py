"""The demo's stages on a tiny city: walked, interrupted, gone on with."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path

import pytest
import torch
import yaml

from d2n.errors import DataError
from d2n.tracking import registry, runs
from d2n.workflows import demo
from tests.workflows.conftest import TINY_RETRIEVAL, TINY_TRANSLATION

TINY = demo.Scale(
    cities=0.02,
    trials={"pix2pix": 1, "cyclegan": 1},
    translation={"pix2pix": {"training.n_epochs": 1}, "cyclegan": {"training.n_epochs": 1}},
    retrieval={"training.n_epochs": 1},
    minutes=dict.fromkeys(demo.FULL.minutes, 0.1),
)


def write_project(folder: Path) -> None:
    """experiments/ and optuna_studies/ under the names that the demo reads."""
    for name in ("experiments", "optuna_studies"):
        (folder / name).mkdir()
    for method in demo.METHODS:
        knobs = {**TINY_TRANSLATION["translator"], "method": method}  # type: ignore[dict-item] # nested values
        scores = {**TINY_TRANSLATION["evaluation"], "scores": ["fid", "kid", demo.METRIC]}  # type: ignore[dict-item] # as above
        experiment = {
            **TINY_TRANSLATION,
            "name": f"{method}_toycity",
            "translator": knobs,
            "evaluation": scores,
        }
        (folder / f"experiments/{method}_toycity.yaml").write_text(yaml.safe_dump(experiment))
        study = {
            "name": f"{method}_toycity",
            "experiment": f"../experiments/{method}_toycity.yaml",
            "space": {"translator.lr": {"type": "float", "low": 1e-4, "high": 1e-3, "log": True}},
            "pruner": "none",
        }
        (folder / f"optuna_studies/{method}_toycity.yaml").write_text(yaml.safe_dump(study))
    arms = {
        "retrieval_toycity_baseline": {"register_as": "d2n-retrieval-toycity"},
        "retrieval_toycity": {
            "night": {"augmentation": "generator", "generator": "models:/d2n-toycity@champion"},
        },
    }
    for name, values in arms.items():
        text = yaml.safe_dump({**TINY_RETRIEVAL, "name": name, **values})
        (folder / f"experiments/{name}.yaml").write_text(text)


def road(folder: Path) -> demo._Road:
    return demo._Road(folder / "experiments", folder / "optuna_studies", TINY, False, 0, 1)


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_and_ends_with_what_was_found(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    write_project(tmp_path)
    with contextlib.chdir(tmp_path):
        begun = list(itertools.islice(road(tmp_path).walk(), 6))  # until the third stage is announced
        assert begun[1].startswith("9 of 9 stages to go")
        assert begun[-1].startswith("[3/9] search pix2pix") or begun[-2].startswith("[2/9]")
        lines = list(road(tmp_path).walk())
        state = json.loads(Path("mlruns/demo.json").read_text())
        store = runs.open_store()
        champion = registry.resolve(store, "d2n-toycity@champion")
        assert Path("report/report.html").is_file()
    assert lines[2] == "[1/9] render the toy city by day and by night: done before"
    maps = {arm: state["stages"][arm]["maps"]["toycity/night"] for arm in ("baseline", "champion")}
    table = {
        line.split("  ")[0]: line.split()[-1]
        for line in lines
        if line.startswith(("day ph", "15 %", "ratio"))
    }
    assert float(table["day photographs only"]) == pytest.approx(100 * maps["baseline"], abs=0.05)
    winner = state["stages"]["promotion"]["method"]
    assert float(table[f"15 % by night, {winner} (champion)"]) == pytest.approx(
        100 * maps["champion"], abs=0.05
    )
    assert all(stage["seconds"] > 0 and stage["processor_s"] > 0 for stage in state["stages"].values())
    assert champion.run_id
    assert state["runs"]["champion"] in champion.used_by


def test_a_quick_demo_keeps_to_a_folder_of_its_own() -> None:
    assert set(demo.QUICK.minutes) == set(demo.FULL.minutes)
    assert sum(demo.QUICK.minutes.values()) < 3 < sum(demo.FULL.minutes.values()) <= 10


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"seed": 0, "quick": false, "stages": [], "runs": {}}', '{"seed": 1']
)
def test_a_state_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    demo.STATE.parent.mkdir()
    demo.STATE.write_text(text)
    with pytest.raises(DataError) as caught:
        road(tmp_path)
    assert "demo.json: " in str(caught.value)
    assert "\n" not in str(caught.value)
