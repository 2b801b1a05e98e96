"""The card of a registered generator, whatever the store still knows of it."""

from __future__ import annotations

import dataclasses

from d2n.tracking import links, names, registry
from d2n.workflows import card
from tests.workflows.conftest import Road


def test_a_run_that_is_gone_is_said(road: Road) -> None:
    version = registry.resolve(road.store, "d2n-toycity@champion")
    text = card.card(road.store, dataclasses.replace(version, run_id="0" * 32))
    assert "no longer in the store" in text
    assert "not known" in text
    assert card.is_card(text)


def test_a_long_decision_still_fits_a_registry(road: Road) -> None:
    version = registry.resolve(road.store, "d2n-toycity@champion")
    reasons = tuple(f"reason {number}: " + "word " * 40 for number in range(300))
    text = card.card(road.store, version, dataclasses.replace(road.promotion.decision, reasons=reasons))
    assert len(text) <= 5000
    assert "the rest is in the run" in text
    for title in ("Use", "Data", "Scores", "Decision", "Alarms", "Training", "Samples", "Limits", "Licences"):
        assert f"\n## {title}\n" in text


def test_links_below_a_long_card_take_no_section_from_it(road: Road) -> None:
    version = registry.resolve(road.store, "d2n-toycity@champion")
    reasons = tuple(f"reason {number}: " + "word " * 40 for number in range(300))
    before = version.description
    text = card.card(road.store, version, dataclasses.replace(road.promotion.decision, reasons=reasons))
    try:
        road.store.client.update_model_version(version.name, version.version, text)
        links.describe_version(road.store, version)
        shown = registry.resolve(road.store, "d2n-toycity@champion").description
    finally:
        road.store.client.update_model_version(version.name, version.version, before)
    assert len(shown) <= 5000
    assert card.is_card(shown)
    for title in ("## Decision", "## Limits", "## Licences", links.HEADING):
        assert f"\n{title}\n" in shown


def test_a_version_of_an_earlier_release_tells_its_range_and_its_reasons(road: Road) -> None:
    version = registry.resolve(road.store, "d2n-toycity@champion")
    former = dataclasses.replace(
        version,
        tags={key: value for key, value in version.tags.items() if key != names.INPUT_RANGE},
        description="4 candidates\nthe best wins",
    )
    text = card.card(road.store, former)
    assert "float32 in [-1, 1]" in text
    assert "- 4 candidates\n- the best wins\n" in text


def test_scores_have_interval_and_floor_where_they_are_known() -> None:
    saved = {"name": "fid", "value": 31.25, "interval": [29.0, 33.5], "floor": 12.0}
    assert card.score_text(saved) == "fid = 31.25 (95 % interval 29 to 33.5); real against real 12"
    assert card.score_text({"name": "fid", "value": float("nan")}) == "fid = unknown"
