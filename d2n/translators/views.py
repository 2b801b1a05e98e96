"""ToDayGAN's discriminator (Anoosheh et al. 2019): three PatchGANs, each on one view of an image.

The views leave out what a day and a night need not share in detail: blurred colour has no texture, luminance no
colour, gradients no brightness.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2n.config import TranslatorConfig
from d2n.errors import ShapeError
from d2n.translators.losses import luminance
from d2n.translators.networks import init_weights
from d2n.translators.norms import Norm, make_norm
from d2n.translators.spectral import add_spectral_norm

VIEWS = ("colour", "luminance", "gradient")
_BLUR_PX, _BLUR_SIGMA, _BLUR_REACH = 5, 3, 12


class ViewsDiscriminator(nn.Module):
    """Judges of colour, luminance and gradients. 16,698,201 parameters as published: 64 channels, 4 layers.

    forward: (B, 3, H, W) in [-1, 1] to the logits of each view, one (B, 1, h, w) for each depth that judges, from
    fine to coarse. Sides of 8 px and more.
    """

    smallest_side = 8

    def __init__(self, base_channels: int = 64, layers: int = 4, norm: Norm = "instance") -> None:
        super().__init__()
        self.register_buffer("blur", _blur_line(), persistent=False)
        self.colour = _DeepPatches(3, base_channels, layers, norm)
        self.luminance = _DeepPatches(1, base_channels, layers, norm)
        self.gradient = _DeepPatches(2, base_channels, layers - 1, norm)

    def forward(self, images: Tensor) -> dict[str, list[Tensor]]:
        if min(images.shape[-2:]) < self.smallest_side:
            raise ShapeError(
                f"ToDayGAN's discriminator: image of {images.shape[-2]} x {images.shape[-1]} pixels, expected at "
                f"least {self.smallest_side} a side; use larger crops (dataset.image_size_px)"
            )
        seen = views(images, cast(Tensor, self.blur))
        return {view: getattr(self, view)(seen[view]) for view in VIEWS}


class _DeepPatches(nn.Module):
    """PatchGAN that judges behind each strided layer but the first too: the last channel there is the logit."""

    def __init__(self, c_in: int, c: int, layers: int, norm: Norm) -> None:
        super().__init__()
        widths = [c * min(2**level, 8) for level in range(layers + 1)]
        bias = norm == "instance"
        self.first = nn.Sequential(nn.Conv2d(c_in, c, 4, stride=2, padding=2), nn.PReLU())
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, wider + 1, 4, stride=2, padding=2, bias=bias),
                make_norm(norm, wider + 1),
                nn.PReLU(),
            )
            for width, wider in itertools.pairwise(widths[:layers])
        )
        self.last = nn.Sequential(
            nn.Conv2d(widths[max(layers - 1, 0)], widths[layers], 4, padding=2, bias=bias),
            make_norm(norm, widths[layers]),
            nn.PReLU(),
            nn.Conv2d(widths[layers], 1, 4, padding=2),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        hidden, logits = self.first(x), []
        for level in self.levels:
            found = level(hidden)
            hidden, logit = found[:, :-1], found[:, -1:]
            logits.append(logit)
        return [*logits, self.last(hidden)]


def views(images: Tensor, blur: Tensor) -> dict[str, Tensor]:
    """What each discriminator sees: colour (B, 3, H, W), luminance (B, 1, H, W), gradient (B, 2, h, w).

    Colour is blurred by the outer product of ``blur`` with itself, zeros beyond the border; gradients are the
    differences of next but one neighbours, across and down, of every second pixel's luminance.
    """
    kernel = torch.outer(blur, blur).to(images.dtype).expand(3, 1, -1, -1)
    colour = F.conv2d(images, kernel, padding=len(blur) // 2, groups=3)
    grey = luminance(images)
    every_second = grey[..., ::2, ::2]
    across = every_second[..., 1:-1, 2:] - every_second[..., 1:-1, :-2]
    down = every_second[..., 2:, 1:-1] - every_second[..., :-2, 1:-1]
    return {"colour": colour, "luminance": grey, "gradient": torch.cat([across, down], dim=1)}


def depth_shares(count: int) -> list[float]:
    """The weight of each of ``count`` depths: 1, 2, ..., count + 1 over their sum, and over ``count``, as published."""
    weights = [*range(1, count), count + 1]
    return [weight / (sum(weights) * count) for weight in weights]


def over_depths(values: Sequence[Tensor]) -> Tensor:
    """The losses of a view's depths, from fine to coarse, as one."""
    return torch.stack([s * v for s, v in zip(depth_shares(len(values)), values, strict=True)]).sum()


def views_from_config(
    config: TranslatorConfig, in_channels: int = 3, random: torch.Generator | None = None
) -> ViewsDiscriminator:
    """A discriminator with fresh weights drawn from ``random``."""
    if in_channels != 3:
        raise ShapeError(f"ToDayGAN's discriminator: {in_channels} channels, expected 3")
    with torch.random.fork_rng(devices=[]):
        judge = ViewsDiscriminator(
            config.discriminator_channels, config.discriminator_layers, config.discriminator_norm
        )
    init_weights(judge, config.init_gain, random)
    if config.spectral_norm:
        add_spectral_norm(judge, random)
    return judge


def _blur_line() -> Tensor:
    """(5,) a Gaussian of deviation 3 cut at 12 px, what lies beyond 5 px folded back at the border."""
    offsets = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1)
    weights = torch.exp(-offsets.double().square() / (2 * _BLUR_SIGMA**2))
    at = torch.remainder(offsets + _BLUR_PX // 2, 2 * _BLUR_PX)
    at = torch.minimum(at, 2 * _BLUR_PX - 1 - at)
    line = torch.zeros(_BLUR_PX, dtype=torch.float64).index_add(0, at, weights / weights.sum())
    return line.to(torch.get_default_dtype())
