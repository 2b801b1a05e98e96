"""Generalised-mean pooling (Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
