"""Which knobs a run shows beside its scores: the main ones, and any other that differs from its preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from d2n.config.flattening import flatten
from d2n.config.kinds import KINDS, Experiment
from d2n.config.knobs import TranslationExperiment
from d2n.config.methods import METHODS, PRESETS

# What people compare runs by: shown whatever it is.
MAIN_KNOBS: Mapping[str, tuple[str, ...]] = {
    "translation": (
        "preset", "seed", "dataset.name", "dataset.source", "dataset.target", "dataset.image_size_px",
        "translator.method", "translator.generator", "translator.generator_channels", "translator.gan_loss",
        "translator.lr", "translator.beta1", "translator.lr_schedule",
        "translator.lambda_l1", "translator.lambda_cycle", "translator.lambda_nce", "translator.lambda_edge",
        "training.n_epochs", "training.steps_per_epoch", "training.batch_size",
        "evaluation.extractor", "evaluation.split",
    ),
    "retrieval": (
        "seed", "num_seeds", "dataset.name", "network.backbone", "network.gem_p",
        "pretraining.n_epochs", "training.n_epochs", "training.num_queries", "training.num_negatives",
        "training.image_size_px", "training.margin", "training.lr", "training.lr_schedule",
        "night.augmentation", "night.generator", "night.probability",
        "evaluation.benchmarks", "evaluation.split", "evaluation.image_size_px", "evaluation.whitening",
    ),
}  # fmt: skip
_NAMES = ("kind", "name")  # a run says them otherwise: its tags, its experiment


def telling_knobs(experiment: Experiment) -> frozenset[str]:
    """Dotted names of the main knobs and of those that differ from what the preset gives."""
    usual, now = flatten(_usual(experiment)), flatten(experiment)
    differing = {key for key, value in now.items() if key not in _NAMES and usual.get(key) != value}
    return frozenset(differing | {key for key in MAIN_KNOBS[experiment.kind] if key in now})


def _usual(experiment: Experiment) -> Experiment:
    """The same method and preset, nothing else set."""
    if not isinstance(experiment, TranslationExperiment):
        return KINDS[experiment.kind]()
    method = experiment.translator.method
    made: Any = TranslationExperiment(
        preset=experiment.preset, translator=METHODS[method].config(method=method)
    )
    for room, values in PRESETS[experiment.preset][method].items():
        made = dataclasses.replace(made, **{room: dataclasses.replace(getattr(made, room), **values)})
    return made  # type: ignore[no-any-return] # replace by a room's name is not typed
