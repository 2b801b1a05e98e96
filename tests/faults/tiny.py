"""The smallest training that does all that a training does."""

from __future__ import annotations

from typing import Any


def experiment(name: str, dataset: dict[str, Any] | None = None, **training: object) -> dict[str, Any]:
    """Of pix2pix on the toy city at 32 px, as its YAML holds it; two steps an epoch."""
    return {
        "kind": "translation",
        "name": name,
        "preset": "toy",
        "dataset": {"name": "toycity", "image_size_px": 32, **(dataset or {})},
        "translator": {
            "method": "pix2pix",
            "unet_depth": 3,
            "generator_channels": 4,
            "discriminator_channels": 4,
        },
        "training": {"steps_per_epoch": 2, "log_every_steps": 1, **training},
        "evaluation": {
            "every_epochs": 1,
            "extractor": "random-squeezenet1_0",
            "scores": ["fid"],
            "num_images": 4,
            "num_bootstrap": 0,
            "num_samples": 2,
        },
    }
