from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from d2n.cli import cli
from d2n.errors import ConfigError
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.lineage import Edge, Graph, Node
from d2n.tracking.runs import open_store
from d2n.workflows import lineage

GRAPH = Graph(
    "run:a",
    {
        "run:a": Node(
            "run:a", "retrieval", "retrieval arm (a)", {"map/toycity/night": "41.2", "status": "FINISHED"}
        ),
        "version:g/1": Node("version:g/1", "version", "g version 1"),
        "data:d": Node("data:d", "data", "data toycity d"),
    },
    [
        Edge("run:a", "version:g/1", "generator"),
        Edge("version:g/1", "data:d", "data"),
        Edge("run:a", "data:d", "data"),
    ],
    ["run b: unreadable"],
)


def test_the_text_is_two_trees_in_which_nothing_is_told_twice() -> None:
    assert lineage.text(GRAPH) == [
        "retrieval arm (a): mAP toycity/night 41.2",
        "  status: FINISHED",
        "made from:",
        "  generator: g version 1",
        "    data: data toycity d",
        "  data: data toycity d (above)",
        "used by: nothing yet",
        "left out: run b: unreadable",
    ]


def test_the_verb_prints_json_and_draws(tmp_path: Path) -> None:
    store = open_store(sqlite_uri(tmp_path / "mlruns" / "mlflow.db"))
    with store.start_run("d2n/toycity", "one") as run:
        pass
    runner, where = CliRunner(), ["--tracking-uri", store.uri]
    done = runner.invoke(cli, ["lineage", run.run_id, "--json", *where])
    assert json.loads(done.stdout)["root"] == f"run:{run.run_id}"
    for name in ("l.svg", "l.html"):
        done = runner.invoke(cli, ["lineage", run.run_id, "--out", str(tmp_path / name), *where])
        assert done.exit_code == 0, done.output
        assert "<svg" in (tmp_path / name).read_text()
    with pytest.raises(ConfigError, match=r"ends in \.svg or \.html"):
        lineage.require_kind(Path("picture.png"))
