"""What stands above a run: one sentence with its numbers and its links, and what a team wrote stays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from d2n.tracking import names, notes
from d2n.tracking.runs import RunRecord, Store


def record(metrics: Mapping[str, float], tags: Mapping[str, str]) -> RunRecord:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    given = {"params": {}, "metrics": metrics, "tags": tags, "start_time": start, "end_time": start}
    return RunRecord("r", "one", "d2n/toycity", "FINISHED", **given, experiment_id="7")  # type: ignore[arg-type]


def test_a_trial_says_its_study_and_its_score_with_the_noise() -> None:
    tags = {names.STUDY: "my_study", names.TRIAL: "3", names.PARENT_RUN: "p"}
    found = record({"score/fid.toy": 23.45678, "score_std/fid.toy": 1.234}, tags)
    link = r"[my\_study](#/experiments/7/runs/p?workflowType=machine_learning)"
    assert notes.of_trial(found, "COMPLETE", "fid") == f"Trial 3 of {link}, complete: fid 23.46 ± 1.2."
    assert notes.of_trial(record({}, tags), "FAIL", "fid") == f"Trial 3 of {link}, fail."
    by_map = record({"map/toycity/night": 0.2}, tags)
    assert notes.of_trial(by_map, "COMPLETE", "map/toycity/night").endswith(": map/toycity/night 0.2.")


def test_a_generator_says_its_method_its_data_and_its_score_and_shows_its_sheet() -> None:
    tags = {
        names.KIND: "translation",
        names.METHOD: "pix2pix",
        names.DATASET: "my_city",
        names.SEED: "3",
        names.BEST_SCORE: '{"name": "fid.toy", "value": 23.45678, "step": 4}',
        names.MODEL_ID: "m-1",
    }
    found = record({"score/fid.toy": 23.45678, "score_std/fid.toy": 1.234}, tags)
    assert notes.of_translation(found) == r"pix2pix on my\_city, seed 3: fid.toy 23.46 ± 1.2."
    picture = "get-artifact?path=samples%2Fsheet.png&run_uuid=r"
    assert notes.sheet(found) == f"\n\n![day photographs over their nights]({picture})"
    edited = record({}, {**tags, names.BEST_SCORE: "{", names.MODEL_ID: ""})
    assert notes.of_translation(edited) == r"pix2pix on my\_city, seed 3."
    assert notes.sheet(edited) == ""


def test_a_study_says_its_trials_and_links_to_the_best() -> None:
    leader = notes.leader(3, "fid 12.34", "7", "r3")
    assert leader == "best: [trial 3](#/experiments/7/runs/r3?workflowType=machine_learning), fid 12.34"
    text = notes.of_study("<b>", "2 complete", [leader], "trial 3 leads")
    assert text.splitlines() == [r"**\<b\>**: 2 complete.", f"- {leader}", "", "trial 3 leads"]
    assert notes.leader(3, "fid 12.34", "7", "") == "best: trial 3, fid 12.34"


def test_a_retrieval_run_says_its_map_and_whose_nights() -> None:
    metrics = {"map/toycity/day": 0.9, "map/toycity/night": 0.223456, "map_std/toycity/night": 0.012}
    tags = {names.ARM: "generator", names.GENERATOR_NAME: "d2n-toycity", names.GENERATOR_VERSION: "3"}
    assert notes.of_retrieval(record(metrics, tags)) == (
        "Trained with the nights of [d2n-toycity version 3](#/models/d2n-toycity/versions/3): "
        "mAP toycity/day 90, mAP toycity/night 22.35 ± 1.2 %."
    )
    assert notes.of_retrieval(record({}, {names.ARM: "none"})) == "Trained without night augmentation."


def test_what_a_team_wrote_around_it_stays(store: Store) -> None:
    with store.start_run("d2n/toycity", "one", tags={names.NOTE: "Ask Ana."}) as run:
        pass
    for text in ("first", "second"):
        notes.write(store, store.get(run.run_id), text)
    noted = store.get(run.run_id).tags[names.NOTE]
    assert noted.endswith("\nAsk Ana.")  # d2n's part is above, for the lineage is written at the end
    assert "second" in noted
    assert "first" not in noted
