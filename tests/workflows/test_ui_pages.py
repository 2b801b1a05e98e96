"""MLflow's pages in a browser: a trial's picture, its study, two compared, the champion."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_runs import TrainedRuns, decision_for

from d2n.datasets.images import save_rgb
from d2n.tracking import names, notes
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.records import StudyRecord, TrialRecord
from d2n.tracking.runs import Store, open_store
from d2n.workflows.promote.registering import register_winner
from d2n.workflows.recording import sample_sheet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
_WAIT_S = 120
STUDY = "a_study_with_a_long_name"
_UI = """
import sys
from d2n.workflows.ui import ui
say = lambda line: print(line, flush=True)
sys.exit(ui(tracking_uri=sys.argv[1], announce=say))
"""


@dataclass(frozen=True)
class Pages:
    """The address of a server, its landing, and the runs that are there."""

    base: str
    landing: str
    experiment: str
    study: str
    trials: tuple[str, ...]

    def run(self, run_id: str) -> str:
        return f"{self.base}/{names.run_page(self.experiment, run_id)}"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A study of three trials of which the best is the champion, served by `d2n ui`."""
    folder = tmp_path_factory.mktemp("pages")
    store = open_store(sqlite_uri(folder / "mlruns" / "mlflow.db"))
    trained = TrainedRuns(store, folder / "work")
    record = StudyRecord(STUDY, "uid", "toycity")
    with store.start_run("d2n/toycity", STUDY, tags=record.identity) as study:
        StudyRecord.best({"fid": 10.0}).write(study, 3)
    found = [trained.train(10.0 + number, seed=number) for number in range(3)]
    for number, one in enumerate(found):
        _complete(store, one.run_id, number, study.run_id, 10.0 + number, folder)
    lines = [
        notes.leader(0, "fid 10", study.experiment_id, found[0].run_id),
    ]
    notes.write(store, store.get(study.run_id), notes.of_study(STUDY, "3 complete", lines, ""))
    decision = decision_for(found[0])
    register_winner(store, "toycity", "d2n-toycity", replace(decision, seeds=(found[0],)))
    with _served(store.uri, folder) as landing:
        trials = tuple(one.run_id for one in found)
        yield Pages(landing.partition("/#")[0], landing, study.experiment_id, study.run_id, trials)


def _complete(store: Store, run_id: str, number: int, study: str, fid: float, folder: Path) -> None:
    """What a search and a training add to a run: settings, losses, scores, pictures, and the note."""
    run = store.append_to(run_id)
    trial = TrialRecord(STUDY, "uid", "toycity", number, worker="w")
    trial.begun({"lr": 0.001 * (number + 1)}, {"lr": -3.0 + number}).write(run, 0)
    run.set_tags({names.PARENT_RUN: study, names.KIND: "translation", names.TRIAL_STATE: "COMPLETE"})
    run.log_params({f"knob.{i:02}": f"value {i}" for i in range(24)})
    day = np.full((4, 32, 32, 3), 200, np.uint8)
    run.log_image(sample_sheet(day), names.SAMPLES, 0)
    for step in (10, 20):
        run.log_metrics({"loss/g": 1 / step, "alarm/collapse": 0.0}, step=step)
        run.log_metrics({names.score("fid"): fid, names.score_part("std", "fid"): 0.5}, step=step)
        run.log_image(sample_sheet(day, day // 4), names.SAMPLES, step)
    sheet = folder / Path(names.SAMPLE_SHEET).name
    save_rgb(sample_sheet(day, day // 4), sheet)
    run.log_file(sheet, str(Path(names.SAMPLE_SHEET).parent))
    record = store.get(run_id)
    notes.write(store, record, notes.of_trial(record, "COMPLETE", "fid") + notes.sheet(record))


@contextlib.contextmanager
def _served(uri: str, folder: Path) -> Iterator[str]:
    command = [sys.executable, "-c", _UI, uri]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if line.startswith("MLflow UI: "))
        yield said.split()[2]
        process.terminate()


def text_of(browser: Any) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def until(condition: Callable[[], Any], browser: Any) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, text_of(browser)
        time.sleep(0.3)


def opened(browser: Any, address: str, *expected: str) -> str:
    """The page's text once it tells all of this."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1500, "height": 1300, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.get(address)
    until(lambda: all(one in text_of(browser) for one in expected), browser)
    return text_of(browser)


def seen_pictures(browser: Any) -> int:
    """Pictures of the store that are loaded, and that nothing lies on."""
    return int(
        browser.execute_script(
            """return [...document.querySelectorAll('img')].filter(i => {
                if (!i.naturalWidth || !i.src.includes('get-artifact')) return false;
                i.scrollIntoView({block: 'center'});
                const r = i.getBoundingClientRect();
                const top = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
                return i === top || i.contains(top) || (top && top.contains(i));
            }).length"""
        )
    )


def test_landing_shows_scores_and_note(browser: Any, pages: Pages) -> None:
    told = opened(browser, pages.landing, "score/fid", "Champion: d2n-toycity version 1")
    assert "3 generators" in told
    assert "LLM" not in told


def test_a_trial_shows_its_sentence_and_its_picture(browser: Any, pages: Pages) -> None:
    told = opened(browser, pages.run(pages.trials[1]), "Trial 1 of", "score/fid")
    assert "fid 11 ± 0.5" in told
    for more in browser.find_elements("xpath", "//button[contains(., 'Show more')]"):
        browser.execute_script("arguments[0].click()", more)
    until(lambda: seen_pictures(browser) >= 1, browser)
    shown = [line for line in told.splitlines() if line.startswith("d2n.")]
    assert "d2n.pid" not in shown


def test_a_study_leads_to_its_best_trial(browser: Any, pages: Pages) -> None:
    opened(browser, pages.run(pages.study), "3 complete", "best/fid")
    best = browser.find_element("partial link text", "trial 0").get_attribute("href")
    assert pages.trials[0] in best
    opened(browser, best, "Trial 0 of")


def test_charts_show_the_translations_first(browser: Any, pages: Pages) -> None:
    told = opened(browser, f"{pages.landing}&compareRunsMode=CHART", "Translations", "Scores", "Losses")
    assert told.index("Translations") < told.index("Scores") < told.index("Losses")
    until(lambda: seen_pictures(browser) >= 1, browser)


def test_two_trials_are_compared(browser: Any, pages: Pages) -> None:
    runs = ",".join(f'"{run}"' for run in pages.trials[:2])
    address = f'{pages.base}/#/compare-runs?runs=[{runs}]&experiments=["{pages.experiment}"]'
    told = opened(browser, address, "Comparing 2 Runs", "search/lr")
    assert "score/fid" in told
    until(lambda: browser.find_elements("css selector", ".js-plotly-plot"), browser)


def test_the_model_s_page_names_the_champion(browser: Any, pages: Pages) -> None:
    opened(browser, f"{pages.base}/#/models/d2n-toycity", "champion")
    told = opened(browser, f"{pages.base}/#/models/d2n-toycity/versions/1", "champion")
    assert "d2n-toycity" in told
