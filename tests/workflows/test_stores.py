"""Stores that earlier releases made: opened, read, resumed and searched on (tests/stores/README.md)."""

from __future__ import annotations

import ast
import contextlib
import json
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from d2n.cli import cli
from d2n.datasets import toycity
from d2n.datasets.images import save_rgb
from d2n.tracking import models, registry, runs
from d2n.workflows import generators
from d2n.workflows.night import load_generator

STORES = sorted((Path(__file__).parents[1] / "stores").glob("*.tar.xz"))
MADE_AT = "/srv/exhibit/mlruns"


@pytest.fixture(scope="module", params=STORES, ids=[path.name.removesuffix(".tar.xz") for path in STORES])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The release's store, at home in a folder with its data set."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("store")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    with contextlib.chdir(folder):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        assert "places rewritten" in d2n("store", "move", MADE_AT, "mlruns")
        yield folder


@pytest.fixture(autouse=True)
def in_its_folder(store: Path) -> Iterator[None]:
    with contextlib.chdir(store):
        yield


def d2n(*arguments: str) -> str:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


def rows(query: str, *values: object, database: str = "mlflow") -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"mlruns/{database}.db")) as opened:
        return opened.execute(query, values).fetchall()


def test_it_opens_and_is_well() -> None:
    assert "9e20cec6b9d1efaf" in str(rows("select value from tags where key = 'd2n.dataset.digest'"))
    d2n("doctor")


def test_its_records_read(tmp_path: Path) -> None:
    d2n("report", "--out", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "pix2pix" in page
    assert "toycity/night" in page
    assert "unreadable" not in page


def test_its_champion_translates(tmp_path: Path) -> None:
    (tmp_path / "day").mkdir()
    photo = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    save_rgb(photo, tmp_path / "day" / "a.png")
    d2n("translate", "d2n-toycity@champion", str(tmp_path / "day"), str(tmp_path / "night"))
    assert list((tmp_path / "night").glob("a.*"))


def test_its_champion_is_pulled_without_its_pickle_and_gets_a_sealed_archive(tmp_path: Path) -> None:
    former = registry.resolve(runs.open_store(), "d2n-toycity@champion")
    assert "[-1, 1]" in d2n("pull", f"d2n-toycity/{former.version}", str(tmp_path / "former"))
    models.require_safe(tmp_path / "former")  # the pickle of its example was left out, unread
    photos = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 56), dtype=np.uint8)
    expected = load_generator(former.reference.removeprefix("models:/"))(torch.from_numpy(photos)).numpy()
    np.testing.assert_allclose(models.load_folder(tmp_path / "former")(photos), expected, atol=1e-5)

    made = generators.reseal(runs.open_store(), former)
    assert made.version != former.version
    assert made.aliases == former.aliases
    assert made.tags["d2n.resealed_from"] == former.version
    assert generators.reseal(runs.open_store(), former) == made
    d2n("pull", "d2n-toycity@champion", str(tmp_path / "now"))
    np.testing.assert_allclose(models.load_folder(tmp_path / "now")(photos), expected, atol=1e-5)


@pytest.mark.slow
def test_the_tour_of_the_documents_runs_on_it() -> None:
    """The cells of docs/tour.ipynb, one after the other, as a notebook runs them."""
    notebook = json.loads((Path(__file__).parents[2] / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
    assert not [cell for cell in notebook["cells"] if cell.get("outputs")]  # they are of one machine
    names: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            *before, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(before, []), cell["id"], "exec"), names)  # noqa: S102 - a document of ours
            shown = isinstance(last, ast.Expr)
            tree = ast.Expression(last.value) if isinstance(last, ast.Expr) else ast.Module([last], [])
            value = eval(compile(tree, cell["id"], "eval" if shown else "exec"), names)  # noqa: S307 - as above
            assert not shown or value is None or len(repr(value)) > 10
    assert names["picture"].size[0] >= 16  # type: ignore[attr-defined] # a PIL image
    assert names["night"].shape == (2, 3, 48, 64)  # type: ignore[attr-defined] # a tensor


def test_its_interrupted_run_goes_on_to_its_end() -> None:
    ((run_id, *_),) = rows("select run_uuid from runs where status = 'KILLED' and name = 'stopped'")
    d2n("train", "stopped.yaml", "--resume", "last")
    assert rows("select status from runs where run_uuid = ?", run_id) == [("FINISHED",)]
    key = "score/fid.random-squeezenet1_0"
    steps = rows("select step from metrics where run_uuid = ? and key = ? order by step", run_id, key)
    assert [step for (step,) in steps] == [3, 6, 9, 12]


def test_its_study_goes_on() -> None:
    d2n("search", "study.yaml")
    assert rows("select number, state from trials order by number", database="optuna") == [
        (0, "COMPLETE"),
        (1, "COMPLETE"),
    ]
    query = "select params.value from params join tags using (run_uuid) where params.key = ? and tags.key = ?"
    identity = rows(query, "translator.lambda_identity", "d2n.trial")
    assert [float(str(value)) for (value,) in identity] == [0.0, 0.0]  # as its preset said then
