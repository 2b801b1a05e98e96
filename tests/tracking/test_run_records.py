"""Each kind of run says itself and is read back; what someone edited by hand is unreadable, never a trace."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from d2n.config import RetrievalExperiment, TranslationExperiment, build_experiment, flatten
from d2n.core import EpochResult, Score, ScoreProtocol
from d2n.tracking import names
from d2n.tracking.records import (
    BestScore,
    Entries,
    MapRecord,
    RetrievalRecord,
    StudyRecord,
    TranslationRecord,
    TrialRecord,
    UnreadableError,
    scores,
)
from d2n.tracking.records.translation import PRUNED
from d2n.tracking.runs import RunRecord, Store
from d2n.tracking.tracked_run import param_text

PROTOCOL = ScoreProtocol("inception", "w" * 64, "clean@299", 100, "r" * 64)


def translation() -> TranslationExperiment:
    found = build_experiment({"preset": "toy", "name": "mine", "seed": 4})
    assert isinstance(found, TranslationExperiment)
    return found


def retrieval(*overrides: str) -> RetrievalExperiment:
    found = build_experiment({"kind": "retrieval", "name": "arm"}, overrides)
    assert isinstance(found, RetrievalExperiment)
    return found


def run(*written: Entries, tags: Mapping[str, Any] | None = None) -> RunRecord:
    """A run that was given these, as the store gives it back: params as text, metrics by their last values."""
    params = {key: param_text(value) for one in written for key, value in one.params.items()}
    metrics = {key: value for one in written for key, value in one.metrics.items()}
    all_tags = {key: str(value) for one in written for key, value in one.tags.items()} | dict(tags or {})
    return RunRecord("abc", "run", "d2n/x", "FINISHED", params, metrics, all_tags, datetime.now(UTC), None)


def test_a_translation_run_says_itself_and_is_read_back() -> None:
    begun = TranslationRecord.begun(translation(), PROTOCOL)
    assert begun.params == {**flatten(translation()), "score_protocol": PROTOCOL.identity}
    assert json.loads(begun.texts[names.CONFIG_JSON])["name"] == "mine"
    epoch = EpochResult(2, 6, {"g": 1.5}, alarms={"collapse": 1.0, "ratio": math.nan}, images_per_s=7.0)
    values = [
        Score("fid", 20.0, PROTOCOL, std=0.5, interval=(19.0, 21.0), floor=math.inf),
        Score("kid", math.nan),
    ]
    told = [
        *(begun, TranslationRecord.losses({"g": 1.0}), TranslationRecord.epoch(epoch, ["collapse"], 3)),
        *(
            TranslationRecord.evaluated(values, 2.5),
            TranslationRecord.ended(BestScore("fid", 19.5), 3, "m-1"),
        ),
        PRUNED,
    ]
    record = run(*told)
    assert TranslationRecord.read(record) == TranslationRecord(
        experiment="mine",
        method=translation().translator.method,
        preset="toy",
        seed="4",
        protocol=PROTOCOL,
        scores={"fid": 20.0},
        best=BestScore("fid", 19.5, 3),
        model_id="m-1",
        alarms="collapse at step 6",
        is_pruned=True,
    )
    assert record.metrics == {
        "loss/g": 1.0,
        "epoch_loss/g": 1.5,
        "alarm/collapse": 1.0,
        "epoch": 2.0,
        "data/skipped_images": 3.0,
        "score/fid": 20.0,
        "score_std/fid": 0.5,
        "score_low/fid": 19.0,
        "score_high/fid": 21.0,
        names.IMAGES_PER_S: 7.0,
        names.TIME_SCORE: 2.5,
    }
    assert all(names.checked(key) for one in (record.params, record.metrics, record.tags) for key in one)
    assert TranslationRecord.read(run()) == TranslationRecord()


@pytest.mark.parametrize("tag", [names.PROTOCOL_TEXT, names.TEST_PROTOCOL_TEXT, names.BEST_SCORE])
def test_a_translation_run_that_was_edited_by_hand_is_unreadable(tag: str) -> None:
    with pytest.raises(UnreadableError, match=f"its tag {tag} is unreadable, because"):
        TranslationRecord.read(run(TranslationRecord.begun(translation(), PROTOCOL), tags={tag: "[1"}))


def test_a_trial_says_itself_and_is_read_back() -> None:
    trial = TrialRecord("s", "uid", "toycity", 7, worker="w-1")
    values = {"score": {"fid": 20.0}, "score_std": {"fid": 0.5}, "score_floor": {}}
    told = [
        *(trial.begun({"lr": 1e-3, "dropout": True}, {"lr": -3.0}), TrialRecord.training("f" * 64)),
        *(TrialRecord.taken_up("w-2"), TrialRecord.found(values), TrialRecord.ended("COMPLETE")),
    ]
    record = run(*told)
    assert TrialRecord.read(record) == dataclasses.replace(
        trial,
        worker="w-2",
        state="COMPLETE",
        fingerprint="f" * 64,
        searched={"lr": "0.001", "dropout": "true"},
        values=values,
    )
    assert record.metrics["search/lr_log10"] == -3.0
    assert TrialRecord.is_one(record)
    seed = run(trial.begun_seed(3))
    assert TrialRecord.read(seed).seed == "3"
    assert not TrialRecord.is_one(seed)


def test_a_trial_that_takes_over_scores_says_whose_and_keeps_its_own_settings() -> None:
    trial = TrialRecord("s", "uid", "toycity", 7)
    first = run(trial.begun({"lr": 1e-3}, {}), Entries(params={"seed": 0}))
    again = TrialRecord.reused(first, {"score": {"fid": 20.0}})
    assert again.params == {"seed": "0"}
    assert TrialRecord.read(run(trial.begun({"lr": 2e-3}, {}), again)).reused_run == "abc"


def test_a_trial_without_a_number_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="it holds 'twelve', expected a number"):
        TrialRecord.read(run(tags={names.TRIAL: "twelve"}))


def test_a_retrieval_run_says_itself_and_is_read_back() -> None:
    experiment = retrieval("num_seeds=2", "night.augmentation=clahe")
    values = {"map/toycity/day": [0.9, 0.8], "mp1/toycity/day": [1.0, 0.5]}
    epoch = EpochResult(1, 3, {"contrastive": 0.5}, images_per_s=9.0)
    ended = RetrievalRecord.ended(values)
    record = run(
        RetrievalRecord.begun(experiment, "d" * 64),
        RetrievalRecord.epoch(epoch, 1),
        RetrievalRecord.measured({"map/toycity/day": 0.8}),
        RetrievalRecord.logged_network("m-2"),
        ended,
    )
    read = RetrievalRecord.read(record)
    assert read.maps == {"toycity/day": MapRecord(pytest.approx(0.85), pytest.approx(math.sqrt(0.005)), 2)}
    assert (read.experiment, read.arm, read.model_id) == ("arm", "clahe", "m-2")
    assert (read.dataset, read.dataset_digest) == (experiment.dataset.name, "d" * 64)
    assert read.knobs["night.augmentation"] == "clahe"
    assert record.metrics["loss/contrastive/seed1"] == 0.5
    assert record.metrics["seed/map/toycity/day"] == 0.8
    assert ended.tables == {
        "tables/map.json": {"measure": list(values), "seed0": [0.9, 1.0], "seed1": [0.8, 0.5]}
    }
    alone = RetrievalRecord.read(run(RetrievalRecord.ended({"map/x": [0.5]})))
    assert alone.maps == {"x": MapRecord(0.5, None, 1)}


def test_what_a_study_compares_is_read_from_either_kind_of_run() -> None:
    fid = Score("fid", 20.0, interval=(19.0, 21.0), floor=3.0)
    values = TranslationRecord.values(run(TranslationRecord.evaluated([fid], 1.0)))
    assert values["score"] == {"fid": 20.0}
    assert values["score_std"] == {"fid": pytest.approx(0.51, abs=0.01)}  # of the interval's width
    assert values["score_floor"] == {"fid": 3.0}
    measured = {"map/x/day": [0.9, 0.8], "recall1/x": [1.0, 0.5], "mp5/x/day": [0.5, 0.5]}
    epoch = EpochResult(1, 3, {"contrastive": 0.5})
    compared = RetrievalRecord.values(run(RetrievalRecord.epoch(epoch, 0), RetrievalRecord.ended(measured)))
    assert compared["score"] == {key: pytest.approx(sum(two) / 2) for key, two in measured.items()}
    assert set(compared["score_std"]) == {"map/x/day"}


def test_a_study_s_run_says_whose_it_is_and_keeps_its_yaml() -> None:
    study = StudyRecord("s", "uid", "toycity")
    assert study.identity == {
        names.KIND: "study",
        names.STUDY: "s",
        names.STUDY_UID: "uid",
        names.DATASET: "toycity",
    }
    begun = StudyRecord.begun("name: s\n", {"name": "s"}, {"seed": 0})
    assert begun.texts["config/study.yaml"] == "name: s\n"
    assert json.loads(begun.texts[names.CONFIG_JSON]) == {"seed": 0}


def test_lines_about_a_trial_begin_with_its_number_and_study() -> None:
    trial = TrialRecord("pix2pix_toycity", "uid", "toycity", 3)
    assert TrialRecord.title(run(trial.begun({}, {}))) == "trial 3 of pix2pix_toycity"
    assert TrialRecord.title(run(trial.begun_seed(5))) == "trial 3 of pix2pix_toycity, seed 5"
    assert TrialRecord.title(run()) == ""


def test_a_retrieval_run_of_no_number_of_seeds_is_unreadable() -> None:
    with pytest.raises(UnreadableError, match="its param num_seeds is unreadable, because it holds 'two'"):
        RetrievalRecord.read(run(Entries(params={"num_seeds": "two"})))


def test_entries_are_written_where_they_belong(store: Store) -> None:
    made = store.start_run("d2n/x", "run")
    table = scores.table([Score("fid", 1.0, interval=(0.5, 1.5))], "test")
    Entries(
        {"a": 1}, {"score/fid": 2.0}, {"d2n.method": "cut"}, {"config/x.txt": "hello"}, table.tables
    ).write(made, step=4)
    record = store.get(made.run_id)
    assert (record.params["a"], record.metrics["score/fid"], record.tags["d2n.method"]) == ("1", 2.0, "cut")
    assert made.last_step("score/fid") == 4
    found = {
        item.path
        for place in ("config", "tables")
        for item in store.client.list_artifacts(made.run_id, place)
    }
    assert found == {"config/x.txt", "tables/test_scores.json"}


def test_the_average_precision_of_every_query_is_a_table_that_comes_back() -> None:
    aps = {
        "toycity/night": [[0.5, 1.0, float("nan")], [0.25, 0.75, float("nan")]],
        "toycity/day": [[1.0], [0.5]],
    }
    (path, table), *others = [
        one for one in RetrievalRecord.ended({"map/toycity/night": [0.75, 0.5]}, aps).tables.items()
        if one[0] != "tables/map.json"
    ]  # fmt: skip
    assert (path, others) == ("tables/average_precisions.json", [])
    again = RetrievalRecord.average_precisions(json.loads(json.dumps(table, allow_nan=False)))
    assert again["toycity/day"] == [[1.0], [0.5]]
    np.testing.assert_array_equal(again["toycity/night"], aps["toycity/night"])
    assert list(RetrievalRecord.ended({"map/x": [0.5]}).tables) == ["tables/map.json"]
