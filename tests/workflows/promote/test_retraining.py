"""The missing seeds of a setting: trained, gone on with, failed; and a whole promotion with small networks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from d2n.config import PromotionConfig, TranslationExperiment, to_dict
from d2n.datasets import toycity
from d2n.errors import CheckpointError, TrackingError, TrainingError
from d2n.tracking import environment, names, registry, runs
from d2n.tracking.runs import RunRecord, Store
from d2n.workflows import promote, train
from d2n.workflows.promote import field, retraining
from tests.workflows.conftest import tiny_translation

PROTOCOL = '{"extractor": "toy", "num_images": 9, "reference_digest": "a", "resize": "clean@32", "weights_sha256": "b"}'


class FakeTraining:
    """Finishes a run at once, or fails as it is told to."""

    def __init__(self, store: Store, dataset: str, failures: dict[int, Exception] | None = None) -> None:
        self.store, self.dataset, self.failures = store, dataset, failures or {}
        self.asked: list[tuple[int, str, str]] = []  # seed, run gone on with, device

    def __call__(
        self,
        experiment: TranslationExperiment,
        *,
        store: Store,
        run: RunRecord | None = None,
        progress: bool = False,
        tags: dict[str, str],
    ) -> train.TrainResult:
        self.asked.append((experiment.seed, run.run_id if run else "", experiment.training.device))
        if experiment.seed in self.failures and not (run is None and len(self.asked) > 1):
            raise self.failures[experiment.seed]
        made = finished(store, self.dataset, experiment, tags)
        return train.TrainResult(made.run_id, "", "FINISHED", {}, 0, 0.0, Path())


def finished(
    store: Store,
    dataset: str,
    experiment: TranslationExperiment,
    tags: dict[str, str],
    status: str = "FINISHED",
) -> RunRecord:
    known = {
        names.KIND: "translation",
        names.DATASET: dataset,
        names.MODEL_ID: "m",
        names.PROTOCOL_TEXT: PROTOCOL,
        names.BEST_SCORE: json.dumps({"name": "fid.toy", "value": 3.0, "step": 1}),
        **tags,
    }
    run = store.start_run(names.experiment(dataset), "x", tags=known, params={"seed": experiment.seed})
    run.log_text(json.dumps(to_dict(experiment)), names.CONFIG_JSON)
    if status != "RUNNING":
        run.close(status)  # type: ignore[arg-type]  # one of its states
    return store.get(run.run_id)


def entry(store: Store, dataset: str) -> field.Entry:
    experiment = tiny_translation("cyclegan", "training.device=cpu")
    return field.entry_of(finished(store, dataset, experiment, {}))


def retrained(store: Store, dataset: str, training: Callable[..., Any]) -> tuple[list[RunRecord], list[str]]:
    return retraining.retrain(
        store, dataset, [entry(store, dataset)], [1, 2], progress=False, training=training
    )


def test_each_missing_seed_is_trained_as_the_setting_was(store: Store, dataset: str) -> None:
    training = FakeTraining(store, dataset)
    done, notes = retrained(store, dataset, training)
    assert [(seed, run) for seed, run, _ in training.asked] == [(1, ""), (2, "")]
    assert [record.params["seed"] for record in done] == ["1", "2"]
    assert {record.tags[names.SETTING] for record in done} == {entry(store, dataset).setting}
    assert notes == []


def test_a_seed_that_fails_is_said_and_the_others_count(store: Store, dataset: str) -> None:
    training = FakeTraining(store, dataset, {1: TrainingError("g_l1 = nan between steps 0 and 9")})
    done, notes = retrained(store, dataset, training)
    assert [record.params["seed"] for record in done] == ["2"]
    assert "seed 1" in notes[0]
    assert "g_l1 = nan" in notes[0]


def test_an_interrupted_seed_goes_on_in_its_run(store: Store, dataset: str) -> None:
    first = entry(store, dataset)
    tags = {names.SETTING: first.setting, names.SEED: "1"}
    begun = finished(store, dataset, tiny_translation("cyclegan", seed=1), tags, "KILLED")
    training = FakeTraining(store, dataset)
    retrained(store, dataset, training)
    assert [run for _, run, _ in training.asked] == [begun.run_id, ""]


def test_a_seed_whose_checkpoint_is_of_other_knobs_begins_anew(store: Store, dataset: str) -> None:
    first = entry(store, dataset)
    tags = {names.SETTING: first.setting, names.SEED: "1"}
    begun = finished(store, dataset, tiny_translation("cyclegan", seed=1), tags, "FAILED")
    training = FakeTraining(store, dataset, {1: CheckpointError("of other knobs")})
    done, _ = retrained(store, dataset, training)
    assert [run for _, run, _ in training.asked] == [begun.run_id, "", ""]
    assert len(done) == 2


def test_a_seed_that_another_process_trains_is_not_trained_twice(store: Store, dataset: str) -> None:
    first = entry(store, dataset)
    tags = {names.SETTING: first.setting, names.SEED: "1", **environment.process_tags()}
    begun = finished(store, dataset, tiny_translation("cyclegan", seed=1), tags, "RUNNING")
    with pytest.raises(
        TrackingError, match=f"run {begun.run_id} trains seed 1 for another promotion.*--no-retrain"
    ):
        retrained(store, dataset, FakeTraining(store, dataset))


@pytest.mark.slow
def test_a_whole_promotion_trains_compares_and_registers(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    options = (
        "evaluation.extractor=random-squeezenet1_0",
        "evaluation.resize_px=32",
        "evaluation.num_images=null",
    )
    with contextlib.chdir(tmp_path):
        toycity.make("data/toycity", seed=0, scale=0.02, workers=1)
        store = runs.open_store()
        rule = PromotionConfig(seeds=2, min_images=8, refuse_alarms=())
        first = train.train(tiny_translation("pix2pix", *options), store=store)
        done = promote.promote("toycity", store=store, rule=rule)
        assert done.decision.promote
        assert {c.seed for c in done.decision.seeds} == {0, 1}
        champion = registry.resolve(store, "d2n-toycity@champion").run_id
        assert champion == done.decision.winner.run_id
        train.train(tiny_translation("cyclegan", *options), store=store)
        looked = promote.promote("toycity", store=store, rule=rule, dry_run=True)
        assert looked.version is None
        assert len(store.find_runs(tags={names.KIND: "translation"}, status="FINISHED")) == 3
        again = promote.promote("toycity", store=store, rule=rule)
        assert len(store.find_runs(tags={names.KIND: "translation"}, status="FINISHED")) == 4
        found = again.decision.comparison
        assert found is not None
        assert found.seeds == (2, 2)
        assert found.deviation is not None
        assert found.protocol is not None
        assert found.protocol.num_images < store_protocol(store, first.run_id)
        text = "\n".join(again.decision.reasons)
        for words in ("which ranking did not see", "degrees of freedom", "uses of the test images"):
            assert words in text


def store_protocol(store: Store, run_id: str) -> int:
    return int(json.loads(store.get(run_id).tags[names.TEST_PROTOCOL_TEXT])["num_images"])
