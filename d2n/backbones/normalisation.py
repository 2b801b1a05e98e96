"""How RGB is normalised before a network's first convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Input = Literal["imagenet", "caffe", "tf"]
Channels = tuple[float, ...]  # one value a channel

# (mean, scale) of RGB in [0, 255]: torchvision's; minus a mean, undivided; to [-1, 1].
NORMALISATIONS: Mapping[str, tuple[Channels, Channels]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": ((123.0, 117.0, 104.0), (1.0, 1.0, 1.0)),
    "tf": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
}


def of_unit_range(kind: Input) -> tuple[Channels, Channels]:
    """(mean, scale) of RGB in [0, 1]."""
    mean, scale = NORMALISATIONS[kind]
    return tuple(value / 255 for value in mean), tuple(value / 255 for value in scale)
