"""How an image's light is evened out before the network sees it, by day as by night.

Jenicek and Chum, 2019, "No Fear of the Dark: Image Retrieval under Varying Illumination Conditions": CLAHE and gamma
are its baselines, the photometric network its own. Each is a module of RGB (B, 3, H, W) in [0, 1] to the same, applied
once before all scales.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from d2n.config import NetworkConfig
from d2n.errors import ConfigError
from d2n.retrieval.photometric import clahe, lab_from_rgb, rgb_from_lab
from d2n.retrieval.photometric_network import PhotometricNetwork, read_photometric, with_tensors

PREFIX = "light."  # of its tensors in a retrieval network's state
_SMALLEST_GAMMA, _LARGEST_GAMMA, _HALVINGS = 0.1, 10.0, 30


class Clahe(nn.Module):
    """Contrast-limited adaptive histogram equalisation of the lightness (photometric.clahe)."""

    def __init__(self, clip_limit: float = 1.0, grid: int = 8) -> None:
        super().__init__()
        self.clip_limit, self.grid = clip_limit, grid

    def forward(self, images: Tensor) -> Tensor:
        return clahe(images, self.clip_limit, self.grid)

    def extra_repr(self) -> str:
        return f"clip_limit={self.clip_limit}, grid={self.grid}"


class Gamma(nn.Module):
    """Lightness to the power that gives it the mean ``target``, in [0.1, 10]; an even black or white one stays."""

    def __init__(self, target: float = 0.5) -> None:
        super().__init__()
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        lab = lab_from_rgb(images)
        lightness = (lab[:, :1] / 100).clamp(0, 1)
        low = images.new_full((len(images), 1, 1, 1), _SMALLEST_GAMMA).log()
        high = images.new_full((len(images), 1, 1, 1), _LARGEST_GAMMA).log()
        for _ in range(_HALVINGS):  # the mean falls as the power grows
            middle = (low + high) / 2
            is_light = lightness.pow(middle.exp()).mean(dim=(1, 2, 3), keepdim=True) > self.target
            low, high = torch.where(is_light, middle, low), torch.where(is_light, high, middle)
        evened = lightness.pow(((low + high) / 2).exp()) * 100
        return rgb_from_lab(torch.cat([evened, lab[:, 1:]], dim=1))

    def extra_repr(self) -> str:
        return f"target={self.target}"


def build(config: NetworkConfig, tensors: Mapping[str, Tensor] | None = None) -> nn.Module | None:
    """The module that the knobs ask for; None: images enter as they are.

    ``tensors`` of a whole network's file hold the photometric one's too; a file that the knobs name goes before it.
    """
    if config.light == "clahe":
        return Clahe(config.clahe_clip_limit, config.clahe_grid)
    if config.light == "gamma":
        return Gamma(config.gamma_target)
    if config.light == "photometric":
        return _photometric(config, tensors or {}).requires_grad_(False)
    return None


def told(module: nn.Module) -> str:
    """What it is, in a line; the weights of one that has some are not in it."""
    return f"{type(module).__name__}({module.extra_repr()})"


def state_of(module: nn.Module | None) -> dict[str, Tensor]:
    """Its tensors under the names that they have in a whole network."""
    return {} if module is None else {f"{PREFIX}{key}": value for key, value in module.state_dict().items()}


def _photometric(config: NetworkConfig, tensors: Mapping[str, Tensor]) -> PhotometricNetwork:
    if config.light_weights is not None:
        return read_photometric(config.light_weights)
    own = {key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)}
    if not own:
        raise ConfigError(
            "network.light is photometric, and network.light_weights names no file of its network"
        )
    return with_tensors(own, str(config.weights))
