from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest
from PIL import Image

from d2n.errors import TrackingError
from d2n.tracking.runs import Store, TrackedRun


@pytest.fixture
def run(store: Store) -> TrackedRun:
    return store.start_run("d2n/a", "one")


def _read(store: Store, run: TrackedRun, path: str, folder: Path) -> str:
    return store.artifact(run.run_id, path, folder).read_text(encoding="utf-8")


def test_an_image_is_in_the_grid_pixel_for_pixel(store: Store, run: TrackedRun, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    run.log_image(image, "samples/grid", 7)
    run.close()
    files = [f.path for f in store.client.list_artifacts(run.run_id, "images")]
    png = next(f for f in files if f.endswith(".png"))
    assert "samples~grid+step+7+timestamp+" in png
    with Image.open(store.artifact(run.run_id, png, tmp_path)) as stored:
        assert np.array_equal(np.asarray(stored), image)
    assert store.get(run.run_id).tags["mlflow.loggedImages"] == "True"


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (1, 4, 4, 3)])
def test_an_array_that_is_no_image_is_refused(run: TrackedRun, shape: tuple[int, ...]) -> None:
    with pytest.raises(TrackingError, match="expected uint8"):
        run.log_image(np.zeros(shape, np.uint8), "samples/grid", 0)
    with pytest.raises(TrackingError, match="float64"):
        run.log_image(np.zeros((4, 4, 3)), "samples/grid", 0)


def test_a_figure_is_plotly_s_json_and_small(store: Store, run: TrackedRun, tmp_path: Path) -> None:
    run.log_figure(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), "plots/prd.json")
    text = _read(store, run, "plots/prd.json", tmp_path)
    assert list(plotly.io.from_json(text).data[0].y) == [3, 4]
    assert len(text) < 20_000
    with pytest.raises(TrackingError, match=r"expected a name that ends in .json"):
        run.log_figure(go.Figure(), "plots/prd.html")


def test_a_table_is_in_the_format_of_the_ui_and_is_replaced(
    store: Store, run: TrackedRun, tmp_path: Path
) -> None:
    run.log_table({"recall": [0.0, 0.5], "precision": [np.float32(1.0), float("nan")]}, "tables/prd.json")
    run.log_table({"recall": [0.25], "name": ["late"]}, "tables/prd.json")
    run.log_table(pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "tables/other.json")
    assert json.loads(_read(store, run, "tables/prd.json", tmp_path)) == {
        "columns": ["recall", "name"],
        "data": [[0.25, "late"]],
    }
    assert json.loads(_read(store, run, "tables/other.json", tmp_path))["data"][0] == [1, "x"]
    listed = json.loads(store.get(run.run_id).tags["mlflow.loggedArtifacts"])
    assert [entry["path"] for entry in listed] == ["tables/prd.json", "tables/other.json"]


def test_a_nan_in_a_table_is_null(store: Store, run: TrackedRun, tmp_path: Path) -> None:
    run.log_table({"x": [float("nan"), np.inf, np.int64(3)]}, "tables/x.json")
    assert json.loads(_read(store, run, "tables/x.json", tmp_path))["data"] == [[None], [None], [3]]


def test_columns_of_different_length_are_refused(run: TrackedRun) -> None:
    with pytest.raises(TrackingError, match="a 1, b 2"):
        run.log_table({"a": [1], "b": [1, 2]}, "tables/x.json")
    with pytest.raises(TrackingError, match=r"\.json"):
        run.log_table({"a": [1]}, "tables/x.csv")


def test_files_and_folders_are_stored(store: Store, run: TrackedRun, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.txt").write_text("a")
    run.log_file(tmp_path / "in", "checkpoint")
    run.log_file(tmp_path / "in" / "deep" / "a.txt")
    assert _read(store, run, "checkpoint/deep/a.txt", tmp_path / "out") == "a"
    assert _read(store, run, "a.txt", tmp_path / "out2") == "a"
