"""The knobs and presets of the photometric normalisation network (Jenicek and Chum 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from d2n.config.method import MethodKnobs, Preset
from d2n.config.presets import LATER, LATER_CROP, REFERENCE, REFERENCE_CROP, THESIS, TOY, TOY_CROP
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class PhotometricConfig(TranslatorConfig):
    """Photometric normalisation: a U-Net that learns from pairs to give night the light of day; no discriminator."""

    __pydantic_config__ = STRICT
    method: Literal["photometric"] = "photometric"
    generator: Literal["mdir_unet", "unet"] = "mdir_unet"  # type: ignore[assignment]  # the first is of this method alone
    """mdir_unet: the U-Net of the authors' code, which retrieval's network.light reads; unet: pix2pix's."""
    generator_norm: Literal["batch", "instance", "none"] = "batch"
    """Normalisation layers of the generator."""
    lambda_l1: Weight = 1.0
    """Weight of the L1 distance to the paired image."""
    lambda_keep: Weight = 1.0
    """photometric: weight of keeping an image that has the light already: in retrieval it sees day as well."""


_NIGHT_TO_DAY: Mapping[str, Any] = {"source": "night", "target": "day"}
_UNET: Mapping[str, Any] = {"generator": "mdir_unet", "generator_norm": "batch", "pool_size": 0}
_CODE: Preset = {
    "dataset": {**REFERENCE_CROP, **_NIGHT_TO_DAY},
    "translator": {**_UNET, **REFERENCE},
    "training": {"batch_size": 1, "n_epochs": 200},
}

KNOBS = MethodKnobs(
    config=PhotometricConfig,
    paired=True,
    presets={
        "thesis": {
            "dataset": _NIGHT_TO_DAY,
            "translator": {**_UNET, **THESIS},
            "training": {"batch_size": 5},
        },
        "reference": _CODE,
        "later": {
            "dataset": {**LATER_CROP, **_NIGHT_TO_DAY},
            "translator": {**_UNET, **LATER},
            "training": {"batch_size": 1},
        },
        "published": _CODE,
        "toy": {
            "dataset": {**TOY_CROP, **_NIGHT_TO_DAY},
            "translator": {
                **TOY,
                **_UNET,
                "unet_depth": 5,
                "generator_channels": 20,
                "upsampling": "transposed",
                "late_input": False,
            },
            "training": {"batch_size": 4},
        },
    },
)
