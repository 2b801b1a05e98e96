"""The knobs and presets of ToDayGAN (Anoosheh et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from d2n.config.method import MethodKnobs, Preset
from d2n.config.methods.combogan import ComboGANConfig
from d2n.config.presets import LATER, LATER_CROP, REFERENCE, RESNET, THESIS, TOY_CROP, TOY_RESNET
from d2n.config.types import STRICT


@dataclass(frozen=True, kw_only=True)
class ToDayGANConfig(ComboGANConfig):
    """ToDayGAN: ComboGAN with three discriminators a domain, on blurred colour, luminance and gradients."""

    __pydantic_config__ = STRICT
    method: Literal["todaygan"] = "todaygan"  # type: ignore[assignment]  # each method's class names its own
    discriminator_layers: Annotated[int, Ge(1), Le(6)] = 4
    """Strided layers of the discriminators, which judge behind each but the first; that of gradients has one less."""


# The public code's script for RobotCar, and its options (AAnoosheh/ToDayGAN): 384 px of 512, 75 and 75 epochs.
_PUBLISHED: Preset = {
    "dataset": {"image_size_px": 384, "scale_min": 0.75, "scale_max": 0.75, "flip": True},
    "translator": {
        **RESNET,
        **REFERENCE,
        "generator": "resnet_prelu",
        "gan_loss": "least_squares",
        "discriminator_layers": 4,
    },
    "training": {"batch_size": 1, "n_epochs": 150},
}

KNOBS = MethodKnobs(
    config=ToDayGANConfig,
    paired=False,
    many=True,
    presets={
        "thesis": {"translator": {**RESNET, **THESIS}, "training": {"batch_size": 5}},
        "reference": _PUBLISHED,
        "later": {"dataset": LATER_CROP, "translator": {**RESNET, **LATER}, "training": {"batch_size": 1}},
        "published": _PUBLISHED,
        "toy": {
            "dataset": TOY_CROP,
            "translator": {**RESNET, **TOY_RESNET},
            "training": {"batch_size": 2},
        },
    },
)
