"""What the UI shows first: the note of an experiment and its views."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from d2n.errors import TrackingError
from d2n.tracking import landing, names
from d2n.tracking.runs import RunRecord, Store


def run(kind: str, name: str = "r", metrics: dict[str, float] | None = None, **tags: str) -> RunRecord:
    told = {names.KIND: kind, names.DATASET: "city", **{f"d2n.{key}": value for key, value in tags.items()}}
    at = datetime(2030, 1, 1, tzinfo=UTC)
    return RunRecord(f"id-{name}", name, "d2n/city", "FINISHED", {}, metrics or {}, told, at, at)


def generator(name: str, score: str = "fid", **metrics: float) -> RunRecord:
    best = json.dumps({"name": score, "value": 1.0, "step": 1})
    return run("translation", name, {f"score/{score}": 1.0, **metrics}, best_score=best)


def test_the_leaderboard_is_ordered_by_the_score_that_runs_were_chosen_by() -> None:
    runs = [generator("a", "prd/f8", **{"score/fid": 3.0}), generator("b", "prd/f8")]
    (view,) = landing.views(runs)
    assert (view.title, view.order_by, view.ascending) == ("Leaderboard", "score/prd/f8", False)
    assert view.columns[:2] == ("metrics.`score/prd/f8`", "metrics.`score/fid`")
    (view,) = landing.views([generator("a")])
    assert view.ascending


def test_an_edited_score_does_not_choose_and_does_not_stop() -> None:
    broken = run("translation", "x", {"score/kid": 1.0}, best_score="{")
    assert landing.views([broken, generator("a")])[0].order_by == "score/fid"


def test_views_are_those_that_the_runs_have_something_for() -> None:
    searched = generator("t", **{"search/lr_log10": -4.0})
    best = run("study", "s", {"best/fid": 1.0})
    assert "metrics.`best/fid`" in landing.views([searched, best])[1].columns
    arm = run("retrieval", "arm", {"map/city/day": 0.9, "map/city/night": 0.2})
    assert [v.title for v in landing.views([])] == []
    assert [v.title for v in landing.views([arm])] == ["By mAP"]
    assert [v.title for v in landing.views([searched, arm])] == ["Leaderboard", "Studies", "By mAP"]
    assert landing.views([arm])[0].order_by == "map/city/night"
    assert not landing.views([arm])[0].ascending


def test_the_note_s_first_line_is_the_champion_and_names_are_no_markup() -> None:
    runs = [generator("a"), generator("b"), run("study", "<b>*x*</b>")]
    text = landing.note(runs, landing.views(runs), "7", ["Champion: C."])
    assert text.splitlines()[0] == "Champion: C. 2 generators, 1 study."
    assert (
        "[Leaderboard](#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=d2n-leaderboard)"
        in text
    )
    assert r"[\<b\>\*x\*\</b\>](#/experiments/7/runs/id-" in text
    assert "No champion yet" in landing.note(runs, [], "7", [])


def test_refreshing_keeps_what_a_team_wrote(store: Store) -> None:
    with store.start_run("d2n/city", "a", tags={names.KIND: "translation", names.DATASET: "city"}) as made:
        made.log_metrics({names.score("fid"): 2.0}, step=1)
        made.set_tags({names.BEST_SCORE: json.dumps({"name": "fid", "value": 2.0, "step": 1})})
    experiment = made.experiment_id
    store.client.set_experiment_tag(experiment, names.NOTE, "Ask Ada first.")
    for _ in range(2):
        page = landing.refresh(store, "d2n/city")
    tags = store.client.get_experiment(experiment).tags
    assert tags[names.NOTE].startswith("Ask Ada first.\n\n<!-- d2n -->\nNo champion yet")
    assert tags[names.NOTE].count("1 generator.") == 1
    assert json.loads(tags["mlflow.sharedViewState.d2n-leaderboard"])["orderByKey"] == "metrics.`score/fid`"
    assert page.endswith(
        f"/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=d2n-leaderboard"
    )
    assert landing.refresh_all(store) == page


def test_an_experiment_that_is_not_there_is_one_line_and_an_empty_store_lists(store: Store) -> None:
    with pytest.raises(TrackingError, match="no experiment 'd2n/none'"):
        landing.refresh(store, "d2n/none")
    assert landing.refresh_all(store) == "#/experiments?workflowType=machine_learning"


def test_a_view_keeps_its_charts_and_a_long_one_is_packed_as_the_pages_do(store: Store) -> None:
    many = {f"score/s{number}": 1.0 for number in range(60)}
    for short, metrics in ((True, {"score/fid": 1.0}), (False, many)):
        with store.start_run("d2n/city", "one", tags=generator("a").tags) as tracked:
            tracked.log_metrics({"score/fid": 1.0, **metrics})
        landing.refresh(store, "d2n/city")
        experiment = store.client.get_experiment_by_name("d2n/city")
        text = experiment.tags[names.shared_view("d2n-leaderboard")]
        assert text.startswith("{") is short
        assert text.startswith("deflate;") is not short
        state = landing.unpacked(text)
        assert state["compareRunSections"][0]["name"] == "Translations"
        assert {one["metricKey"] for one in state["compareRunCharts"] if "metricKey" in one} == set(
            metrics
        ) | {"score/fid"}
