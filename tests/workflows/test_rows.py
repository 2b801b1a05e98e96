"""Where to change what: a score and a data set are one file and one line each."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from d2n import datasets, promotion, scores
from d2n.core import Score, ScoreProtocol
from d2n.datasets import benchmarks, folders, robotcar
from d2n.datasets.tuples import retrieval_set
from d2n.errors import ConfigError, DataError
from d2n.scores import fid
from d2n.scores.evaluate import evaluate
from d2n.scores.needs import Given, least_images, logged_names, unmet_need
from d2n.studies.loading import load_study
from d2n.workflows import data
from d2n.workflows.check import check, incomplete_rows
from d2n.workflows.report import comparison, files, sections
from tests.datasets.miniatures import labelled

SCORE = """
from d2n.scores.kinds import ScoreKind

def compute(inputs):
    return [inputs.score("brightness", float(abs(inputs.real.mean() - inputs.fake.mean())))]

KIND = ScoreKind(
    name="brightness", meaning="difference of the means", direction="minimize", compute=compute, least=4,
    columns={"brightness": "brightness"}, tells="whether night is dark",
)
"""
DATA_SET = """
from d2n.datasets import folders
from d2n.datasets.kinds import SetKind

KIND = SetKind(
    name="towns", title="towns by day and night", ask_at="https://example.org/towns", listing=folders.listing,
    knobs=folders.KNOBS, thesis={"day": 12, "night": 12}, ground_truths=folders.ground_truths, load="resize",
)
"""
STUDY = """
name: s
experiment: e.yaml
objectives: [brightness]
space:
  translator.lambda_cycle: {type: float, low: 1, high: 2}
"""


def _imported(folder: Path, name: str, text: str) -> ModuleType:
    (folder / f"{name}.py").write_text(text)
    sys.path.insert(0, str(folder))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(name, None)


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file, and one line of the dict."""
    row = _imported(tmp_path, "brightness_score", SCORE).KIND
    monkeypatch.setitem(scores.SCORES, "brightness", row)  # type: ignore[arg-type]  # a literal dict


@pytest.fixture
def towns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    row = _imported(tmp_path, "towns_set", DATA_SET).KIND
    monkeypatch.setitem(datasets.SETS, "towns", row)  # type: ignore[arg-type]  # a literal dict
    monkeypatch.setenv("D2N_DATA", str(tmp_path / "data"))
    return labelled(tmp_path / "data" / "towns", {f"s{i}": ("A", 2, 2) for i in range(6)})


@pytest.mark.usefixtures("brightness")
def test_a_new_score_is_computed_needed_and_directed() -> None:
    real, fake = np.random.default_rng(0).normal(size=(2, 6, 3))
    protocol = ScoreProtocol("toy", "0", "none", 6, "r")
    (score,) = evaluate(real, fake + 1, ["brightness"], protocol).scores
    assert score == Score("brightness.toy", float(abs(real.mean() - (fake + 1).mean())), protocol)
    assert least_images("brightness", 20) == 4
    assert logged_names("brightness", ".toy") == ("brightness.toy",)
    assert unmet_need("brightness", Given(6, 8, False, "toy", 20)) == ""
    assert promotion.lower_is_better("brightness.toy")


@pytest.mark.usefixtures("brightness")
def test_a_new_score_is_searched_and_checked(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("preset: toy\nevaluation: {scores: [brightness, kid]}\n")
    (tmp_path / "s.yaml").write_text(STUDY)
    assert load_study(tmp_path / "s.yaml").config.objectives[0].direction == "minimize"
    assert len(check([tmp_path / "e.yaml", tmp_path / "s.yaml"])) == 2


def test_a_place_is_an_objective_that_is_maximised(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("preset: toy\nevaluation: {scores: [place/night_to_fake, fid]}\n")
    (tmp_path / "s.yaml").write_text(
        STUDY.replace("[brightness]", "[place/night_to_fake, fid]") + "pruner: none\n"
    )
    objectives = load_study(tmp_path / "s.yaml").config.objectives
    assert [one.direction for one in objectives] == ["maximize", "minimize"]
    assert not promotion.lower_is_better("place/night_to_fake.retrieval-d2n-retrieval-toycity-1")


@pytest.mark.usefixtures("brightness")
def test_a_new_score_has_its_column_in_the_report() -> None:
    assert ",fid,kid,prd_f8,prd_f1_8,brightness,benchmark," in files.as_csv([])
    assert ("brightness", "yes", "yes", "whether night is dark") in sections.meanings()
    assert comparison.sign("brightness.toy") == -1


def test_the_report_has_its_columns_and_meanings() -> None:
    assert files.as_csv([]) == (
        "dataset,settings,protocol,arm,method,generator,fid,kid,prd_f8,prd_f1_8,"
        "benchmark,map,map_std,num_seeds,difference,difference_se,retrieval_run,"
        "difference_low,difference_high\n"
    )
    names = [row[0] for row in sections.meanings()]
    assert names[:4] == ["fid", "kid", "prd", "precision, recall, density, coverage"]
    assert names[4:7] == ["ssim, ms_ssim", "diversity", "is"]
    assert names[7:10] == ["place/night_to_fake", "place/fake_to_day", "place/fake_to_fake"]
    assert names[10:] == ["fid_infinity", "cmmd", "structure", "edges", "luminance", "mAP"]


def test_a_new_data_set_is_prepared_listed_verified_and_read(towns: Path) -> None:
    assert "thesis 12" in "\n".join(data.prepare("towns", towns))
    assert any(line.startswith("towns") and "24 images" in line for line in data.list_sets())
    lines, well = data.verify("towns")
    assert well, lines
    index = datasets.open_index("towns")
    kind = datasets.kind_of(index)
    assert kind is not None
    assert (kind.name, kind.load) == ("towns", "resize")
    assert len(retrieval_set(index).query_idx) > 0
    assert {truth.name for truth in benchmarks.ground_truths(index, "test")} == {"towns/night", "towns/day"}


def test_a_data_set_that_is_not_here_says_where_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("D2N_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"d2n data prepare robotcar .*visuallocalization\.net"):
        datasets.open_index("robotcar")


def test_every_row_is_whole() -> None:
    assert incomplete_rows() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"meaning": " "}, "lacks meaning"),
        ({"direction": "up"}, "a direction of minimize or maximize"),
        ({"needs": ()}, "needs of features"),
        ({"needs": ("sounds",)}, "found sounds"),
        ({"name": "dif"}, "its own is 'dif'"),
        ({"compute": None}, "lacks compute"),
        ({"least": 0}, "a least number of images from 2"),
        ({"tells": ""}, "lacks tells"),
        ({"columns": {"kid": "kid"}}, "columns of its own values alone"),
    ],
)
def test_check_refuses_an_incomplete_score(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    row = dataclasses.replace(fid.KIND, **change)
    monkeypatch.setitem(scores.SCORES, "fid", row)  # type: ignore[arg-type]  # a literal dict
    with pytest.raises(ConfigError, match="score fid lacks") as caught:
        check()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ask_at": ""}, "lacks ask_at"),
        ({"title": ""}, "lacks title"),
        ({"name": "car"}, "its own is 'car'"),
        ({"listing": None}, "either listing or make"),
        ({"make": folders.listing}, "it has listing and make"),
        ({"load": "shrink"}, "found 'shrink'"),
        ({"evaluation": True}, "ground_truths"),
    ],
)
def test_check_refuses_an_incomplete_data_set(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    row = dataclasses.replace(robotcar.KIND, **change)
    monkeypatch.setitem(datasets.SETS, "robotcar", row)  # type: ignore[arg-type]  # a literal dict
    with pytest.raises(ConfigError, match="data set robotcar lacks") as caught:
        check()
    assert words in str(caught.value)


def test_the_table_of_the_documents_says_of_pairs_what_the_rows_say() -> None:
    lines = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8").splitlines()
    for name, kind in datasets.SETS.items():
        (line,) = [line for line in lines if line.startswith("| [") and f"`{name}`" in line]
        said = line.rstrip("| ").rpartition("|")[2].strip()
        assert (said == "yes", said == "if you have them") == (kind.paired is True, kind.paired is None)
