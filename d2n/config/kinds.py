"""The kinds of experiment, and which knobs are the machine's."""

from __future__ import annotations

from collections.abc import Mapping

from d2n.config.knobs import TranslationExperiment
from d2n.config.retrieval import RetrievalExperiment

Experiment = TranslationExperiment | RetrievalExperiment

# Knobs that change where and how fast something is computed, never what is found: no part of a study's identity, and
# a run goes on under others.
MACHINE_KNOBS = (
    "dataset.root", "dataset.index", "dataset.cache_mb",
    "training.device", "training.num_workers", "training.num_threads", "training.log_every_steps",
    "training.log_system", "training.checkpoint_every_epochs", "training.keep_best",
    "evaluation.num_samples", "evaluation.num_bootstrap", "evaluation.weights", "evaluation.roots",
    "evaluation.measure_every_epochs",
)  # fmt: skip
# The same but for rounding: a run may go on under others, two runs of one study share them.
ROUNDING_KNOBS = ("training.compile", "training.channels_last")

KINDS: Mapping[str, type[TranslationExperiment] | type[RetrievalExperiment]] = {
    "translation": TranslationExperiment,
    "retrieval": RetrievalExperiment,
}
