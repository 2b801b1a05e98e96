"""What a backbone is: a trunk by name, and the published network that it is cut from, if there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Classifier:
    """A published classifier, whose weights a trunk can be filled with."""

    build: Callable[[], nn.Module]  # randomly initialised
    convolutions: Callable[[nn.Module], nn.Module]  # those of a built one, to the maps before its pooling
    trunk_keys: Callable[
        [list[str]], dict[str, str]
    ]  # from its state's keys, the trunk's alone, to the trunk's own
    urls: tuple[
        str, ...
    ]  # of its weights, the best ones first; their names end in the beginning of their sha256


@dataclass(frozen=True)
class Backbone:
    """A convolutional trunk: normalised RGB (B, 3, H, W) to maps (B, C, h, w)."""

    name: str
    trunk: Callable[[], nn.Module]  # randomly initialised
    head_dim: int | None = None  # outputs of the linear head that comes behind the pooling; None: no head
    classifier: Classifier | None = None  # None: no weights are published
