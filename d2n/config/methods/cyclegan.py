"""The knobs and presets of CycleGAN (Zhu et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from d2n.config.method import MethodKnobs
from d2n.config.presets import (
    LATER,
    LATER_CROP,
    REFERENCE,
    REFERENCE_CROP,
    RESNET,
    THESIS,
    TOY_CROP,
    TOY_RESNET,
)
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class CycleGANConfig(TranslatorConfig):
    """CycleGAN: unpaired, held by the way back."""

    __pydantic_config__ = STRICT
    method: Literal["cyclegan"] = "cyclegan"
    lambda_cycle: Weight = 10.0
    """CycleGAN: weight of the cycle consistency; content is lost where it is low."""
    lambda_identity: Weight = 0.0
    """Weight of the identity loss; the weight itself, not a factor of lambda_cycle."""


KNOBS = MethodKnobs(
    config=CycleGANConfig,
    paired=False,
    presets={
        "thesis": {"translator": {**RESNET, **THESIS}, "training": {"batch_size": 5}},
        "reference": {
            "dataset": REFERENCE_CROP,
            "translator": {**RESNET, **REFERENCE, "gan_loss": "least_squares", "lambda_identity": 5.0},
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "later": {
            "dataset": LATER_CROP,
            "translator": {**RESNET, **LATER},
            "training": {"batch_size": 1, "n_epochs": 100},
        },
        "published": {  # the paper's (7.1); identity loss is for paintings alone there (5.2)
            "dataset": REFERENCE_CROP,
            "translator": {**RESNET, **REFERENCE, "gan_loss": "least_squares"},
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "toy": {
            "dataset": TOY_CROP,
            "translator": {
                **RESNET,
                **TOY_RESNET,
                "lambda_identity": 5.0,
            },  # else it inverts: docs/results.md
            "training": {"batch_size": 2},
        },
    },
    formerly={"toy": {"translator.lambda_identity": 0.0}},
)
