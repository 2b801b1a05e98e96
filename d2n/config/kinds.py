"""The kinds of experiment, and which knobs are the machine's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from d2n.config.knobs import TranslationExperiment
from d2n.config.retrieval import RetrievalExperiment

Experiment = TranslationExperiment | RetrievalExperiment

# Knobs that change where and how fast something is computed, never what is found: no part of a study's identity, and
# a run goes on under others.
MACHINE_KNOBS = (
    "dataset.root", "dataset.index", "dataset.cache_mb",
    "training.device", "training.cuda_graphs", "training.num_workers", "training.num_threads",
    "training.log_every_steps",
    "training.log_system", "training.tracking_wait_s", "training.tracking_patience_s", "training.spool_mb",
    "training.checkpoint_every_epochs", "training.keep_best",
    "evaluation.num_samples", "evaluation.num_bootstrap", "evaluation.weights", "evaluation.roots",
    "evaluation.measure_every_epochs",
)  # fmt: skip
# The same but for rounding: a run may go on under others, two runs of one study share them.
ROUNDING_KNOBS = ("training.compile", "training.channels_last")
# Lists whose first name decides something; companions after it are logged beside it and decide nothing.
COMPANION_KNOBS = ("evaluation.scores",)

KINDS: Mapping[str, type[TranslationExperiment] | type[RetrievalExperiment]] = {
    "translation": TranslationExperiment,
    "retrieval": RetrievalExperiment,
}
VERBS = {"translation": "train", "retrieval": "retrieve"}  # of the command line, that runs a kind


def decisive(knob: str, value: Any) -> Any:
    """What of a flat knob's value decides what is found: of a list of scores the first, which chooses the generator."""
    if knob not in COMPANION_KNOBS or not isinstance(value, str):
        return value
    try:
        listed = json.loads(value)
    except ValueError:
        return value
    return listed[0] if isinstance(listed, list) and listed else value
