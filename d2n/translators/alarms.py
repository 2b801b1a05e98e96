"""What tells that a GAN went wrong: collapse, inversion, a discriminator that is always right, non-finite
losses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from d2n.core import Translator
from d2n.errors import TrainingError

COLLAPSE_BELOW = 0.05  # output deviation over inputs, relative to the inputs' own
INVERSION_BELOW = 0.0  # correlation of output and input luminance
SATURATION_ABOVE = 0.99  # share of patches that the discriminator judges right

# Each alarm in a few words; docs/alarms.md says what to do.
MEANINGS: Mapping[str, str] = {
    "collapse": "the outputs hardly depend on the inputs",
    "inversion": "the outputs are photo-negatives of the inputs",
    "saturation": "the discriminator is always right",
}


def alarms(translator: Translator, probe_day: Tensor | None, losses: Mapping[str, float]) -> dict[str, float]:
    """The measures, and 1.0 or 0.0 for each alarm.

    From (N, 3, H, W) probe images, N >= 2: ``output_std`` and ``output_std_ratio`` (see output_deviation)
    with ``collapse``; ``input_correlation`` with ``inversion``. From the losses: ``discriminator_accuracy``
    with ``saturation``.
    """
    found: dict[str, float] = {}
    if probe_day is not None:
        fake = translator.translate(probe_day).float().cpu()
        found |= _of_outputs(probe_day.float().cpu(), fake)
    if "d_accuracy" in losses:
        found["discriminator_accuracy"] = losses["d_accuracy"]
        found["saturation"] = float(losses["d_accuracy"] > SATURATION_ABOVE)
    return found


def output_deviation(images: Tensor) -> float:
    """Standard deviation over the images at each pixel and channel, averaged: 0 when all are one image."""
    return float(images.std(dim=0, correction=0).mean())


def input_correlation(day: Tensor, fake_night: Tensor) -> float:
    """Pearson correlation of luminance over the pixels of each image, averaged; -1 is a photo-negative."""
    pair = torch.stack([_luminance(day), _luminance(fake_night)]).flatten(2)  # (2, N, H * W)
    centred = pair - pair.mean(dim=2, keepdim=True)
    norm = centred.square().sum(dim=2).sqrt().prod(dim=0)
    return float(((centred[0] * centred[1]).sum(dim=1) / norm.clamp(min=1e-12)).mean())


def check_finite(losses: Mapping[str, float], step: int, since: int) -> None:
    """TrainingError when a mean loss over the steps after ``since`` up to ``step`` is not finite."""
    bad = {name: value for name, value in losses.items() if not math.isfinite(value)}
    if bad:
        listed = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise TrainingError(
            f"{listed} between steps {since} and {step}: the last good checkpoint is kept; "
            "lower translator.lr, set translator.gradient_clip, or train with training.precision=fp32"
        )


def _of_outputs(day: Tensor, fake: Tensor) -> dict[str, float]:
    found: dict[str, float] = {}
    if len(day) > 1:
        deviation = output_deviation(fake)
        ratio = deviation / max(output_deviation(day), 1e-12)
        found |= {
            "output_std": deviation,
            "output_std_ratio": ratio,
            "collapse": float(ratio < COLLAPSE_BELOW),
        }
    correlation = input_correlation(day, fake)
    return {**found, "input_correlation": correlation, "inversion": float(correlation < INVERSION_BELOW)}


def _luminance(images: Tensor) -> Tensor:
    return (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1)  # Rec. 601
