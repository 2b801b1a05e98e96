"""Early stop: the weights of the best validation so far, and how many validations came since without a better one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class Best:
    """With ``patience`` validations without a better value a training is to end; 0: never, and nothing is kept."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.value, self.epoch, self.since = -math.inf, 0, 0
        self._weights: dict[str, Tensor] = {}

    @property
    def is_out(self) -> bool:
        """Whether patience is at its end."""
        return bool(self.patience) and self.since >= self.patience

    def told(self, value: float, epoch: int, network: torch.nn.Module) -> None:
        """A validation after that epoch; more is better, an equal value or NaN is no better one."""
        if not self.patience:
            return
        if value > self.value:
            self.value, self.epoch, self.since = value, epoch, 0
            self._weights = {key: one.detach().clone() for key, one in network.state_dict().items()}
        else:
            self.since += 1

    def give(self, network: torch.nn.Module) -> None:
        """The network gets the best weights, where there are some."""
        if self._weights:
            network.load_state_dict(self._weights)

    def state(self) -> dict[str, Any] | None:
        """Tensors and plain values; None where nothing is kept."""
        if not self._weights:
            return None
        kept = {key: one.clone() for key, one in self._weights.items()}
        return {"value": self.value, "epoch": self.epoch, "since": self.since, "weights": kept}

    def load_state(self, state: dict[str, Any] | None) -> None:
        """What state gave; None: a checkpoint from before the first validation."""
        if state is not None:
            self.value, self.epoch = float(state["value"]), int(state["epoch"])
            self.since, self._weights = int(state["since"]), dict(state["weights"])
