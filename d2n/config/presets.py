"""What each preset sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNET = {"generator": "unet", "generator_norm": "batch", "discriminator_norm": "batch", "pool_size": 0}
_RESNET = {"generator": "resnet", "generator_norm": "instance", "discriminator_norm": "instance"}
_CUT = {**_RESNET, "pool_size": 0, "lambda_identity": 1.0}  # both weights 1, Park et al. 2020
_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "pix2pix": _UNET,
    "cyclegan": _RESNET,
    "cut": _CUT,
}
_THESIS = {"beta1": 0.9, "lr": 2e-4, "lr_schedule": "constant", "gan_loss": "vanilla"}
_REFERENCE = {"beta1": 0.5, "lr": 2e-4, "lr_schedule": "linear"}
_TOY = {
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
_TOY_DATA = {"image_size_px": 64, "scale_min": 0.7}

# What each preset sets, by method; knobs given in the YAML win. Sources: thesis 3.2.1; Isola et al. 2017 and
# Zhu et al. 2017 (reference); the thesis's author's later practice (later); toy: small nets for two CPU cores.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "thesis": {
        "pix2pix": {"translator": {**_UNET, **_THESIS, "dropout": True}, "training": {"batch_size": 5}},
        "cyclegan": {"translator": {**_RESNET, **_THESIS}, "training": {"batch_size": 5}},
        "cut": {"translator": {**_CUT, **_THESIS}, "training": {"batch_size": 5}},
    },
    "reference": {
        "pix2pix": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            "translator": {
                **_UNET,
                **_REFERENCE,
                "gan_loss": "vanilla",
                "dropout": True,
                "inference_norm": "batch",
            },
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "cyclegan": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            "translator": {**_RESNET, **_REFERENCE, "gan_loss": "least_squares", "lambda_identity": 5.0},
            "training": {"batch_size": 1, "n_epochs": 200},
        },
        "cut": {
            "dataset": {"scale_min": 0.895, "scale_max": 0.895, "flip": True},
            # its code halves the sum of the two NCE terms, the paper's equation does not
            "translator": {
                **_CUT,
                **_REFERENCE,
                "gan_loss": "least_squares",
                "antialias": True,
                "lambda_nce": 0.5,
                "lambda_identity": 0.5,
            },
            "training": {"batch_size": 1, "n_epochs": 400},
        },
    },
    "later": {
        method: {
            "dataset": {"scale_min": 0.8, "scale_max": 1.0},
            "translator": {**base, **_REFERENCE, "gan_loss": "least_squares"},
            "training": {"batch_size": 1},
        }
        for method, base in _NETWORKS.items()
    },
    "toy": {
        "pix2pix": {
            "dataset": _TOY_DATA,
            "translator": {**_UNET, **_TOY, "gan_loss": "vanilla", "unet_depth": 5, "generator_channels": 20},
            "training": {"batch_size": 4},
        },
        "cyclegan": {
            "dataset": _TOY_DATA,
            "translator": {
                **_RESNET,
                **_TOY,
                "gan_loss": "least_squares",
                "generator_channels": 16,
                "generator_blocks": 4,
            },
            "training": {"batch_size": 2},
        },
        "cut": {
            "dataset": _TOY_DATA,
            "translator": {
                **_CUT,
                **_TOY,
                "gan_loss": "least_squares",
                "generator_channels": 16,
                "generator_blocks": 4,
            },
            "training": {"batch_size": 2},
        },
    },
}
