"""The iterator of a translator's training: what it yields, and that it goes on where it was left, to the bit."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from d2n.config import TranslationExperiment, build_experiment
from d2n.core import StepResult
from d2n.datasets import prepare
from d2n.errors import OtherKnobsError
from d2n.translators import checkpoint
from d2n.workflows import evaluation as held
from d2n.workflows.preflight.translator import training_batches
from d2n.workflows.translation import Evaluation, Translation, best_step, train
from tests.datasets.miniatures import day_and_night

EXPERIMENT: dict[str, Any] = {
    "name": "tiny",
    "preset": "toy",
    "dataset": {"name": "folders", "root": "photos", "image_size_px": 32},
    "translator": {
        "method": "cyclegan",
        "generator_channels": 4,
        "generator_blocks": 1,
        "discriminator_channels": 4,
        "dropout": True,
    },
    "training": {"n_epochs": 4, "steps_per_epoch": 3, "batch_size": 2, "log_every_steps": 2, "device": "cpu"},
    "evaluation": {
        "extractor": "random-squeezenet1_0",
        "resize_px": 64,
        "scores": ["fid"],
        "num_bootstrap": 0,
        "num_samples": 2,
        "every_epochs": 2,
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    day_and_night(root, 12, 12)
    prepare("folders", root)
    return root


@pytest.fixture(scope="module")
def evaluator(photos: Path) -> held.Evaluator:
    tiny = experiment(photos)
    index = held.open_dataset(tiny.dataset)
    extractor = held.build_extractor(tiny.evaluation, None, 32)
    return held.Evaluator(held.held_out(index, "val", 32, None), extractor, tiny.evaluation)


def experiment(photos: Path, *overrides: str) -> TranslationExperiment:
    found = build_experiment(EXPERIMENT, [f"dataset.root={photos}", *overrides])
    assert isinstance(found, TranslationExperiment)
    return found


def begun(photos: Path, evaluator: held.Evaluator | None, *overrides: str) -> Translation:
    tiny = experiment(photos, *overrides)
    return Translation(tiny, training_batches(tiny, held.open_dataset(tiny.dataset)), evaluator)


def told(found: Iterator[StepResult]) -> list[tuple[Any, ...]]:
    """What came, without what differs between any two trainings: the time it took."""
    return [
        (one.step, dict(one.losses), one.epoch and dict(one.epoch.losses), dict(getattr(one, "scores", {})))
        for one in found
    ]


@pytest.fixture(scope="module")
def whole(photos: Path, evaluator: held.Evaluator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    work, folder = begun(photos, evaluator), tmp_path_factory.mktemp("whole")
    return list(train(work, folder)), work, folder


def test_it_yields_every_step_and_an_evaluation_after_every_epoch(whole: Any) -> None:
    found, work, folder = whole
    assert [one.step for one in found if not isinstance(one, Evaluation)] == list(range(1, 13))
    assert [one.step for one in found if one.losses] == [2, 4, 6, 8, 10, 12]
    evaluations = [one for one in found if isinstance(one, Evaluation)]
    assert [(one.step, bool(one.scores), one.is_last) for one in evaluations] == [
        *((3, False, False), (6, True, False), (9, False, False), (12, True, True))
    ]
    last = evaluations[-1]
    assert last.scored is not None
    assert last.scored.evaluation.scores[0].value == last.scores["fid.random-squeezenet1_0"]
    assert [row.shape for row in last.samples] == [(2, 32, 32, 3)] * 3
    assert work.is_done
    assert best_step(folder) in (6, 12)
    assert checkpoint.load(folder / "checkpoint").state["steps_done"] == 12


def test_the_way_back_is_kept_of_the_best_step(whole: Any) -> None:
    """CycleGAN's generator of days."""
    _, work, folder = whole
    (kept,) = (folder / "way_back").iterdir()
    assert kept.name == f"step-{best_step(folder):08d}"
    generator, config = checkpoint.load_generator(kept)
    assert config["method"] == "cyclegan"
    if best_step(folder) == 12:
        trained = work.translator.networks["generator_day"].state_dict()
        assert all(torch.equal(value, trained[key]) for key, value in generator.state_dict().items())


@pytest.mark.parametrize("left_at", [2, 4, 7, 8, 9, 14])
def test_left_at_any_moment_and_saved_it_goes_on_to_the_same_bits(
    photos: Path, evaluator: held.Evaluator, whole: Any, tmp_path: Path, left_at: int
) -> None:
    """Inside an epoch, between an epoch and its evaluation, after an evaluation without scores and with."""
    expected, straight, _ = whole
    first = begun(photos, evaluator)
    with contextlib.closing(train(first, tmp_path)) as steps:
        before = list(itertools.islice(steps, left_at))
    if before[-1].epoch is not None:  # its evaluation is due: the last checkpoint counts
        before = before[: 4 * (len(before) // 4)]
    else:
        first.save(tmp_path)
        assert first.saved.text == f"saved at step {before[-1].step} of 12"
    second = begun(photos, evaluator)
    second.restore(tmp_path)
    assert told(iter([*before, *train(second, tmp_path)])) == told(iter(expected))
    assert second.found == straight.found
    assert sorted(path.name for path in (tmp_path / "way_back").iterdir()) == [
        f"step-{best_step(tmp_path):08d}"
    ]
    ours, theirs = second.translator.networks, straight.translator.networks
    for name, network in theirs.items():
        for a, b in zip(network.parameters(), ours[name].parameters(), strict=True):
            assert torch.equal(a, b)


def test_who_leaves_by_an_error_leaves_the_last_checkpoint_as_it_was(
    photos: Path, evaluator: held.Evaluator, tmp_path: Path
) -> None:
    def fails_at_5() -> None:
        with contextlib.closing(train(begun(photos, evaluator), tmp_path)) as steps:
            for one in steps:
                if one.step == 5:
                    raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails_at_5()
    assert checkpoint.load(tmp_path / "checkpoint").state["steps_done"] == 3


def test_another_process_of_the_training_comes_to_the_same_moments(
    photos: Path, whole: Any, tmp_path: Path
) -> None:
    found = list(train(begun(photos, None), tmp_path))
    assert [(one.step, one.epoch is not None) for one in found] == [
        (one.step, one.epoch is not None) for one in whole[0]
    ]
    assert not any(one.scores for one in found if isinstance(one, Evaluation))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_knobs_is_refused(whole: Any, photos: Path, evaluator: held.Evaluator) -> None:
    other = begun(photos, evaluator, "translator.lambda_cycle=3")
    with pytest.raises(OtherKnobsError, match=r"translator.lambda_cycle: 10.0 in the checkpoint, 3.0 now"):
        other.restore(whole[2])
