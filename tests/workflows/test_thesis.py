"""The thesis's retrieval (table 5.1) walks on miniatures of its data sets."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2n import shipped
from d2n.config import RetrievalExperiment, TranslationExperiment, load_experiment, translator_config
from d2n.datasets import prepare
from d2n.tracking import runs
from d2n.translators import build, checkpoint
from d2n.workflows import retrieve
from tests.datasets import miniatures

ARMS = sorted(name for name in shipped.names("experiments") if name.startswith("retrieval_thesis_"))
SMALL = (
    "network.backbone=toy", "num_seeds=1", "dataset.rule.min_side_px=0", "evaluation.whitening=none",
    "training.n_epochs=1", "training.num_queries=2", "training.num_negatives=2", "training.image_size_px=32",
    "training.device=cpu", "training.num_threads=1", "evaluation.image_size_px=48", "evaluation.scales=[1.0]",
)  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with contextlib.chdir(tmp_path):
        yield tmp_path


def arm(name: str, *overrides: str) -> RetrievalExperiment:
    experiment = load_experiment(name, overrides)
    assert isinstance(experiment, RetrievalExperiment)
    return experiment


def test_the_baseline_and_an_arm_are_trained_and_measured(folder: Path) -> None:
    for name, made in {
        "rsfm": miniatures.rsfm,
        "tokyo247": miniatures.tokyo,
        "roxford5k": lambda root: miniatures.revisited(root, "roxford5k"),
        "rparis6k": lambda root: miniatures.revisited(root, "rparis6k"),
    }.items():
        root = folder / "data" / name
        made(root)
        prepare(name, root, rule={"min_side_px": 0} if name == "rsfm" else {})
    config = translator_config("pix2pix", "toy", generator_channels=2, unet_depth=2)
    generator = build(config, total_steps=1, seed=0).generator
    checkpoint.save_generator(folder / "night", generator, config)
    store = runs.open_store(f"sqlite:///{folder}/mlflow.db")
    night = ("night.generator=night", "night.probability=1.0")
    for experiment in (arm("retrieval_thesis", *SMALL), arm("retrieval_thesis_aachen", *SMALL, *night)):
        metrics = store.get(retrieve.retrieve(experiment, store=store).run_id).metrics
        measured = {"map/tokyo247", "map_medium/roxford5k", "map_medium/rparis6k"}
        assert measured <= set(metrics)
        assert all(math.isfinite(metrics[name]) for name in measured)


def test_the_arms_differ_from_the_baseline_by_their_nights_alone() -> None:
    baseline = arm("retrieval_thesis")
    assert (baseline.network.backbone, baseline.night.augmentation, baseline.num_seeds) == (
        "vgg16",
        "none",
        3,
    )
    assert baseline.evaluation.benchmarks == ("tokyo247", "roxford5k", "rparis6k")
    assert len(ARMS) == 5
    for name in ARMS:
        one = arm(name)
        assert (one.night.augmentation, one.night.probability) == ("generator", 0.15)
        assert (one.training, one.evaluation, one.network, one.dataset, one.num_seeds) == (
            baseline.training, baseline.evaluation, baseline.network, baseline.dataset, baseline.num_seeds,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "normalized", "dropout", "n_epochs"),
    [
        ("thesis_cyclegan_aachen", False, False, 150),
        ("thesis_cyclegan_robotcar", True, False, 200),
        ("thesis_cyclegan_rsfm", True, False, 150),
        ("thesis_cyclegan_transattr", True, False, 100),
        ("thesis_pix2pix_transattr", True, True, 100),
    ],
)
def test_the_generators_of_table_5_1(name: str, normalized: bool, dropout: bool, n_epochs: int) -> None:
    experiment = load_experiment(name)
    assert isinstance(experiment, TranslationExperiment)
    translator = experiment.translator
    assert (translator.normalize_loss_weights, translator.dropout) == (normalized, dropout)
    assert (experiment.training.n_epochs, experiment.training.batch_size) == (n_epochs, 5)
    assert name == f"thesis_{translator.method}_{experiment.dataset.name}"
