"""Networks of the extractors: the Inception of 2015, and torchvision's convolutions, GeM-pooled with p = 3."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from d2n.backbones import BACKBONES, classifiers, published
from d2n.backbones.pooling import gem
from d2n.backbones.row import Backbone, Classifier
from d2n.backbones.trunks import pad_as_tensorflow
from d2n.backbones.weights import read_weights_file, state_dict
from d2n.config import nearest
from d2n.errors import ConfigError, WeightsError
from d2n.files.reading import file_sha256
from d2n.scores import inception

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"
INCEPTION_VARIABLE = "D2N_INCEPTION_WEIGHTS"  # environment variable with the file's path

_GEM_P = 3.0


class GeMTrunk(nn.Module):
    """Normalised (B, 3, H, W) to (B, C): the trunk, then the generalised mean with p = 3."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        return gem(self.trunk(x), _GEM_P)


def build_inception(weights: str | Path | None) -> tuple[inception.InceptionFeatures, str]:
    """The network with the published weights or a given file's, and the file's sha256."""
    path = Path(weights) if weights is not None else _inception_file()
    net = inception.InceptionFeatures()
    _load_strictly(net, read_state(path), path, "the Inception network of 2015")
    return net, file_sha256(path)


def build_trunk(name: str, weights: str | Path | None, tf_padding: bool = False) -> tuple[GeMTrunk, str]:
    """A torchvision trunk with torchvision's weights or a local file's, and the file's sha256."""
    classifier = _classifier(name)
    model = classifier.build()
    path = Path(weights) if weights is not None else _published_file(name)
    _load_strictly(model, read_state(path), path, f"torchvision's {name}")
    return GeMTrunk(_trunk(classifier, model, tf_padding)), file_sha256(path)


def is_published(name: str, sha256: str) -> bool:
    """Whether a file is the Inception of 2015, or begins in its sha256 as torchvision's weights of ``name`` do."""
    if name == "inception":
        return sha256 == INCEPTION_SHA256
    return published.is_published(_row(name), sha256)


def random_network(name: str, seed: int, tf_padding: bool = False) -> tuple[nn.Module, str]:
    """``inception`` or a torchvision trunk with seeded random weights, and the sha256 of these."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "inception":
            net: nn.Module = inception.InceptionFeatures()
            net.apply(_keep_scale)
        else:
            classifier = _classifier(name)
            net = GeMTrunk(_trunk(classifier, classifier.build(), tf_padding))
    return net, module_sha256(net)


def module_sha256(module: nn.Module) -> str:
    """sha256 over the names, shapes and bytes of a module's state: for networks that came without a file."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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


def _published_file(name: str) -> Path:
    return published.cached_file(_row(name), otherwise="set evaluation.weights to your file")


def _keep_scale(layer: nn.Module) -> None:
    """Torch's own initialisation would shrink the signal to nothing over the network's depth."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def check_classifier(name: str) -> None:
    """ConfigError with the nearest name where torchvision has no convolutional classifier of this one."""
    known = [*classifiers.names(), *(row.name for row in BACKBONES.values() if row.classifier is not None)]
    if name not in known:
        raise ConfigError(
            f"evaluation.extractor is {name!r}, expected inception, a torchvision classifier, dinov2_vits14 and its "
            f"like, random-<either> or retrieval:MODEL@ALIAS{nearest(name, ['inception', *known])}"
        )


def _classifier(name: str) -> Classifier:
    check_classifier(name)
    found = _row(name).classifier
    if found is None:
        raise ConfigError(f"evaluation.extractor is {name!r}, which has no weights of its own")
    return found


def _row(name: str) -> Backbone:
    return BACKBONES[name] if name in BACKBONES else classifiers.row(name)


def _trunk(classifier: Classifier, model: nn.Module, tf_padding: bool) -> nn.Module:
    """The convolutions before the head; without the last pooling of VGG and AlexNet."""
    trunk = classifier.convolutions(model)
    if tf_padding:
        pad_as_tensorflow(trunk)
    return trunk
