"""Weights of a retrieval network, read from what others wrote: torchvision, cirtorch, mdir, or our own files.

Everything is read without unrestricted pickle.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from d2n.backbones import published, trunks
from d2n.backbones.weights import read_weights_file, state_dict
from d2n.config import NetworkConfig
from d2n.errors import WeightsError
from d2n.files.reading import brief, file_sha256, one_line
from d2n.retrieval.published import Meta, inner, is_published, read_meta

logger = logging.getLogger(__name__)
_POOLINGS = ("gem", "gemmp", "mac", "spoc", "rmac")


@dataclass(frozen=True)
class Weights:
    """Tensors under the names of RetrievalNetwork's state."""

    tensors: Mapping[str, Tensor]
    source: str
    head_shape: tuple[int, int] | None = None  # (D, C) of a whitening layer inside the network
    meta: Meta | None = None  # what a published checkpoint says of itself


def read_weights(config: NetworkConfig, *, download: bool = True) -> Weights | None:
    """The weights that the knobs name, or None for an untrained network.

    Raises WeightsError when the file is absent, damaged, of another architecture, or of a network with parts
    that are not supported (another pooling, regional or local whitening).
    """
    backbone = trunks.find(config.backbone)
    classifier = backbone.classifier
    if config.weights == "none" or (config.weights is None and classifier is None):
        return None
    path = cached_file(config.backbone, download=download) if config.weights is None else Path(config.weights)
    weights = _recognised(read_file(path), config.backbone, str(path))
    own_file = (
        config.weights is None
        or "pool.p" in weights.tensors
        or classifier is None
        or weights.meta is not None
    )
    if not own_file and not published.is_published(backbone, file_sha256(path)):
        logger.warning(
            "%s: not torchvision's weights of %s; RGB is normalised by network.input=%s, and descriptors depend on "
            "it: imagenet, caffe (means alone) and tf ([-1, 1], SAME padding) are known",
            path,
            config.backbone,
            config.input,
        )
    return weights


def read_file(path: Path) -> Any:
    """What a .safetensors or a torch file holds, on the CPU."""
    absent = "no such weights file; set network.weights to a file that exists, or to none (untrained)"
    return read_weights_file(path, absent)


def cached_file(backbone: str, *, download: bool = True) -> Path:
    """Torchvision's own weights of a backbone in torch's cache, fetched when they are not there yet."""
    otherwise = "set network.weights to your file or to none (untrained)"
    return published.cached_file(trunks.find(backbone), otherwise=otherwise, download=download)


def _recognised(content: Any, backbone: str, source: str) -> Weights:
    if not isinstance(content, Mapping):
        raise WeightsError(f"{source}: holds {type(content).__name__}, expected a state dict or a checkpoint")
    content = inner(content)
    if is_published(content):
        return _from_cirtorch(read_meta(content, source), backbone, source)
    if "network_hierarchy" in content:
        raise WeightsError(
            f"{source}: a chain of networks, expected one; give the file of the embedding network alone"
        )
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping):
        raise WeightsError(f"{source}: its state_dict is {type(state).__name__}, expected names with tensors")
    return _from_state_dict(state, backbone, source)


def _from_cirtorch(meta: Meta, backbone: str, source: str) -> Weights:
    tensors = state_dict(meta.state, source)
    if meta.architecture != backbone:
        raise WeightsError(
            f"{source}: a {_said(meta.architecture)} network, expected {backbone}; set network.backbone to it"
        )
    if meta.pooling not in _POOLINGS or meta.unsupported:
        raise WeightsError(
            f"{source}: pooling {brief(meta.pooling)} {' '.join(meta.unsupported)}, expected {', '.join(_POOLINGS)} "
            "without regional and local whitening"
        )
    renamed = {re.sub(r"^whiten\.", "head.1.", key): value for key, value in tensors.items()}
    return Weights(renamed, source, _head_shape(tensors.get("whiten.weight"), source), meta)


def _said(architecture: Any) -> str:
    return one_line(architecture, 60) if isinstance(architecture, str) else brief(architecture, 60)


def _head_shape(whiten: Tensor | None, source: str) -> tuple[int, int] | None:
    if whiten is None:
        return None
    if whiten.ndim != 2:
        raise WeightsError(f"{source}: a whitening layer of shape {tuple(whiten.shape)}, expected (D, C)")
    return int(whiten.shape[0]), int(whiten.shape[1])


def _from_state_dict(state: Mapping[str, Any], backbone: str, source: str) -> Weights:
    """Our own tensors, a torchvision classifier's, or those of a trunk alone (`0.weight`)."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    state = {key.removeprefix("module."): t for key, t in state_dict(tensors, source).items()}
    if "pool.p" in state:
        return Weights(_without_whitening(state), source, _head_shape(state.get("head.1.weight"), source))
    if state and all(key[:1].isdigit() for key in state):
        return Weights({f"features.{key}": value for key, value in state.items()}, source)
    classifier = trunks.find(backbone).classifier
    names = classifier.trunk_keys(list(state)) if classifier is not None else {}
    if not names:
        raise WeightsError(
            f"{source}: {len(state)} tensors, none of {backbone}'s trunk; set network.backbone to fit it"
        )
    return Weights({f"features.{new}": state[old] for old, new in names.items()}, source)


def _without_whitening(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("whitening.")}
