"""DINOv2's rows: descriptors without labels (Oquab et al., 2023). Their files are not fetched: name a local one.

``dinov2_vits14_pretrain.pth`` and its like, ViT-S, -B and -L, without and with four registers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from d2n.backbones.row import Backbone, Classifier

if TYPE_CHECKING:
    from torch import nn

_SIZES = {"vits14": (384, 12, 6), "vitb14": (768, 12, 12), "vitl14": (1024, 24, 16)}
_REGISTERS = {"": 0, "_reg": 4}


def _build(size: str, registers: int) -> nn.Module:
    from d2n.backbones.vit import DinoV2

    return DinoV2(*_SIZES[size], registers)


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


def _trunk_keys(keys: list[str]) -> dict[str, str]:
    """All of a file that is one of DINOv2's; none of another."""
    return {key: key for key in keys} if "patch_embed.proj.weight" in keys else {}


def _row(size: str, suffix: str) -> Backbone:
    build = partial(_build, size, _REGISTERS[suffix])
    return Backbone(f"dinov2_{size}{suffix}", build, classifier=Classifier(build, _as_it_is, _trunk_keys, ()))


DINOV2 = tuple(_row(size, suffix) for size in _SIZES for suffix in _REGISTERS)
