"""Spectral normalisation of a discriminator's convolutions (Miyato et al. 2018)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

_FIRST_ITERATIONS = 15  # so that the first step has a good estimate


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value, as a matrix of (C', C h w), estimated by power iteration.

    Each forward pass in training mode iterates once (the paper's algorithm 1); the estimate's vector u is a buffer,
    part of the state. In at least float32, whatever autocast says.
    """

    def __init__(self, weight: Tensor, generator: torch.Generator | None = None) -> None:
        super().__init__()
        u = torch.empty(len(weight)).normal_(generator=generator).to(weight)
        self.register_buffer("u", F.normalize(u, dim=0))
        for _ in range(_FIRST_ITERATIONS):
            self._iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                self._iterate(weight)
            matrix, u = (
                weight.flatten(1),
                cast(Tensor, self.u).clone(),
            )  # the buffer moves before the backward pass
            with torch.no_grad():
                v = F.normalize(matrix.T @ u, dim=0)
            return weight / torch.dot(u, matrix @ v)

    @torch.no_grad()
    def _iterate(self, weight: Tensor) -> None:
        matrix, u = weight.flatten(1), cast(Tensor, self.u)
        v = F.normalize(matrix.T @ u, dim=0)
        u.copy_(F.normalize(matrix @ v, dim=0))


def add_spectral_norm(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Put it on the weight of every convolution inside, its first vectors drawn from ``generator``; in place."""
    for part in list(module.modules()):
        if isinstance(part, nn.Conv2d):
            parametrize.register_parametrization(
                part, "weight", SpectralNorm(part.weight, generator), unsafe=True
            )
