"""Charts of a saved view: a section a topic, in the order that a reader wants."""

from __future__ import annotations

from typing import Any

from d2n.tracking import charts


def _by_section(state: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    shown = [one for one in state["compareRunCharts"] if not one["deleted"]]
    return {
        section["name"]: [one for one in shown if one["metricSectionId"] == section["uuid"]]
        for section in state["compareRunSections"]
    }


def test_pictures_and_scores_are_first_and_alarms_last() -> None:
    names = ["alarm/collapse", "loss/g", "score/fid", "score_std/fid", "time/score_s", "epoch", "own/thing"]
    state = charts.arranged(names, has_pictures=True)
    found = _by_section(state)
    assert list(found) == [
        "Translations", "Scores", "Noise of the scores", "Losses", "Time", "Model metrics", "System metrics",
        "Alarms",
    ]  # fmt: skip
    assert state["isAccordionReordered"] is True  # else the pages order them by name
    (picture,) = found["Translations"]
    assert picture["imageKeys"] == ["samples/grid"]
    assert picture["showRunParams"] is False  # they would cover it
    assert [one["metricKey"] for one in found["Scores"]] == ["score/fid"]
    assert [one["metricKey"] for one in found["Model metrics"]] == ["epoch"]
    assert not [one for one in state["compareRunCharts"] if one.get("metricKey") == "own/thing"]
    assert "Translations" not in _by_section(charts.arranged(names, has_pictures=False))


def test_the_seeds_of_a_loss_are_lines_of_one_chart() -> None:
    seeds = [f"loss/contrastive/seed{number}" for number in range(3)]
    state = charts.arranged([*seeds, "loss/gem_p/seed0"], has_pictures=False)
    together, alone = _by_section(state)["Losses"]
    assert together["selectedMetricKeys"] == seeds
    assert (together["type"], together["displayName"]) == ("LINE", "contrastive")
    assert (alone["metricKey"], alone["type"]) == ("loss/gem_p/seed0", "BAR")
    named = {one["metricKey"] for one in state["compareRunCharts"]}
    assert set(seeds) <= named  # a metric without a chart of its own would get one below all others


def test_a_store_with_very_many_metrics_stays_within_a_tag() -> None:
    state = charts.arranged([f"score/s{number}" for number in range(500)], has_pictures=True)
    assert len(state["compareRunCharts"]) == charts.MAX_CHARTS
    assert len({one["uuid"] for one in state["compareRunCharts"]}) == charts.MAX_CHARTS
