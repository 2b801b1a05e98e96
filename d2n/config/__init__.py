"""Every knob, typed, with its range and default; loading, overriding and flattening of experiments.

The knobs are plain frozen dataclasses, so that training imports them where pydantic is absent;
pydantic validates them when a YAML is loaded.
"""

from d2n.config.continuing import former_values, with_values
from d2n.config.extending import read_extended, read_yaml
from d2n.config.flattening import flatten, knobs, nearest, to_dict
from d2n.config.kinds import COMPANION_KNOBS, MACHINE_KNOBS, ROUNDING_KNOBS, Experiment, decisive
from d2n.config.knobs import (
    DatasetConfig,
    EvaluationConfig,
    TrainingConfig,
    TranslationExperiment,
)
from d2n.config.loading import build_experiment, load_experiment, stored_experiment, translator_config
from d2n.config.method import MethodKnobs
from d2n.config.methods import METHODS, PRESETS
from d2n.config.methods.cut import CutConfig
from d2n.config.methods.cyclegan import CycleGANConfig
from d2n.config.methods.pix2pix import Pix2PixConfig
from d2n.config.overriding import parse_override, set_knob, with_overrides
from d2n.config.promotion import PROMOTION, PromotionConfig, load_promotion, promotion_config
from d2n.config.retrieval import (
    NetworkConfig,
    NightConfig,
    PretrainingConfig,
    RetrievalEvaluationConfig,
    RetrievalExperiment,
    RetrievalTrainingConfig,
)
from d2n.config.telling import telling_knobs
from d2n.config.translator import TranslatorConfig
from d2n.config.types import DEVICES_EXPECTED, Device, Name, Scalar, Seed, Weight, is_device_name
from d2n.config.validation import validated

__all__ = [
    "COMPANION_KNOBS",
    "DEVICES_EXPECTED",
    "MACHINE_KNOBS",
    "METHODS",
    "PRESETS",
    "PROMOTION",
    "ROUNDING_KNOBS",
    "CutConfig",
    "CycleGANConfig",
    "DatasetConfig",
    "Device",
    "EvaluationConfig",
    "Experiment",
    "MethodKnobs",
    "Name",
    "NetworkConfig",
    "NightConfig",
    "Pix2PixConfig",
    "PretrainingConfig",
    "PromotionConfig",
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
    "decisive",
    "flatten",
    "former_values",
    "is_device_name",
    "knobs",
    "load_experiment",
    "load_promotion",
    "nearest",
    "parse_override",
    "promotion_config",
    "read_extended",
    "read_yaml",
    "set_knob",
    "stored_experiment",
    "telling_knobs",
    "to_dict",
    "translator_config",
    "validated",
    "with_overrides",
    "with_values",
]
