"""The mean of a network's weights over the last epochs of a training (Izmailov et al., 2018): less noise over seeds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Average:
    """Sums the weights after each of the last ``last`` epochs of ``n_epochs``; then the network gets their mean.

    Buffers (batch norm stays as it was pretrained) are the last epoch's.
    """

    def __init__(self, n_epochs: int, last: int) -> None:
        self.n_epochs, self.last = n_epochs, min(last, n_epochs)
        self._count, self._sums = 0, dict[str, Tensor]()

    @torch.no_grad()
    def after(self, epoch: int, network: torch.nn.Module) -> None:
        """An epoch has ended (1 is the first); after the last one the network gets the mean."""
        if self.last < 2 or epoch <= self.n_epochs - self.last:
            return
        for name, weights in _learned(network):
            known, now = self._sums.get(name), weights.detach().double()
            self._sums[name] = now.clone() if known is None else known.to(now.device) + now
        self._count += 1
        if epoch == self.n_epochs:
            for name, weights in _learned(network):
                weights.copy_(self._sums[name] / self._count)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {"count": self._count, "sums": {name: value.clone() for name, value in self._sums.items()}}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """What state gave; None: a checkpoint from before there were averages."""
        if state is not None:
            self._count, self._sums = int(state["count"]), dict(state["sums"])


def _learned(network: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, weights) for name, weights in network.named_parameters() if weights.requires_grad]
