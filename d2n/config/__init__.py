"""Every knob, typed, with its range and default; loading, overriding and flattening of experiments.

The knobs are plain frozen dataclasses, so that training imports them where pydantic is absent;
pydantic validates them when a YAML is loaded.
"""

from d2n.config.flattening import flatten, knobs, nearest, to_dict
from d2n.config.kinds import MACHINE_KNOBS, ROUNDING_KNOBS, Experiment
from d2n.config.knobs import (
    DatasetConfig,
    EvaluationConfig,
    TrainingConfig,
    TranslationExperiment,
    TranslatorConfig,
)
from d2n.config.loading import (
    build_experiment,
    load_experiment,
    parse_override,
    read_yaml,
    set_knob,
    translator_config,
)
from d2n.config.presets import PRESETS
from d2n.config.retrieval import (
    NetworkConfig,
    NightConfig,
    PretrainingConfig,
    RetrievalEvaluationConfig,
    RetrievalExperiment,
    RetrievalTrainingConfig,
)
from d2n.config.types import DEVICES_EXPECTED, Device, Name, Scalar, Seed, Weight, is_device_name
from d2n.config.validation import validated

__all__ = [
    "DEVICES_EXPECTED",
    "MACHINE_KNOBS",
    "PRESETS",
    "ROUNDING_KNOBS",
    "DatasetConfig",
    "Device",
    "EvaluationConfig",
    "Experiment",
    "Name",
    "NetworkConfig",
    "NightConfig",
    "PretrainingConfig",
    "RetrievalEvaluationConfig",
    "RetrievalExperiment",
    "RetrievalTrainingConfig",
    "Scalar",
    "Seed",
    "TrainingConfig",
    "TranslationExperiment",
    "TranslatorConfig",
    "Weight",
    "build_experiment",
    "flatten",
    "is_device_name",
    "knobs",
    "load_experiment",
    "nearest",
    "parse_override",
    "read_yaml",
    "set_knob",
    "to_dict",
    "translator_config",
    "validated",
]
