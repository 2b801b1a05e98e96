"""The photometric normalisation network: a U-Net that gives every image the light of a day photograph.

Jenicek and Chum, 2019, "No Fear of the Dark: Image Retrieval under Varying Illumination Conditions", section 4. The
U-Net is that of pix2pix with batch norm, as mdir writes it (``outerblock``, each level in the one above), and works on
RGB in [-1, 1]. Sides are replicated to a multiple of its stride, as mdir does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from d2n.backbones.mdir_unet import MdirUNet
from d2n.backbones.weights import read_weights_file, state_dict
from d2n.errors import WeightsError
from d2n.retrieval.published import inner

_MOST_LEVELS = 10


class PhotometricNetwork(MdirUNet):
    """RGB (B, 3, H, W) in [0, 1] to the same, of any size."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        down, across = -height % self.stride, -width % self.stride
        pads = (across // 2, across - across // 2, down // 2, down - down // 2)
        lit = super().forward(functional.pad(2 * images - 1, pads, mode="replicate"))
        lit = lit[..., pads[2] : pads[2] + height, pads[0] : pads[0] + width]
        return (lit.float() + 1) / 2

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


def read_photometric(path: str | Path) -> PhotometricNetwork:
    """The network of a published file (``model_state``, alone or below ``net``), or of its bare tensors.

    WeightsError where it is another network: it names the first tensor that differs.
    """
    absent = "no such photometric network; name mdir's file in network.light_weights"
    content = inner(read_weights_file(path, absent))
    if isinstance(content, Mapping) and "network_hierarchy" in content:
        raise WeightsError(f"{path}: a chain of networks, expected the photometric one alone")
    state = content.get("model_state", content) if isinstance(content, Mapping) else content
    tensors = {key.removeprefix("module."): value for key, value in state_dict(state, str(path)).items()}
    return with_tensors(tensors, str(path))


def with_tensors(tensors: Mapping[str, Tensor], source: str) -> PhotometricNetwork:
    """The network that these tensors are of."""
    levels, prefix = 0, "outerblock.2.nested."
    while f"{prefix}0.weight" in tensors and levels < _MOST_LEVELS:
        levels += 1
        below = next((i for i in (2, 3) if f"{prefix}{i}.nested.0.weight" in tensors), None)
        prefix = f"{prefix}{below}.nested."
    if not levels:
        raise WeightsError(
            f"{source}: no photometric network, expected tensors outerblock.2.nested.0.weight and so on"
        )
    with torch.device("meta"):
        expected = _untrained(levels, tensors).state_dict()
    given = {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}
    wanted = {key: value for key, value in expected.items() if not key.endswith("num_batches_tracked")}
    wrong = sorted(given.keys() ^ wanted.keys()) or [
        key for key, value in wanted.items() if value.shape != given[key].shape
    ]
    if wrong:
        raise WeightsError(
            f"{source}: not the photometric network of mdir ({len(wrong)} tensors differ, first {wrong[0][:80]})"
        )
    network = _untrained(levels, tensors)
    network.load_state_dict(dict(given), strict=False)
    return network.eval()


def _untrained(levels: int, tensors: Mapping[str, Tensor]) -> PhotometricNetwork:
    channels = len(tensors["outerblock.0.weight"]) if "outerblock.0.weight" in tensors else 64
    has_norm = any(key.endswith("running_mean") for key in tensors)
    return PhotometricNetwork(levels + 1, channels, nn.BatchNorm2d if has_norm else None)
