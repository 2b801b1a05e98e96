"""The further keywords of the generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import torch

Upsampling = Literal["transposed", "resize"]


class GeneratorOptions(TypedDict, total=False):
    """Further keywords of both generators."""

    in_channels: int  # 3
    out_channels: int  # 3
    upsampling: Upsampling  # transposed
    late_input: bool  # False
    init_gain: float  # 0.02
    generator: torch.Generator | None  # None: weights are drawn from torch's own stream


class ResNetOptions(GeneratorOptions, total=False):
    """Further keywords of the residual generator."""

    antialias: bool  # False


@dataclass(frozen=True, kw_only=True)
class Options:
    """All of them with their defaults; a keyword that is none is refused as Python refuses it."""

    in_channels: int = 3
    out_channels: int = 3
    upsampling: Upsampling = "transposed"
    late_input: bool = False
    antialias: bool = False
    init_gain: float = 0.02
    generator: torch.Generator | None = None
