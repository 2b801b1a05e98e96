"""What the report costs by the number of runs: python -m pytest benchmarks/test_report.py -m '' -s

A store of 100, 1000 and 5000 scored trials of studies of 100, copied as rows of one run that d2n wrote.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from pathlib import Path

import pytest

from d2n.config import build_experiment
from d2n.core import ScoreProtocol
from d2n.tracking import names
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.records import BestScore, TranslationRecord, TrialRecord
from d2n.tracking.runs import Store, open_store
from d2n.workflows.report import report

SIZES = (100, 1000, 5000)
PROTOCOL = ScoreProtocol("inception", "ab" * 32, "clean@299", 200, "cd" * 32)
_TABLES = ("latest_metrics", "metrics", "params", "tags")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store with one trial of a study, as d2n writes it."""
    path = tmp_path_factory.mktemp("report") / "mlflow.db"
    store = open_store(sqlite_uri(path))
    experiment = build_experiment({"preset": "toy", "name": "trial"})
    trial = TrialRecord("study-0", "uid", "toycity", 0, worker="w")
    with store.start_run("d2n/toycity", "study-0-0") as run:
        trial.begun({"lr": 0.001}, {"lr": -3.0}).write(run, 0)
        TranslationRecord.begun(experiment, PROTOCOL).write(run)
        scores = {"fid": 50.0, "kid": 0.1, "prd/f8": 0.5, "prd/f1_8": 0.4}
        metrics = {f"{kind}/{name}": value for kind in ("score", "test") for name, value in scores.items()}
        for epoch in range(5):
            run.log_metrics(metrics | {"epoch": epoch, "loss/g": 1.0}, step=epoch)
        run.set_tags({names.DATASET: "toycity", names.TEST_PROTOCOL: PROTOCOL.identity})
        run.set_tags({names.TEST_PROTOCOL_TEXT: PROTOCOL.to_json()})
        TranslationRecord.ended(BestScore("fid", 50.0), 4, "m-0").write(run)
        TrialRecord.ended("COMPLETE").write(run)
    return store, path


def copies(path: Path, first: int, last: int) -> None:
    """More runs, each the first one's rows under another id, study, trial, rate and score."""
    told = {
        "tags": f"""case key when '{names.STUDY}' then 'study-' || (i / 100) when '{names.TRIAL}' then i % 100
            when '{names.MODEL_ID}' then 'm-' || i else value end""",
        "params": "case key when 'search/lr' then printf('%.6g', 0.01 / (1 + i % 97)) else value end",
        "latest_metrics": "case when key like '%/fid' then 50 + i * 0.001 else value end",
    }
    with contextlib.closing(sqlite3.connect(path)) as opened, opened:
        (origin,) = opened.execute("select run_uuid from runs order by start_time, rowid limit 1").fetchone()
        for table in ("runs", *_TABLES):
            columns = [row[1] for row in opened.execute(f"pragma table_info({table})")]
            changed = {"run_uuid": "printf('%032x', i)", "value": told.get(table, "value")}
            chosen = ", ".join(changed.get(one, one) for one in columns)
            opened.execute(
                f"""with recursive n(i) as (select ? union all select i + 1 from n where i + 1 < ?)
                insert into {table} ({", ".join(columns)}) select {chosen} from n, {table}
                where run_uuid = ?""",  # noqa: S608 - names of columns
                (first, last, origin),
            )


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_report_grows_with_the_runs_and_no_faster(copied: tuple[Store, Path], tmp_path: Path) -> None:
    store, path = copied
    took: dict[int, float] = {}
    there = 1
    for size in SIZES:
        copies(path, there, size)
        there = size
        begun = time.process_time()
        page = report(store, tmp_path / str(size))
        took[size] = time.process_time() - begun
        text = page.read_text(encoding="utf-8")
        assert len(re.findall("All 100 trials", text)) == size // 100
        print(f"\n{size} runs: {took[size]:.1f} s CPU, page of {len(text) / 1e6:.1f} MB")
    print(f"5000 against 1000 runs: {took[5000] / took[1000]:.1f} x the time")
    assert took[1000] < 15
    assert took[5000] < 7 * took[1000]
