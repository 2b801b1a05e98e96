"""The report reads what the tracking store really keeps."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from d2n import __version__
from d2n.core import ScoreProtocol
from d2n.tracking import names
from d2n.tracking.runs import open_store
from d2n.workflows.report import report

PROTOCOL = ScoreProtocol("squeezenet1_0", "ab" * 32, "clean@224", 200, "cd" * 32)


def test_tables_tags_and_metrics_come_back(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db")
    common = {names.DATASET: "toycity", names.DATASET_DIGEST: "d" * 64}
    scored = common | {
        names.KIND: "translation",
        names.METHOD: "cyclegan",
        names.MODEL_ID: "m-1",
        names.TEST_PROTOCOL_TEXT: json.dumps(asdict(PROTOCOL)),
    }
    with store.start_run(names.experiment("toycity"), "gan", tags=scored, params={}) as gan:
        gan.log_metrics({names.test_score("fid.squeezenet1_0"): 12.5})
        columns = {"score": ["fid.squeezenet1_0"], "value": [12.5], "std": [None]}
        bounds = {"low": [11.0], "high": [14.0], "real_vs_real": [3.0]}
        gan.log_table(columns | bounds, "tables/test_scores.json")
        gan.log_table({"precision": [1.0, 0.4], "recall": [0.1, 0.9]}, "tables/test_prd.json")
    for arm, night in (("none", 0.1), ("generator", 0.3)):
        tags = common | {names.KIND: "retrieval", names.ARM: arm}
        if arm == "generator":
            of = {
                names.GENERATOR_NAME: "d2n-toycity",
                names.GENERATOR_VERSION: "1",
                names.GENERATOR_MODEL_ID: "m-1",
            }
            tags |= of
        params = {"num_seeds": 2, "night.augmentation": arm, "name": arm}
        with store.start_run(names.experiment("toycity"), arm, tags=tags, params=params) as run:
            run.log_metrics({names.benchmark("toycity/night", "map"): night})
    path = report(store, tmp_path / "out")
    page = path.read_text(encoding="utf-8")
    assert "12.5 [11, 14], floor 3" in page
    assert "+20.00" in page
    assert "cyclegan, toycity (d2n-toycity v1)" in page
    assert "No PRD curve yet" not in page
    assert PROTOCOL.identity in page
    experiment = store.experiment_id(names.experiment("toycity"))
    link = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs/{gan.run_id}?workflowType=machine_learning"
    assert f'<a href="{link}">' in page
    assert f"<dt>d2n</dt><dd>{__version__}</dd>" in page
    assert "mlflow.db</dd>" in page
