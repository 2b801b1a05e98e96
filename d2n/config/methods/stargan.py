"""The knobs and presets of StarGAN (Choi et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from d2n.config.method import MethodKnobs, Preset
from d2n.config.presets import TOY_CROP
from d2n.config.translator import TranslatorConfig
from d2n.config.types import STRICT, Weight


@dataclass(frozen=True, kw_only=True)
class StarGANConfig(TranslatorConfig):
    """StarGAN: unpaired, one generator that is told the domain it shall make; WGAN-GP and a classifier."""

    __pydantic_config__ = STRICT
    method: Literal["stargan"] = "stargan"
    generator: Literal["conditioned"] = "conditioned"  # type: ignore[assignment]  # a network of this method alone
    """Network of the generator: residual, with zero padding and affine instance norm as published."""
    discriminator_layers: Annotated[int, Ge(1), Le(6)] = 6
    """Strided layers of the discriminator: image sides are at least class_kernel times 2 to their power."""
    class_kernel: Annotated[int, Ge(1), Le(64)] = 2
    """StarGAN: side of the classifier's kernel; 2 sees the whole of 128 px behind 6 layers."""
    lambda_class: Weight = 1.0
    """StarGAN: weight of the classification into domains."""
    lambda_cycle: Weight = 10.0
    """StarGAN: weight of the reconstruction of the image in its own domain."""
    lambda_penalty: Weight = 10.0
    """StarGAN: weight of the gradient penalty."""
    n_critic: Annotated[int, Ge(1), Le(100)] = 5
    """Steps of the discriminator for one of the generator."""


# Choi et al. 2018, on CelebA: 128 px, batch 16, Adam 1e-4 (0.5, 0.999), falling to 0 in the second half of 20 epochs;
# in the public code (yunjey/stargan) of 200,000 iterations.
_TRANSLATOR = {
    "generator_blocks": 6,
    "lr": 1e-4,
    "beta1": 0.5,
    "lr_schedule": "linear",
    "pool_size": 0,
}
_PUBLISHED: Preset = {
    "dataset": {"image_size_px": 128, "scale_min": 1.0, "scale_max": 1.0, "flip": True},
    "translator": _TRANSLATOR,
    "training": {"batch_size": 16, "n_epochs": 20},
}
_CODE: Preset = {**_PUBLISHED, "training": {"batch_size": 16, "n_epochs": 20, "steps_per_epoch": 10_000}}

KNOBS = MethodKnobs(
    config=StarGANConfig,
    paired=False,
    many=True,
    presets={
        "thesis": {"translator": {**_TRANSLATOR, "beta1": 0.9}, "training": {"batch_size": 5}},
        "reference": _CODE,
        "later": _PUBLISHED,
        "published": _PUBLISHED,
        "toy": {
            "dataset": TOY_CROP,
            "translator": {
                **_TRANSLATOR,
                "lr": 4e-4,
                "generator_channels": 16,
                "generator_blocks": 4,
                "discriminator_channels": 24,
                "discriminator_layers": 4,
                "class_kernel": 4,
                "n_critic": 2,
            },
            "training": {"batch_size": 4},
        },
    },
)
