"""Who may be promoted, what the test images are used for, and the decision, on tracked runs without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from d2n.config import PromotionConfig
from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError, ProtocolMismatchError, RegistryError
from d2n.promotion import Decision
from d2n.scores.paired import Draws
from d2n.tracking import budget, names
from d2n.tracking.runs import RunRecord, Store
from d2n.workflows import promote
from d2n.workflows.promote import field, retraining
from d2n.workflows.promote.deciding import Champion, Deciding

PROTOCOL = ScoreProtocol("toy", "ab" * 32, "clean@32", 120, "cd" * 32)
RULE = PromotionConfig(refuse_alarms=("inversion", "collapse"), min_images=40)


class FakeGauge:
    """Scores of planted generators; every image adds the same to all of them."""

    def __init__(self, values: dict[str, float], num_images: int = 120, noise: float = 0.1) -> None:
        self.planted, self.noise = values, noise
        self.keys = [f"image{i}" for i in range(num_images)]
        self.protocol, self.logged = PROTOCOL, {"fid": "fid.toy", "kid": "kid.toy"}
        self.ranked: list[np.ndarray] = []
        self.compared: list[np.ndarray] = []

    def published(self, record: RunRecord, metric: str) -> Score:
        if record.name == "broken":
            raise RegistryError("generator.safetensors is damaged")
        return Score(self.logged[metric], self.planted[record.run_id], PROTOCOL, std=1.0)

    def lost(self, record: RunRecord) -> str:
        return "MLmodel missing" if record.name == "lost" else ""

    def part_protocol(self, rows: np.ndarray) -> ScoreProtocol:
        return PROTOCOL

    def values(self, records: Sequence[RunRecord], metric: str, rows: np.ndarray) -> list[float]:
        self.ranked.append(rows)
        return [self.planted[record.run_id] for record in records]

    def draws(self, records: Sequence[RunRecord], metric: str, rows: np.ndarray) -> Draws:
        self.compared.append(rows)
        rng = np.random.default_rng(len(records))
        values = np.array([self.planted[record.run_id] for record in records])
        return Draws(values, rng.normal(size=(1000, len(records))) * self.noise, None, len(rows))


@pytest.fixture
def run(store: Store, dataset: str) -> Callable[..., RunRecord]:
    """Makes a finished translation run."""

    def make(value: float = 20.0, seed: int = 0, lr: float = 1.0, **given: Any) -> RunRecord:
        tags = {
            names.KIND: "translation",
            names.DATASET: dataset,
            names.METHOD: "cyclegan",
            names.MODEL_ID: f"m-{value}-{seed}",
            names.PROTOCOL: PROTOCOL.identity,
            names.PROTOCOL_TEXT: PROTOCOL.to_json(),
            names.BEST_SCORE: json.dumps({"name": "fid.toy", "value": value, "step": 20}),
            **given.get("tags", {}),
        }
        params = {"seed": seed, "translator.lr": lr, "training.device": given.get("device", "cpu")}
        params |= given.get("params", {})
        made = store.start_run(names.experiment(dataset), given.get("name", "run"), tags=tags, params=params)
        for name, points in given.get("alarms", {}).items():
            made.set_tags({names.ALARMS: f"{name} at step 10"})
            made.log_metric_series(names.alarm(name), points)
        made.close("FINISHED")
        return store.get(made.run_id)

    return make


def gathered(store: Store, dataset: str, **given: Any) -> field.Field:
    known = {"protocol": None, "refuse_alarms": RULE.refuse_alarms, "vetoed": {}, **given}
    return field.gather(store, dataset, **known)


def decided(
    store: Store,
    dataset: str,
    gauge: FakeGauge,
    champion: RunRecord | None = None,
    rule: PromotionConfig = RULE,
) -> Decision:
    found = gathered(store, dataset)
    own = None
    if champion is not None:
        first = field.entry_of(champion)
        own = Champion("d2n-x/1", tuple(field.with_seeds_of(first, found.entries)))
    others = [e for e in found.entries if own is None or e.setting != own.entries[0].setting]
    return Deciding(store, dataset, rule, others, own, gauge=gauge).decide()  # type: ignore[arg-type]  # a fake


def test_seeds_of_one_setting_are_told_by_their_knobs_whatever_machine_they_ran_on(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    a, b = run(20.0), run(22.0, seed=1, device="cuda")
    again, other = run(25.0, seed=1), run(10.0, lr=2.0)
    settings = gathered(store, dataset).settings()
    ids = sorted([e.record.run_id for e in group] for group in settings.values())
    assert ids == sorted([[a.run_id, b.run_id], [other.run_id]])  # a seed counts once, its best run
    assert again.run_id not in str(ids)
    assert gathered(store, dataset).best(1) == [field.setting_of(other)]


def test_an_alarm_at_the_checkpoint_refuses_and_one_on_the_way_is_said(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    standing = run(1.0, alarms={"inversion": [(10, 0.0), (20, 1.0), (30, 0.0)]})
    passed = run(2.0, lr=2.0, alarms={"collapse": [(10, 1.0), (20, 0.0), (30, 1.0)]})
    shown = run(3.0, lr=3.0, alarms={"saturation": [(20, 1.0)]})
    found = gathered(store, dataset)
    assert [e.record.run_id for e in found.entries] == [shown.run_id, passed.run_id]
    assert [(x.candidate.run_id, "inversion" in x.reason) for x in found.left_out] == [
        (standing.run_id, True)
    ]
    assert any(passed.run_id in note and "on the way: collapse" in note for note in found.notes)
    assert any(shown.run_id in note and "saturation" in note for note in found.notes)
    assert len(gathered(store, dataset, refuse_alarms=()).entries) == 3


def test_vetoed_and_unreadable_runs_are_left_out_and_named(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    good, bad = run(), run(tags={names.BEST_SCORE: "{"})
    vetoed = run(lr=2.0)
    found = gathered(store, dataset, vetoed={vetoed.run_id: "burnt windows"})
    assert [e.record.run_id for e in found.entries] == [good.run_id]
    reasons = {x.candidate.run_id: x.reason for x in found.left_out}
    assert "burnt windows" in reasons[vetoed.run_id]
    assert "unreadable" in reasons[bad.run_id]


def test_unknown_data_sets_and_protocols_are_answered_with_the_known_ones(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    run()
    with pytest.raises(D2NError, match=f"data sets with runs there: .*{dataset}"):
        promote.promote("nowhere", store=store)
    with pytest.raises(RegistryError, match=f"expected one of: {PROTOCOL.identity}"):
        promote.promote(dataset, store=store, protocol="0123")
    with pytest.raises(RegistryError, match="the data set"):
        promote.promote("a/../b", store=store)


def test_runs_of_another_direction_are_promoted_under_a_name_of_their_own(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    before = run(20.0)  # of a release that knew one direction
    params = {"dataset.source": "day", "dataset.target": "night", "dataset.domains": "[]"}
    by_day = run(21.0, seed=1, params=params)
    by_dusk = run(9.0, params={**params, "dataset.source": "dusk"})
    found = gathered(store, dataset)
    assert {e.record.run_id for e in found.entries} == {before.run_id, by_day.run_id}
    assert len(found.settings()) == 1
    other = gathered(store, dataset, direction=("dusk", "night"))
    assert [e.record.run_id for e in other.entries] == [by_dusk.run_id]
    assert field.named(store, f"{dataset}.dusk-night") == (dataset, ("dusk", "night"))
    assert field.named(store, dataset) == (dataset, None)
    with pytest.raises(D2NError, match=r"goes from night to dusk \(found: day to night, dusk to night"):
        gathered(store, dataset, direction=("night", "dusk"))


def test_mixed_protocols_are_refused_with_both(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    other = ScoreProtocol("toy", "ab" * 32, "clean@64", 120, "cd" * 32)
    run()
    run(tags={names.PROTOCOL: other.identity, names.PROTOCOL_TEXT: other.to_json()})
    with pytest.raises(ProtocolMismatchError) as refusal:
        promote.promote(dataset, store=store)
    assert {PROTOCOL.identity, other.identity} <= set(str(refusal.value).replace("(", " ").split())


def test_a_clear_gain_promotes_every_seed_of_the_setting(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    old = run(30.0)
    new = [run(10.0 + s, seed=s, lr=2.0) for s in range(3)]
    worse = run(20.0, lr=3.0)
    values = {old.run_id: 30.0, worse.run_id: 20.0, **{r.run_id: 10.0 + i for i, r in enumerate(new)}}
    gauge = FakeGauge(values)
    decision = decided(store, dataset, gauge, old)
    assert decision.promote
    assert [c.run_id for c in decision.seeds] == [r.run_id for r in new]
    assert decision.gain == pytest.approx(19.0)
    assert decision.comparison is not None
    assert decision.comparison.seeds == (3, 1)
    assert not set(gauge.ranked[0]) & set(gauge.compared[0])
    assert len(gauge.compared[0]) == 60
    assert Decision.from_json(decision.to_json()).to_json() == decision.to_json()


def test_a_gain_within_the_noise_keeps_the_champion(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    old, new = run(30.0), run(29.9, lr=2.0)
    gauge = FakeGauge({old.run_id: 30.0, new.run_id: 29.9}, noise=1.0)
    kept = decided(store, dataset, gauge, old)
    assert (kept.promote, kept.clear) == (False, False)
    assert any("without the noise of seeds" in reason for reason in kept.reasons)
    noisy = PromotionConfig(accept_noise=True, min_images=40)
    accepted = decided(store, dataset, gauge, old, noisy)
    assert (accepted.promote, accepted.accepted_noise) == (True, True)


def test_parts_take_turns_and_the_same_question_meets_the_same_part(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    old, new = run(30.0), run(29.9, lr=2.0)
    gauge = FakeGauge({old.run_id: 30.0, new.run_id: 29.9}, noise=1.0)
    for _ in range(2):
        decided(store, dataset, gauge, old)
    assert gauge.compared[0].tolist() == gauge.compared[1].tolist()
    later = run(29.8, lr=3.0)
    gauge.planted[later.run_id] = 29.8
    decision = decided(store, dataset, gauge, old)
    assert not set(gauge.compared[2]) & set(gauge.compared[0])
    used, unreadable = budget.uses(store, dataset)
    assert [use.turn for use in used] == [0, 0, 1]
    assert unreadable == []
    (said,) = [reason for reason in decision.reasons if reason.startswith("uses of the test images")]
    assert "for a decision: 3, different comparisons with a champion among them: 2" in said
    store.client.set_experiment_tag(store.experiment_id(names.experiment(dataset)), "d2n.test_use.x", "{")
    assert budget.uses(store, dataset)[1] == ["d2n.test_use.x"]


def test_a_split_too_small_for_parts_is_ranked_by_validation_alone_and_said(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    old, new, lucky = run(30.0), run(10.0, lr=2.0), run(15.0, lr=3.0)
    gauge = FakeGauge({old.run_id: 30.0, new.run_id: 12.0, lucky.run_id: 1.0}, num_images=79)
    decision = decided(store, dataset, gauge, old)
    assert decision.winner.run_id == new.run_id  # the best by validation, not by the images that compare
    assert gauge.ranked == []
    assert len(gauge.compared[0]) == 79
    assert any("has 79 images a side, and 80 make two parts" in reason for reason in decision.reasons)
    assert any("with four times as many" in reason for reason in decision.reasons)


def test_a_generator_that_does_not_load_makes_room_for_the_next(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    broken, gone, next_best = run(1.0, name="broken"), run(1.0, name="lost", lr=3.0), run(5.0, lr=2.0)
    gauge = FakeGauge({broken.run_id: 1.0, gone.run_id: 1.0, next_best.run_id: 5.0})
    decision = decided(store, dataset, gauge)
    assert (decision.winner.run_id, decision.promote) == (next_best.run_id, True)
    reasons = {x.candidate.run_id: x.reason for x in decision.left_out}
    assert "generator.safetensors is damaged" in reasons[broken.run_id]
    assert "MLmodel missing" in reasons[gone.run_id]
    lost = decided(store, dataset, gauge, broken)
    assert (lost.winner.run_id, lost.promote, lost.champion) == (next_best.run_id, True, None)
    assert any("no longer there" in reason for reason in lost.reasons)


def _retrieval(
    store: Store, dataset: str, generator: RunRecord, night: float, day: float, size: int = 64
) -> None:
    made = store.start_run(
        names.experiment(dataset),
        "retrieval",
        tags={names.KIND: "retrieval", names.GENERATOR_MODEL_ID: generator.tags[names.MODEL_ID]},
        params={"night.generator": generator.run_id, "evaluation.image_size_px": size},
    )
    made.log_metrics({f"map/{dataset}/night": night, f"map/{dataset}/day": day})
    made.log_table(
        {"measure": [f"map/{dataset}/night"], "seed0": [night - 0.01], "seed1": [night + 0.01]},
        "tables/map.json",
    )
    made.close("FINISHED")


def test_a_map_decides_within_a_bound(store: Store, dataset: str, run: Callable[..., RunRecord]) -> None:
    old, dark, good, unused = (run(10.0 + lr, lr=lr) for lr in range(4))
    _retrieval(store, dataset, old, 0.30, 0.9)
    _retrieval(store, dataset, dark, 0.60, 0.7)
    _retrieval(store, dataset, good, 0.50, 0.85)
    rule = PromotionConfig(metric=(f"map/{dataset}/night",), constraints=(f"map/{dataset}/day >= 80",))
    decision = decided(store, dataset, FakeGauge({}), old, rule)
    assert (decision.winner.run_id, decision.promote) == (good.run_id, True)
    reasons = {x.candidate.run_id: x.reason for x in decision.left_out}
    assert "is 0.7, and must be >= 0.8" in reasons[dark.run_id]
    assert f"night.generator={unused.run_id}" in reasons[unused.run_id]
    assert budget.uses(store, dataset) == ([], [])
    _retrieval(store, dataset, good, 0.50, 0.85, size=128)
    with pytest.raises(ProtocolMismatchError, match=r"differ in weights_sha256"):
        decided(store, dataset, FakeGauge({}), old, rule)


def test_the_missing_seeds_are_the_smallest_that_are_free(
    store: Store, dataset: str, run: Callable[..., RunRecord]
) -> None:
    run(20.0, seed=1)
    run(21.0, seed=7)
    (group,) = gathered(store, dataset).settings().values()
    assert retraining.missing(group, 4) == [0, 2]
    assert retraining.missing(group, 2) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (PromotionConfig(metric=("fdi",)), "no known direction"),
        (PromotionConfig(metric=("map/x", "fid")), "cannot be weighed"),
        (PromotionConfig(constraints=("fid",)), "constraint 'fid'"),
        (PromotionConfig(refuse_alarms=("colapse",)), "refuse_alarms names 'colapse'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_before_anything_is_read(rule: PromotionConfig, words: str) -> None:
    with pytest.raises(D2NError, match=words):
        promote.promote("toycity", store=None, rule=rule)  # type: ignore[arg-type]  # never asked
