"""Torchvision's classifiers as feature networks: their convolutions, GeM-pooled. And where weights come from.

Radenović et al., 2019, "Fine-tuning CNN Image Retrieval", equation 3 (GeM).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from d2n.backbones.weights import read_weights_file, state_dict
from d2n.config import nearest
from d2n.errors import ConfigError, WeightsError
from d2n.scores import inception

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"
INCEPTION_VARIABLE = "D2N_INCEPTION_WEIGHTS"  # environment variable with the file's path

_GEM_P, _GEM_EPS = 3.0, 1e-6
_NOT_CONVOLUTIONAL = (
    "vit_",
    "swin_",
    "maxvit",
    "googlenet",
    "inception_",
)  # no trunk, or their own input norm


class GeMTrunk(nn.Module):
    """Normalised (B, 3, H, W) to (B, C): the trunk, then the generalised mean with p = 3."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        cubes = self.trunk(x).clamp(min=_GEM_EPS).pow(_GEM_P)
        return cast(Tensor, cubes.mean(dim=(2, 3)).pow(1 / _GEM_P))


def build_inception(weights: str | Path | None) -> tuple[inception.InceptionFeatures, str]:
    """The network with the published weights or a given file's, and the file's sha256."""
    path = Path(weights) if weights is not None else _inception_file()
    net = inception.InceptionFeatures()
    _load_strictly(net, read_state(path), path, "the Inception network of 2015")
    return net, file_sha256(path)


def build_trunk(name: str, weights: str | Path | None, tf_padding: bool = False) -> tuple[GeMTrunk, str]:
    """A torchvision trunk with torchvision's weights or a local file's, and the file's sha256."""
    model = _classifier(name)
    path = Path(weights) if weights is not None else _torchvision_file(name)
    _load_strictly(model, read_state(path), path, f"torchvision's {name}")
    return GeMTrunk(_trunk(name, model, tf_padding)), file_sha256(path)


def is_published(name: str, sha256: str) -> bool:
    """Whether a file's sha256 begins as one of torchvision's weights of ``name`` does (their names tell)."""
    urls = (str(weights.url) for weights in torchvision.models.get_model_weights(name))
    return any(sha256.startswith(Path(url).stem.rpartition("-")[2]) for url in urls)


def random_network(name: str, seed: int, tf_padding: bool = False) -> tuple[nn.Module, str]:
    """``inception`` or a torchvision trunk with seeded random weights, and the sha256 of these."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "inception":
            net: nn.Module = inception.InceptionFeatures()
            net.apply(_keep_scale)
        else:
            net = GeMTrunk(_trunk(name, _classifier(name), tf_padding))
    return net, module_sha256(net)


def module_sha256(module: nn.Module) -> str:
    """sha256 over the names, shapes and bytes of a module's state: for networks that came without a file."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a .safetensors or a torch file, without unrestricted pickle."""
    absent = "no such weights file; give evaluation.weights the path of one that exists"
    state = read_weights_file(path, absent)
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    return state_dict(state, str(path))


def _load_strictly(net: nn.Module, state: Mapping[str, Tensor], path: Path, wanted: str) -> None:
    counters = {key for key in net.state_dict() if key.endswith("num_batches_tracked")}
    try:
        missing, unexpected = net.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WeightsError(f"{path}: not the weights of {wanted} ({reason})") from error
    missing = [key for key in missing if key not in counters]
    if missing or unexpected:
        example = (missing or unexpected)[0]
        raise WeightsError(
            f"{path}: not the weights of {wanted}: {len(missing)} tensors are missing and {len(unexpected)} unknown, "
            f"such as {example}; give the file of this network"
        )


def _inception_file() -> Path:
    from_variable = os.environ.get(INCEPTION_VARIABLE)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    path = Path(from_variable) if from_variable else cached
    if not path.is_file():
        raise WeightsError(
            f"the Inception weights are not at {path}: download {INCEPTION_URL} (sha256 {INCEPTION_SHA256}) to "
            f"{cached}, set {INCEPTION_VARIABLE} or evaluation.weights to its path, or choose another "
            "evaluation.extractor"
        )
    return path


def _torchvision_file(name: str) -> Path:
    url = str(torchvision.models.get_model_weights(name).DEFAULT.url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.redirect_stdout(None):
            expected = path.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of {name} cannot be downloaded ({error}): put {path.name} into {path.parent}, or set "
            "evaluation.weights to your file"
        ) from error
    return path


def _keep_scale(layer: nn.Module) -> None:
    """Torch's own initialisation would shrink the signal to nothing over the network's depth."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def check_classifier(name: str) -> None:
    """ConfigError with the nearest name where torchvision has no convolutional classifier of this one."""
    known = [
        model
        for model in torchvision.models.list_models(torchvision.models)
        if not model.startswith(_NOT_CONVOLUTIONAL)
    ]
    if name not in known:
        raise ConfigError(
            f"evaluation.extractor is {name!r}, expected inception, a convolutional torchvision classifier, "
            f"random-<either> or retrieval:MODEL@ALIAS{nearest(name, ['inception', *known])}"
        )


def _classifier(name: str) -> nn.Module:
    check_classifier(name)
    return cast(nn.Module, torchvision.models.get_model(name, weights=None))


def _trunk(name: str, model: nn.Module, tf_padding: bool) -> nn.Module:
    """The convolutions before the head; without the last pooling of VGG and AlexNet."""
    features = getattr(model, "features", None)
    if isinstance(features, nn.Sequential):
        trunk: nn.Module = features[:-1] if name.startswith(("vgg", "alexnet")) else features
    else:
        trunk = nn.Sequential(*_before_pooling(model))
    if tf_padding:
        _pad_as_tensorflow(trunk)
    return trunk


def _before_pooling(model: nn.Module) -> list[nn.Module]:
    layers = []
    for name, child in model.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d | nn.Linear) or name == "classifier":
            break
        layers.append(child)
    return layers


def _pad_as_tensorflow(trunk: nn.Module) -> None:
    """Strided convolutions padded as SAME does: the odd pixel right and bottom."""
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1:
            layer.padding = (0, 0)
            layer.register_forward_pre_hook(_same_padding)


def _same_padding(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - registered on these alone
    (x,) = inputs
    down, across = (
        max((-(-side // stride) - 1) * stride + kernel - side, 0)
        for side, stride, kernel in zip(x.shape[2:], layer.stride, layer.kernel_size, strict=True)
    )
    return (functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)),)
