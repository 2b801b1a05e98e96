"""The knobs and presets of CUT (Park et al. 2020)."""

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
class CutConfig(TranslatorConfig):
    """CUT: unpaired, one direction, held by patches."""

    __pydantic_config__ = STRICT
    method: Literal["cut"] = "cut"
    lambda_nce: Weight = 1.0
    """CUT: weight of the patchwise contrastive loss."""
    lambda_identity: Weight = 0.0
    """Weight of the contrastive loss between a night image and what the generator makes of it."""


_CUT = {**RESNET, "pool_size": 0, "lambda_identity": 1.0}  # both weights 1, Park et al. 2020

KNOBS = MethodKnobs(
    config=CutConfig,
    paired=False,
    presets={
        "thesis": {"translator": {**_CUT, **THESIS}, "training": {"batch_size": 5}},
        "reference": {
            "dataset": REFERENCE_CROP,
            # its code halves the sum of the two NCE terms, the paper's equation does not
            "translator": {
                **_CUT,
                **REFERENCE,
                "gan_loss": "least_squares",
                "antialias": True,
                "lambda_nce": 0.5,
                "lambda_identity": 0.5,
            },
            "training": {"batch_size": 1, "n_epochs": 400},
        },
        "later": {
            "dataset": LATER_CROP,
            # the identity term weighs 10 of 1 there, and the sum is halved
            "translator": {**_CUT, **LATER, "lambda_nce": 0.5, "lambda_identity": 5.0},
            "training": {"batch_size": 1, "n_epochs": 50},
        },
        "published": {  # the paper's equation, as its reference without the halving
            "dataset": REFERENCE_CROP,
            "translator": {**_CUT, **REFERENCE, "gan_loss": "least_squares", "antialias": True},
            "training": {"batch_size": 1, "n_epochs": 400},
        },
        "toy": {
            "dataset": TOY_CROP,
            "translator": {**_CUT, **TOY_RESNET},
            "training": {"batch_size": 2},
        },
    },
)
