"""From a trunk's maps to one vector: GeM (Radenović et al., TPAMI 2019) and others of its place."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_OVERLAP, _STEPS = 0.4, (2, 3, 4, 5, 6, 7)  # R-MAC: of neighbours, and regions along the longer side


def gem(x: Tensor, p: Tensor | float, eps: float = 1e-6, root: Tensor | float | None = None) -> Tensor:
    """(B, C, H, W) to (B, C): the mean over H and W of clamp(x, eps)^p, to the 1/p.

    ``root``: where p is broadcast over maps, the same p over (B, C).
    """
    means = x.clamp(min=eps).pow(p).mean(dim=(-2, -1))
    return means.pow(1 / (p if root is None else root))


class GeM(nn.Module):
    """Generalised-mean pooling: mean over H and W of clamp(x, eps)^p, to the 1/p. (B, C, H, W) to (B, C).

    p is learned: one for all channels, or one a channel when channels is given. p = 1 is the mean,
    p -> inf the maximum. Computed in at least float32.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6, channels: int | None = None) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((channels or 1,), float(p)))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.float()
        return gem(x, self.p[:, None, None], self.eps, root=self.p)  # p: (C or 1, 1, 1)


class Plain(nn.Module):
    """A pooling without an exponent to learn: several scales are averaged as they are, with p = 1."""

    p: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("p", torch.ones(1))


class Mac(Plain):
    """Maximum activations of convolutions (Tolias et al., ICLR 2016): the maximum over H and W."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().amax(dim=(-2, -1))


class Spoc(Plain):
    """Sum-pooled convolutions (Babenko and Lempitsky, ICCV 2015): the mean over H and W."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean(dim=(-2, -1))


class RMac(Plain):
    """Regional maxima (Tolias et al., ICLR 2016): the normalised maxima of squares at several scales, summed."""

    def __init__(self, levels: int = 3, eps: float = 1e-6) -> None:
        super().__init__()
        self.levels, self.eps = levels, eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        total = self._region(x)
        for top, left, side in regions(x.shape[-2], x.shape[-1], self.levels):
            total = total + self._region(x[..., top : top + side, left : left + side])
        return total

    def _region(self, x: Tensor) -> Tensor:
        found = x.amax(dim=(-2, -1))
        norms: Tensor = torch.linalg.vector_norm(found, dim=1, keepdim=True)
        return found / (norms + self.eps)


def regions(height: int, width: int, levels: int) -> list[tuple[int, int, int]]:
    """(top, left, side) of R-MAC's squares: at each level as many as overlap by about 40 % along the longer side."""
    shorter, longer = min(height, width), max(height, width)
    overlaps = [(shorter**2 - shorter * (longer - shorter) / (steps - 1)) / shorter**2 for steps in _STEPS]
    more = min(range(len(_STEPS)), key=lambda i: (abs(overlaps[i] - _OVERLAP), i)) + 1
    found = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        if side:
            tops = _corners(height, side, level + (more if height > width else 0))
            lefts = _corners(width, side, level + (more if width > height else 0))
            found += [(top, left, side) for top in tops for left in lefts]
    return found


def _corners(length: int, side: int, count: int) -> list[int]:
    step = (length - side) / (count - 1) if count > 1 else 0.0
    half = side // 2 - 1
    return [math.floor(half + i * step) - half for i in range(count)]


class MixVPR(Plain):
    """Feature mixing for place recognition (Ali-bey et al., WACV 2023): each channel's map, mixed by residual MLPs.

    Maps of another size than it is built for are brought to it, bilinearly. (B, C, H, W) to (B, rows * outputs).
    """

    def __init__(
        self, channels: int, side: int = 20, depth: int = 4, outputs: int = 1024, rows: int = 4
    ) -> None:
        super().__init__()
        self.side = side
        self.mix = nn.Sequential(*(FeatureMixer(side * side) for _ in range(depth)))
        self.channel_proj = nn.Linear(channels, outputs)
        self.row_proj = nn.Linear(side * side, rows)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if x.shape[-2:] != (self.side, self.side):
            x = functional.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False)
        mixed: Tensor = self.mix(x.flatten(2))  # (B, C, H * W)
        projected: Tensor = self.channel_proj(mixed.permute(0, 2, 1)).permute(0, 2, 1)  # (B, outputs, H * W)
        rows: Tensor = self.row_proj(projected)
        return functional.normalize(rows.flatten(1), dim=-1)


class FeatureMixer(nn.Module):
    """A layer of MixVPR: (B, C, N) plus an MLP along N."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
        for layer in self.mix:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x)
        return x + mixed
