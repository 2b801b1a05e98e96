"""Study apart, the whole road: baseline, translators, promotion, registry, retrieval with the champion's nights."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import d2n
from d2n.config import flatten
from d2n.core import Evaluation, ScoreProtocol
from d2n.datasets.images import load_rgb, save_rgb
from d2n.errors import CheckpointError, ConfigError, D2NError, ProtocolMismatchError, RegistryError
from d2n.signals import StopRequested
from d2n.tracking import names, registry
from d2n.tracking.records import Elsewhere
from d2n.tracking.tracked_run import TrackedRun
from d2n.translators import checkpoint
from d2n.workflows import (
    demo,
    dry_run,
    generators,
    promote,
    pull,
    retrieve,
    score,
    train,
    translate,
)
from d2n.workflows.kinds import KINDS, DataSets
from tests.workflows.conftest import AS_THEY_ARE, Road, tiny_retrieval, tiny_translation


@pytest.fixture(autouse=True)
def in_the_folder(road: Road) -> object:
    with contextlib.chdir(road.folder):
        yield


def metrics(road: Road, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in road.store.client.get_metric_history(run_id, key)]


def artifacts(road: Road, run_id: str, folder: str) -> set[str]:
    return {Path(item.path).name for item in road.store.client.list_artifacts(run_id, folder)}


def test_a_translation_run_has_every_knob_loss_score_curve_and_sample(road: Road) -> None:
    record = road.store.get(road.pix2pix.run_id)
    assert record.status == "FINISHED"
    experiment = tiny_translation("pix2pix", "evaluation.scores=[fid, kid, prd, ssim]")
    assert set(flatten(experiment)) <= set(record.params)
    assert record.params["translator.lr"] == "0.0004"
    space = "retrieval:d2n-retrieval-toycity/1"
    fid = next(key for key in record.metrics if key.startswith("score/fid."))
    assert "d2n-retrieval-toycity" in fid, space
    assert [step for step, _ in metrics(road, record.run_id, fid)] == [3, 6]
    assert [step for step, _ in metrics(road, record.run_id, "loss/g_l1")] == [2, 4, 6]
    assert artifacts(road, record.run_id, "plots") == {"prd.json", "prd.svg", "test_prd.json", "test_prd.svg"}
    assert {"prd.json", "scores.json"} <= artifacts(road, record.run_id, "tables")
    assert "sheet.png" in artifacts(road, record.run_id, "samples")
    overlay = metrics(road, record.run_id, names.PRD_OVERLAY)
    assert [step for step, _ in overlay] == sorted({step for step, _ in overlay})
    images = [item.path for item in road.store.client.list_artifacts(record.run_id, "images")]
    assert {found[1] for path in images if (found := re.search(r"step\W(\d+)", path))} == {"0", "3", "6"}
    protocol = ScoreProtocol(**json.loads(record.tags[names.PROTOCOL_TEXT]))
    assert protocol.identity == record.tags[names.PROTOCOL] == record.params["score_protocol"]
    assert protocol.num_images == 8
    inputs = road.store.client.get_run(record.run_id).inputs.dataset_inputs
    assert [item.dataset.name for item in inputs] == ["toycity"]


def test_ssim_is_taken_of_aligned_pairs_only_where_asked_for(road: Road) -> None:
    assert "score/ssim" in road.store.get(road.pix2pix.run_id).metrics
    assert "score/ssim" not in road.store.get(road.cyclegan.run_id).metrics


def test_the_champion_is_the_better_of_both_methods_by_one_protocol(road: Road) -> None:
    decision = road.promotion.decision
    assert {candidate.method for candidate in decision.ranking} == {"pix2pix", "cyclegan"}
    values = {candidate.run_id: candidate.score.value for candidate in decision.ranking}
    assert values[decision.winner.run_id] == min(values.values())
    assert len({candidate.score.protocol for candidate in decision.ranking}) == 1
    version = registry.resolve(road.store, "d2n-toycity@champion")
    assert version.run_id == decision.winner.run_id
    assert decision.reasons[0] in version.description
    for run_id, value in values.items():
        tested = json.loads(road.store.get(run_id).tags[names.TEST_SCORE])
        assert tested["value"] == pytest.approx(value)


def test_promoting_again_keeps_the_champion_and_scores_nothing_again(road: Road) -> None:
    before = {
        run_id: road.store.get(run_id).metrics for run_id in (road.pix2pix.run_id, road.cyclegan.run_id)
    }
    again = promote.promote("toycity", store=road.store, rule=AS_THEY_ARE)
    assert not again.decision.promote
    assert again.version is None
    assert registry.resolve(road.store, "d2n-toycity@champion").version == "1"
    assert before == {run_id: road.store.get(run_id).metrics for run_id in before}


def test_a_data_set_without_runs_names_the_command_that_makes_one(road: Road) -> None:
    with pytest.raises(D2NError, match=r"`d2n train cyclegan_aachen` or `d2n search cyclegan_aachen`"):
        promote.promote("aachen", store=road.store)


def test_runs_of_two_protocols_are_never_promoted_against_each_other(road: Road) -> None:
    other = train.train(
        tiny_translation("cyclegan", "evaluation.num_images=6", "training.n_epochs=1"), store=road.store
    )
    try:
        with pytest.raises(ProtocolMismatchError) as caught:
            promote.promote("toycity", store=road.store, rule=AS_THEY_ARE)
        for run_id in (road.pix2pix.run_id, other.run_id):
            assert road.store.get(run_id).tags[names.PROTOCOL] in str(caught.value)
    finally:
        road.store.client.delete_run(other.run_id)


def test_the_generator_s_version_is_recorded_both_ways(road: Road) -> None:
    record = road.store.get(road.champion.run_id)
    assert (record.tags[names.GENERATOR_NAME], record.tags[names.GENERATOR_VERSION]) == ("d2n-toycity", "1")
    assert road.champion.run_id in registry.resolve(road.store, "d2n-toycity@champion").used_by
    models = road.store.client.get_run(road.champion.run_id).inputs.model_inputs
    assert [item.model_id for item in models] == [record.tags[names.GENERATOR_MODEL_ID]]


def test_retrieval_runs_measure_day_and_night_over_seeds(road: Road) -> None:
    record = road.store.get(road.baseline.run_id)
    for benchmark in ("toycity/day", "toycity/night"):
        seeds = [value for _, value in metrics(road, record.run_id, f"seed/map/{benchmark}")]
        assert len(seeds) == 2
        assert record.metrics[f"map/{benchmark}"] == pytest.approx(np.mean(seeds))
        assert record.metrics[f"map_std/{benchmark}"] == pytest.approx(np.std(seeds, ddof=1))
        assert 0 <= min(seeds) <= max(seeds) <= 1
    assert road.baseline.registered is not None
    assert registry.resolve(road.store, "d2n-retrieval-toycity@baseline").run_id == road.baseline.run_id


def test_a_dry_run_of_retrieval_says_what_would_be_read_trained_and_measured(road: Road) -> None:
    before = len(road.store.find_runs())
    experiment = tiny_retrieval(
        "dry",
        "night.augmentation=generator",
        "night.generator=models:/d2n-toycity@champion",
        "register_as=d2n-retrieval-dry",
    )
    lines = dry_run.retrieval(experiment, None)
    assert lines[0].startswith("data set toycity, digest ")
    assert any(line.startswith("1 epochs of pretraining, then 2 epochs of 10 tuples from ") for line in lines)
    assert any(re.fullmatch(r"15 % of .* made by d2n-toycity version \d+", line) for line in lines)
    benchmarks = [line for line in lines if line.startswith("benchmark ")]
    assert [line.split(":")[0] for line in benchmarks] == ["benchmark toycity/day", "benchmark toycity/night"]
    assert all(re.search(r": \d+ queries, \d+ database images$", line) for line in benchmarks)
    assert lines[-1] == "registers d2n-retrieval-dry@baseline"
    assert len(road.store.find_runs()) == before


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        (["network.backbone=foo"], "network.backbone is 'foo'"),
        (["training.num_negatives=900"], "expected at least 900"),
        (["training.image_size_px=8"], "the network would see 8 x 8 px"),
        (["evaluation.whitening_dim=60000", "evaluation.whitening=pca"], "expected 1 to"),
        (["night.augmentation=generator", "night.generator=data"], "holds no generator.safetensors"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(road: Road, knobs: list[str], says: str) -> None:
    experiment = tiny_retrieval("dry", *knobs)
    with pytest.raises(D2NError, match=re.escape(says)):
        dry_run.retrieval(experiment, None)


def test_without_a_terminal_an_evaluation_is_a_line_with_scores_and_time_left(
    road: Road, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(tiny_translation("cyclegan", seed=3), store=road.store, progress=True)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cyclegan-tiny: ")]
    assert len(told) == 2
    assert re.match(r"cyclegan-tiny: epoch 1 of 2: fid [\d.]+, kid .*; [\d.]+ s left$", told[0])
    assert told[1].startswith("cyclegan-tiny: epoch 2 of 2: fid")
    assert "left" not in told[1]


def test_the_same_seed_gives_the_same_scores(road: Road) -> None:
    again = train.train(tiny_translation("cyclegan"), store=road.store)
    assert again.scores == road.cyclegan.scores
    road.store.client.delete_run(again.run_id)


def test_a_run_killed_between_epochs_ends_as_one_never_killed(road: Road) -> None:
    class KilledError(Exception):
        pass

    experiment = tiny_translation("pix2pix", "evaluation.scores=[fid, kid, prd, ssim]")
    run = road.store.start_run("d2n/toycity", "killed")

    def die_at_the_second() -> None:
        evaluated = 0
        with train.tracked(experiment, store=road.store, run=run) as training:
            for found in training.steps:
                evaluated += isinstance(found, Evaluation) and bool(found.scores)
                if evaluated == 2:
                    raise KilledError

    with pytest.raises(KilledError):
        die_at_the_second()
    assert road.store.get(run.run_id).status == "FAILED"
    done = train.train(experiment, store=road.store, run=road.store.resume_run(run.run_id), resume=True)
    assert done.scores == road.pix2pix.scores
    fid = next(key for key in road.store.get(run.run_id).metrics if key.startswith("score/fid."))
    assert [step for step, _ in metrics(road, run.run_id, fid)] == [3, 6]
    ours, theirs = (generators.load(run_id, road.store) for run_id in (run.run_id, road.pix2pix.run_id))
    for a, b in zip(ours.module.parameters(), theirs.module.parameters(), strict=True):
        assert torch.equal(a, b)
    road.store.client.delete_run(run.run_id)


def test_a_checkpoint_is_not_continued_under_other_knobs(road: Road) -> None:
    run = road.store.resume_run(road.cyclegan.run_id)
    with pytest.raises(CheckpointError, match=r"translator.lambda_cycle: 10.0 in the checkpoint, 3.0 now"):
        train.train(
            tiny_translation("cyclegan", "translator.lambda_cycle=3"), store=road.store, run=run, resume=True
        )
    road.store.client.set_terminated(road.cyclegan.run_id, "FINISHED")


def losses(road: Road, run_id: str) -> dict[str, list[tuple[int, float]]]:
    keys = [
        key for key in road.store.get(run_id).metrics if key.startswith(("loss/", "epoch_loss/", "score/"))
    ]
    return {key: metrics(road, run_id, key) for key in keys}


def state(road: Road, run_id: str) -> object:
    run = road.store.client.get_run(run_id)
    return run.info.status, run.info.end_time, dict(run.data.tags), dict(run.data.params), run.data.metrics


def test_a_training_after_ctrl_c_goes_on_to_the_numbers_of_one_left_alone(road: Road) -> None:
    experiment = tiny_translation("cyclegan")

    def ctrl_c_after_step_5() -> None:
        with train.tracked(experiment, store=road.store) as training:
            for found in training.steps:
                if found.step == 5:  # inside the second epoch of three steps, after the losses of step 4
                    os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StopRequested) as stopped:
        ctrl_c_after_step_5()
    run_id = stopped.value.run_id
    assert stopped.value.saved == "saved at step 5 of 6"
    before = state(road, run_id)
    assert before[0] == "KILLED"  # type: ignore[index]  # a tuple
    refused: tuple[tuple[str, dict[str, str]], ...] = (
        ("translator.lambda_cycle: 10.0", {"translator.lambda_cycle": "3"}),
        ("seed: 0 in the run, 1 now", {"seed": "1"}),
        ("dataset", {"dataset.rule": "{none: 1}"}),
    )
    for said, changes in refused:
        other = tiny_translation("cyclegan", *(f"{key}={value}" for key, value in changes.items()))
        with pytest.raises((D2NError, RuntimeError), match=said):
            train.train_command(other, tracking_uri=road.store.uri, resume=run_id, progress=False)
        assert state(road, run_id) == before
    elsewhere = tiny_translation("cyclegan", "evaluation.num_samples=2", "training.keep_best=2")
    done = train.train_command(elsewhere, tracking_uri=road.store.uri, resume="last", progress=False)
    assert done is not None
    assert done.run_id == run_id
    assert losses(road, run_id) == losses(road, road.cyclegan.run_id)
    record = road.store.get(run_id)
    assert record.params["training.keep_best"] == "1"
    assert record.tags[names.resumed_with("training.keep_best")] == "2"
    with pytest.raises(D2NError, match="is FINISHED"):
        train.train_command(elsewhere, tracking_uri=road.store.uri, resume=run_id, progress=False)
    road.store.client.delete_run(run_id)


def test_a_training_killed_inside_its_first_checkpoint_begins_again_in_the_same_run(road: Road) -> None:
    run = road.store.start_run("d2n/toycity", "full", tags={names.KIND: "translation"})
    folder = road.store.work_root / run.run_id
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "checkpoint-000001.pt").write_bytes(b"half")
    run.close("KILLED")
    done = train.train_command(
        tiny_translation("cyclegan"), tracking_uri=road.store.uri, resume=run.run_id, progress=False
    )
    assert done is not None
    assert done.scores == road.cyclegan.scores
    road.store.client.delete_run(run.run_id)


class CtrlCAfterAnEpoch(TrackedRun):
    """A run whose first losses of an epoch are followed by Ctrl-C."""

    def log_metrics(self, metrics: Mapping[str, float], *given: Any, **named: Any) -> None:
        super().log_metrics(metrics, *given, **named)
        if "loss/contrastive/seed0" in metrics:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_retrieval_after_ctrl_c_goes_on_to_the_numbers_of_one_left_alone(road: Road) -> None:
    experiment = tiny_retrieval("interrupted")
    begun = road.store.start_run("d2n/toycity", "interrupted")
    run = CtrlCAfterAnEpoch(road.store, begun.run_id, begun.experiment_id)
    with pytest.raises(StopRequested) as stopped:
        retrieve.retrieve(experiment, store=road.store, run=run)
    assert stopped.value.run_id == run.run_id
    assert stopped.value.saved.startswith("saved at step ")
    before = state(road, run.run_id)
    other = tiny_retrieval("interrupted", "training.lr=1e-2")
    with pytest.raises(D2NError, match=r"training.lr: 0.001 in the run, 0.01 now"):
        retrieve.retrieve_command(other, tracking_uri=road.store.uri, resume="last", progress=False)
    with pytest.raises(D2NError, match="is of kind retrieval"):
        train.train_command(
            tiny_translation("cyclegan"), tracking_uri=road.store.uri, resume=run.run_id, progress=False
        )
    assert state(road, run.run_id) == before
    partial = road.store.work_root / run.run_id / "0" / "checkpoint-000099.pt"
    partial.write_bytes(b"killed in its writing")
    elsewhere = tiny_retrieval("interrupted", "training.num_workers=1")
    done = retrieve.retrieve_command(elsewhere, tracking_uri=road.store.uri, resume="last", progress=False)
    assert done.run_id == run.run_id
    alone = {key: values[:1] for key, values in road.baseline.maps.items()}  # the same seed
    assert done.maps == alone
    for key in ("loss/contrastive/seed0", "loss/negative_similarity/seed0"):
        assert metrics(road, run.run_id, key) == metrics(road, road.baseline.run_id, key)
    road.store.client.delete_run(run.run_id)


def test_a_pruned_run_is_killed_and_keeps_its_last_scores(road: Road) -> None:
    run = road.store.start_run("d2n/toycity", "pruned")
    with train.tracked(tiny_translation("cyclegan"), store=road.store, run=run) as training:
        for found in training.steps:
            if isinstance(found, Evaluation):
                break
    record = road.store.get(run.run_id)
    done = training.result
    assert training.scores == done.scores != {}
    assert record.tags[names.PRUNED] == "true"
    assert checkpoint.load(done.work_dir / "checkpoint").state["steps_done"] == 3
    assert (done.status, record.status) == ("KILLED", "KILLED")
    assert any(key.startswith("score/fid") for key in record.metrics)
    assert names.MODEL_ID not in record.tags
    road.store.client.delete_run(run.run_id)


def test_a_retrieval_left_after_an_evaluation_is_killed_and_goes_on_to_the_numbers_of_one_left_alone(
    road: Road,
) -> None:
    experiment = tiny_retrieval("left", "num_seeds=2")
    run = road.store.start_run("d2n/toycity", "left")
    kind = KINDS["retrieval"]
    with kind.tracked(experiment, store=road.store, run=run, work_root=None, resume=False) as training:
        evaluation = next(found for found in training.steps if isinstance(found, Evaluation))
    record = road.store.get(run.run_id)
    assert (training.status, record.status, record.tags[names.PRUNED]) == ("KILLED", "KILLED", "true")
    assert set(evaluation.scores) == set(kind.logged_scores(experiment, DataSets(), road.store))
    assert not evaluation.is_last
    again = road.store.resume_run(run.run_id)
    with kind.tracked(experiment, store=road.store, run=again, work_root=None, resume=True) as training:
        last = [found for found in training.steps if isinstance(found, Evaluation)][-1]
    assert last.is_last
    alone = road.store.get(road.baseline.run_id).metrics
    assert training.scores == {key: pytest.approx(alone[key]) for key in training.scores} != {}
    road.store.client.delete_run(run.run_id)


def test_an_absent_champion_names_the_command_that_makes_one(road: Road) -> None:
    with pytest.raises(RegistryError, match="d2n promote"):
        retrieve.retrieve(
            tiny_retrieval(
                "x", "night.augmentation=generator", "night.generator=models:/d2n-aachen@champion"
            ),
            store=road.store,
        )


def test_photographs_of_any_size_are_translated_under_their_names_once(road: Road, tmp_path: Path) -> None:
    day, night = tmp_path / "day", tmp_path / "night"
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (41, 67)), ("sub/b ü.jpg", (64, 64)), ("c.png", (41, 67))):
        (day / name).parent.mkdir(parents=True, exist_ok=True)
        save_rgb(rng.integers(0, 256, (*size, 3), dtype=np.uint8), day / name)
    options = {
        "batch_size": 2,
        "device": "cpu",
        "on_bad_image": "fail",
        "tracking_uri": None,
        "progress": False,
    }
    lines = translate.translate_command("d2n-toycity@champion", day, night, max_pixels=10**6, **options)  # type: ignore[arg-type] # a dict of options
    assert lines[0].startswith("3 images by night")
    assert load_rgb(night / "a.png").shape == (41, 67, 3)
    first = (night / "sub/b ü.jpg").stat().st_mtime_ns
    again = translate.translate_command("d2n-toycity@champion", day, night, max_pixels=10**6, **options)  # type: ignore[arg-type] # as above
    assert again[1] == "3 were there already"
    assert (night / "sub/b ü.jpg").stat().st_mtime_ns == first
    (day / "broken.png").write_text("no image")
    with pytest.raises(D2NError, match=r"broken.png"):
        translate.translate_command("d2n-toycity@champion", day, night, max_pixels=10**6, **options)  # type: ignore[arg-type] # as above
    options["on_bad_image"] = "skip"
    skipped = translate.translate_command("d2n-toycity@champion", day, night, max_pixels=10**6, **options)  # type: ignore[arg-type] # as above
    assert "1 could not be read and were skipped" in skipped


def test_a_pulled_generator_has_its_card_and_its_folder_to_itself(road: Road, tmp_path: Path) -> None:
    lines = pull.pull("d2n-toycity@champion", tmp_path / "model", tracking_uri=None)
    assert "  card.json" in lines
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert (card["name"], card["version"]) == ("d2n-toycity", "1")
    with pytest.raises(RegistryError, match="is not empty"):
        pull.pull("d2n-toycity@champion", tmp_path / "model", tracking_uri=None)


_KILLED_BEFORE_THE_CARD = """
import os, signal, sys
def kill(event, arguments):
    if event == "open" and str(arguments[0]).endswith("card.json"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
from d2n.cli import main
main(["pull", "d2n-toycity@champion", sys.argv[1]])
"""


def test_a_pull_that_was_killed_before_its_card_is_begun_again(road: Road, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED_BEFORE_THE_CARD, str(tmp_path / "model")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert not (tmp_path / "model").exists()
    assert "  card.json" in pull.pull("d2n-toycity@champion", tmp_path / "model", tracking_uri=None)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # what the killed one left is gone


def test_a_run_is_scored_on_its_held_out_images_and_two_folders_on_theirs(road: Road, tmp_path: Path) -> None:
    run_id = road.cyclegan.run_id
    request = score.ScoreRequest(run_id=run_id, names=("fid", "kid"), split="val", as_json=True)
    lines = score.score_command(request)
    printed = json.loads("\n".join(lines))
    assert [row["name"].split(".")[0] for row in printed["scores"]] == ["fid", "kid"]
    rng = np.random.default_rng(1)
    for side in ("real", "fake"):
        (tmp_path / side).mkdir()
        for i in range(12):
            save_rgb(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), tmp_path / side / f"{i}.png")
    request = score.ScoreRequest(
        real=tmp_path / "real",
        fake=tmp_path / "fake",
        names=("fid", "prd"),
        extractor="random-squeezenet1_0",
        plot=tmp_path / "prd.png",
    )
    table = score.score_command(request)
    assert any(line.startswith("fid.random-squeezenet1_0") for line in table)
    assert (tmp_path / "prd.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_is_scored_on_another_data_set_beside_its_own(road: Road, tmp_path: Path) -> None:
    run_id = road.cyclegan.run_id
    shutil.copytree("data/toycity", tmp_path / "other")
    asked = {"run_id": run_id, "names": ("fid", "prd"), "as_json": True}
    own = json.loads("\n".join(score.score_command(score.ScoreRequest(**asked))))
    away = score.ScoreRequest(**asked, on="toycity", root=tmp_path / "other")
    there = json.loads("\n".join(score.score_command(away)))
    assert there["scores"][0]["value"] == own["scores"][0]["value"]  # a copy of the same photographs
    record = road.store.get(run_id)
    name = own["scores"][0]["name"].replace("@", "-")
    assert record.metrics[f"on/toycity/{names.legal(name)}"] == own["scores"][0]["value"]
    found = Elsewhere.read(record)["toycity"]
    assert found.protocol is not None
    assert found.protocol.identity == there["protocol"]["identity"]
    assert road.store.artifact(run_id, "tables/on_toycity_prd.json", tmp_path).is_file()
    with pytest.raises(ConfigError, match=r"is the data set that run .* was trained on"):
        score.score_command(score.ScoreRequest(**asked, on="toycity"))


def test_the_demo_s_state_refuses_another_seed(tmp_path: Path) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    (folder / "demo.json").write_text(json.dumps({"seed": 3, "quick": False, "stages": {}, "runs": {}}))
    lines = demo.demo(tmp_path, quick=False, seed=0, workers=1)
    with (
        contextlib.chdir(Path(demo.__file__).parents[2]),
        pytest.raises(D2NError, match="a demo with seed 3"),
    ):
        list(lines)


def test_the_face_shows_the_champion_and_translates_with_it(road: Road) -> None:
    project = d2n.open()
    champion = project.champions().iloc[0]
    assert champion["reference"] == "d2n-toycity@champion"
    assert champion["run_id"] == generators.load("d2n-toycity@champion", road.store).version.run_id  # type: ignore[union-attr] # registered
    assert {road.pix2pix.run_id, road.cyclegan.run_id} <= set(
        project.runs("toycity", kind="translation")["run_id"]
    )
    day = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    by_alias = d2n.translate(day, champion["reference"])
    np.testing.assert_array_equal(by_alias, d2n.translate(day, champion["run_id"]))
    assert by_alias.shape == day.shape
