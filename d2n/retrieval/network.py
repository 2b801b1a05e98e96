"""The retrieval network: a trunk, pooling (generalised means unless asked otherwise), L2 normalisation.

Source: Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019; GeM is its
equation 2, thesis equation 3.2.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from d2n.backbones import pooling, trunks
from d2n.backbones.normalisation import NORMALISATIONS, Input, of_unit_range
from d2n.backbones.pooling import GeM as GeM
from d2n.config import NetworkConfig
from d2n.errors import ConfigError, WeightsError
from d2n.files.fields import check_fields
from d2n.files.json import read_json_object
from d2n.files.reading import brief
from d2n.files.writing import write_bytes
from d2n.retrieval import light
from d2n.retrieval.weights import Weights, read_file, read_weights
from d2n.retrieval.whitening import Whitening

logger = logging.getLogger(__name__)

WEIGHTS_FILE, CONFIG_FILE = "network.safetensors", "network.json"
_FORMAT = 1
_TOLD = (
    "mean",
    "std",
    "light",
    "clahe_clip_limit",
    "clahe_grid",
    "gamma_target",
    "gem_per_channel",
    "pooling",
)
_PLAIN: dict[str, Callable[[], pooling.Plain]] = {
    "mac": pooling.Mac,
    "spoc": pooling.Spoc,
    "rmac": pooling.RMac,
}
_PROBE_PX = 96  # enough for every trunk


def l2n(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x / (||x|| + eps) along dimension 1: (B, D) rows of length (almost) 1; a zero row stays zero."""
    norms: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / (norms + eps)


class L2N(nn.Module):
    """l2n as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return l2n(x)


def _headed(head: nn.Module, pooled: Tensor) -> Tensor:
    described: Tensor = head(pooled)
    return described.float()


class RetrievalNetwork(nn.Module):
    """Images to descriptors: normalisation, trunk, pooling, an optional head, L2.

    forward: RGB (B, 3, H, W) in [0, 1] to (B, D) of length 1. features: (B, 3, H, W) to (B, C, h, w); head:
    (B, C) to (B, D). In training mode batch norm keeps its running statistics, unless train_batch_norm is set.
    """

    def __init__(
        self,
        features: nn.Module,
        pool: GeM | pooling.Plain | None = None,
        head: nn.Module | None = None,
        *,
        input: Input = "imagenet",  # noqa: A002 - the knob's name
        light: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if input not in NORMALISATIONS:
            raise ConfigError(f"network.input is {input!r}, expected one of {', '.join(NORMALISATIONS)}")
        self.features, self.pool, self.head, self.input = features, pool or GeM(), head, input
        self.light = light  # before the normalisation, once for all scales; None: images enter as they are
        self.train_batch_norm = False
        mean, std = of_unit_range(input)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    mean: Tensor
    std: Tensor
    knobs: NetworkConfig | None = None  # that it was built with, and what its weights file told

    def forward(self, images: Tensor) -> Tensor:
        return l2n(self.embed(self.lit(images)))

    def lit(self, images: Tensor) -> Tensor:
        """Images with their light evened out, as the knob ``light`` says."""
        if self.light is None:
            return images
        lit: Tensor = self.light(images)
        return lit

    def embed(self, images: Tensor) -> Tensor:
        """The descriptors, before the last L2 normalisation, of images that are lit already: (B, D)."""
        pooled: Tensor = self.pool(self.features((images - self.mean) / self.std))
        if self.head is None:
            return pooled
        kind = images.device.type
        if not torch.is_autocast_enabled(kind):  # as when it is exported, whose program holds no such block
            return _headed(self.head, pooled)
        with torch.autocast(kind, enabled=False):  # whitening makes much of what is rounded here
            return _headed(self.head, pooled)

    def train(self, mode: bool = True) -> RetrievalNetwork:
        super().train(mode)
        if self.light is not None:
            self.light.eval()
        if mode and not self.train_batch_norm:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    @property
    def multiscale_power(self) -> Tensor:
        """The m of multi-scale aggregation: GeM's p; 1 behind a head, whose outputs may be negative.

        And 1 with a p of each channel's own, as published code has it.
        """
        plain = self.head is None and self.pool.p.numel() == 1
        return self.pool.p.detach() if plain else torch.ones_like(self.pool.p[:1])

    @property
    def preparation(self) -> str:
        """What happens to images that no weight tells, in words; "" for the defaults."""
        mean, std = of_unit_range(self.input)
        told = [] if self.light is None else [light.told(self.light)]
        for name, own, usual in (("mean", self.mean, mean), ("std", self.std, std)):
            if not torch.allclose(own.flatten().cpu(), torch.tensor(usual), atol=1e-6):
                told.append(f"{name} {[round(float(value), 6) for value in own.flatten()]}")
        return ", ".join(told)


def build(config: NetworkConfig, seed: int = 0, *, download: bool = True) -> RetrievalNetwork:
    """The network that the knobs ask for, on the CPU, in eval mode; seed draws what no weights fill.

    weights None: torchvision's own, from its cache or (unless download is False) its address; the toy
    backbone has none and starts untrained. Raises WeightsError where they are missing or of another architecture.
    """
    devices: list[int] = []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        weights = read_weights(config, download=download)
        config = as_published(config, weights)
        network = _assembled(config, weights)
    _fill(network, config, weights)
    network.knobs = config
    return network.eval()


def as_told(network: RetrievalNetwork, config: NetworkConfig) -> RetrievalNetwork:
    """The same weights behind another preparation of images: light, mean and std of the knobs."""
    own = light.build(config, light.state_of(network.light))
    changed = RetrievalNetwork(network.features, network.pool, network.head, input=network.input, light=own)
    _prepare(changed, config)
    changed.knobs = config
    return changed.eval()


def as_published(config: NetworkConfig, weights: Weights | None) -> NetworkConfig:
    """The knobs with what a published checkpoint says of its images and its pooling, where they leave it open."""
    meta = weights.meta if weights is not None else None
    if weights is None or meta is None:
        return config
    known: dict[str, Any] = {"mean": config.mean or meta.mean, "std": config.std or meta.std}
    if meta.clahe is not None and config.light == "none":
        known |= {"light": "clahe", "clahe_clip_limit": meta.clahe[0], "clahe_grid": meta.clahe[1]}
    if meta.pooling in _PLAIN and config.pooling == "gem":
        known["pooling"] = meta.pooling
    if weights.tensors["pool.p"].numel() > 1 if "pool.p" in weights.tensors else False:
        known["gem_per_channel"] = True
    return dataclasses.replace(config, **known)


def descriptor_dim(network: RetrievalNetwork) -> int:
    """D of the network's descriptors."""
    with torch.inference_mode():
        return int(network(torch.zeros(1, 3, _PROBE_PX, _PROBE_PX, device=network.mean.device)).shape[1])


def save(
    folder: Path, network: RetrievalNetwork, config: NetworkConfig, whitening: Whitening | None = None
) -> None:
    """Write network.safetensors and network.json into folder, each whole or not at all."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if whitening is not None:
        tensors["whitening.mean"] = torch.from_numpy(np.ascontiguousarray(whitening.mean))
        tensors["whitening.projection"] = torch.from_numpy(np.ascontiguousarray(whitening.projection))
    if network.knobs is not None:
        found = {name: getattr(network.knobs, name) for name in _TOLD}
        config = dataclasses.replace(config, **found)
    config = dataclasses.replace(config, light_weights=None)  # its tensors are saved with the others
    about = {"format": _FORMAT, "config": dataclasses.asdict(config), "whitening": whitening is not None}
    write_bytes(folder / WEIGHTS_FILE, serialize(tensors), durable=True)
    write_bytes(folder / CONFIG_FILE, json.dumps(about, indent=2).encode(), durable=True)


def load(folder: Path) -> tuple[RetrievalNetwork, NetworkConfig, Whitening | None]:
    """What save wrote: the network in eval mode on the CPU, its knobs, and its whitening if it has one.

    Raises WeightsError when a file is absent, damaged or of another format.
    """
    about = _read_json(folder / CONFIG_FILE)
    config = NetworkConfig(**about["config"])
    tensors = read_file(folder / WEIGHTS_FILE)
    network = build(dataclasses.replace(config, weights=str(folder / WEIGHTS_FILE)))
    if not about.get("whitening"):
        return network, config, None
    return network, config, _whitening(tensors, folder / WEIGHTS_FILE)


def fingerprint(network: nn.Module) -> str:
    """sha256 over every parameter and buffer of the state: names, types, shapes and bytes; and unusual preparation."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if isinstance(network, RetrievalNetwork):
        digest.update(network.preparation.encode())  # nothing where it is the usual one
    return digest.hexdigest()


def _whitening(tensors: dict[str, Tensor], path: Path) -> Whitening:
    mean, projection = (tensors.get(f"whitening.{part}") for part in ("mean", "projection"))
    if mean is None or projection is None or projection.ndim != 2 or mean.shape != projection.shape[1:]:
        raise WeightsError(
            f"{path}: no whitening of a mean (D,) and a projection (R, D), which its JSON names"
        )
    return Whitening(mean.double().numpy(), projection.double().numpy())


def _read_json(path: Path) -> dict[str, Any]:
    absent = "no such file; expected a folder written by network.save"
    about = read_json_object(path, WeightsError, absent=absent)
    if about.get("format") != _FORMAT:
        found = brief(about.get("format"))
        raise WeightsError(f"{path}: format {found}, expected {_FORMAT}; it was written by another version")
    check_fields(NetworkConfig, about.get("config"), str(path), WeightsError, "config.")
    return about


def _assembled(config: NetworkConfig, weights: Weights | None) -> RetrievalNetwork:
    trunk = trunks.build_trunk(config.backbone, tf_padding=config.input == "tf")
    num_channels = trunks.num_channels(trunk)
    pool = _pool(config, num_channels)
    head: nn.Module | None = None
    own_head = trunks.find(config.backbone).head_dim
    if own_head is not None and config.pooling != "mixvpr":  # which has its own dimensions
        head = nn.Linear(num_channels, own_head)
    elif weights is not None and weights.head_shape is not None:
        rows, columns = weights.head_shape
        head = nn.Sequential(
            L2N(), nn.Linear(columns, rows)
        )  # cirtorch normalises before its whitening layer
    tensors = weights.tensors if weights is not None else None
    network = RetrievalNetwork(trunk, pool, head, input=config.input, light=light.build(config, tensors))
    _prepare(network, config)
    return network


def _pool(config: NetworkConfig, num_channels: int) -> GeM | pooling.Plain:
    if config.pooling == "mixvpr":
        return pooling.MixVPR(
            num_channels, config.mix_side, config.mix_depth, config.mix_outputs, config.mix_rows
        )
    if config.pooling in _PLAIN:
        return _PLAIN[config.pooling]()
    return GeM(config.gem_p, channels=num_channels if config.gem_per_channel else None)


def _prepare(network: RetrievalNetwork, config: NetworkConfig) -> None:
    for name, values in (("mean", config.mean), ("std", config.std)):
        if values is not None:
            getattr(network, name).copy_(torch.tensor(values)[:, None, None])


def _fill(network: RetrievalNetwork, config: NetworkConfig, weights: Weights | None) -> None:
    if weights is None:
        return
    own, given = network.state_dict(), dict(weights.tensors)
    if config.light_weights is not None:  # filled from there
        own, given = (
            {k: v for k, v in one.items() if not k.startswith(light.PREFIX)} for one in (own, given)
        )
    unfit = [
        f"{key} {tuple(value.shape)} for {tuple(own[key].shape)}"
        for key, value in given.items()
        if key in own and own[key].shape != value.shape
    ]
    whole = "pool.p" in given  # a retrieval network's own file, not a classifier's
    missing = [key for key in own if (whole or key.startswith("features.")) and key not in given]
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    unknown = [key for key in given if key not in own]
    for problem, keys in (("misses", missing), ("has unknown", unknown), ("has misshapen", unfit)):
        if keys:
            raise WeightsError(
                f"{weights.source}: {problem} {len(keys)} tensors of {config.backbone} (first: {keys[0]}); "
                "set network.backbone to the architecture that the file was trained with"
            )
    network.load_state_dict(given, strict=False)
    logger.info("%s filled from %s", config.backbone, weights.source)
