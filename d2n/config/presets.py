"""The presets' settings that several methods share.

Sources: thesis 3.2.1; Isola et al. 2017, Zhu et al. 2017 and Park et al. 2020 (reference); the thesis's author's
later practice (later); toy: small nets for two CPU cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESNET: Mapping[str, Any] = {
    "generator": "resnet",
    "generator_norm": "instance",
    "discriminator_norm": "instance",
}
THESIS: Mapping[str, Any] = {"beta1": 0.9, "lr": 2e-4, "lr_schedule": "constant", "gan_loss": "vanilla"}
REFERENCE: Mapping[str, Any] = {"beta1": 0.5, "lr": 2e-4, "lr_schedule": "linear"}
REFERENCE_CROP: Mapping[str, Any] = {"scale_min": 0.895, "scale_max": 0.895, "flip": True}
LATER: Mapping[str, Any] = {**REFERENCE, "gan_loss": "least_squares"}
LATER_CROP: Mapping[str, Any] = {"scale_min": 0.8, "scale_max": 1.0}
TOY: Mapping[str, Any] = {
    "beta1": 0.5,
    "lr": 4e-4,
    "lr_schedule": "linear",
    "generator_norm": "instance",
    "discriminator_norm": "instance",
    "discriminator_channels": 24,
    "discriminator_layers": 2,
    "upsampling": "resize",
    "late_input": True,
}
TOY_RESNET: Mapping[str, Any] = {  # of the methods whose generator is a small ResNet
    **TOY,
    "gan_loss": "least_squares",
    "generator_channels": 16,
    "generator_blocks": 4,
}
TOY_CROP: Mapping[str, Any] = {"image_size_px": 64, "scale_min": 0.7}
