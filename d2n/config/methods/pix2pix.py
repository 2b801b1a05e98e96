"""The knobs and presets of pix2pix (Isola et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from d2n.config.method import MethodKnobs
from d2n.config.presets import LATER, LATER_CROP, REFERENCE, REFERENCE_CROP, THESIS, TOY, TOY_CROP
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(TranslatorConfig):
    """pix2pix: paired, held by L1."""

    __pydantic_config__ = STRICT
    method: Literal["pix2pix"] = "pix2pix"
    lambda_l1: Weight = 100.0
    """pix2pix: weight of the L1 distance to the paired night image."""


_UNET = {"generator": "unet", "generator_norm": "batch", "discriminator_norm": "batch", "pool_size": 0}

KNOBS = MethodKnobs(
    config=Pix2PixConfig,
    paired=True,
    presets={
        "thesis": {"translator": {**_UNET, **THESIS, "dropout": True}, "training": {"batch_size": 5}},
        "reference": {
            "dataset": REFERENCE_CROP,
            "translator": {
                **_UNET,
                **REFERENCE,
                "gan_loss": "vanilla",
                "dropout": True,
                "inference_norm": "batch",
            },
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "later": {
            "dataset": LATER_CROP,
            "translator": {**_UNET, **LATER},
            "training": {"batch_size": 1},
        },
        "published": {  # the paper's (3.3, 6.1; 6.2 for day to night): the learning rate stays
            "dataset": REFERENCE_CROP,
            "translator": {
                **_UNET,
                **REFERENCE,
                "lr_schedule": "constant",
                "gan_loss": "vanilla",
                "dropout": True,
                "inference_norm": "batch",
            },
            "training": {"batch_size": 4, "n_epochs": 17},
        },
        "toy": {
            "dataset": TOY_CROP,
            "translator": {**_UNET, **TOY, "gan_loss": "vanilla", "unet_depth": 5, "generator_channels": 20},
            "training": {"batch_size": 4},
        },
    },
)
