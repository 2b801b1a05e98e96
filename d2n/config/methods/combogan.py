"""The knobs and presets of ComboGAN (Anoosheh et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from d2n.config.method import MethodKnobs, Preset
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
class ComboGANConfig(TranslatorConfig):
    """ComboGAN: unpaired, among any number of domains, held by the way back."""

    __pydantic_config__ = STRICT
    method: Literal["combogan"] = "combogan"
    generator: Literal["resnet", "resnet_prelu"] = "resnet"  # type: ignore[assignment]  # the second is of such methods
    """Network whose first half of the blocks encodes, the rest decodes; resnet_prelu: as the public code has it."""
    lambda_cycle: Weight = 10.0
    """ComboGAN: weight of the cycle consistency; content is lost where it is low."""
    lambda_identity: Weight = 0.0
    """Weight of the difference between an image and what its own domain's decoder makes of it."""
    lambda_latent: Weight = 0.0
    """Weight of the difference between the codes of an image and of what was made of it."""
    lambda_forward: Weight = 0.0
    """Weight of the difference between an image and what was made of it, both at half size."""


# The networks and losses of CycleGAN, as in the paper; epochs of the public code's script (AAnoosheh/ComboGAN): 200
# constant and 200 falling for four domains.
_PUBLISHED: Preset = {
    "dataset": REFERENCE_CROP,
    "translator": {**RESNET, **REFERENCE, "gan_loss": "least_squares"},
    "training": {"batch_size": 1, "n_epochs": 400},
}
_CODE: Preset = {
    **_PUBLISHED,
    "translator": {**_PUBLISHED["translator"], "generator": "resnet_prelu", "discriminator_layers": 4},
}

KNOBS = MethodKnobs(
    config=ComboGANConfig,
    paired=False,
    many=True,
    presets={
        "thesis": {"translator": {**RESNET, **THESIS}, "training": {"batch_size": 5}},
        "reference": _CODE,
        "later": {"dataset": LATER_CROP, "translator": {**RESNET, **LATER}, "training": {"batch_size": 1}},
        "published": _PUBLISHED,
        "toy": {
            "dataset": TOY_CROP,
            "translator": {**RESNET, **TOY_RESNET},
            "training": {"batch_size": 2},
        },
    },
)
