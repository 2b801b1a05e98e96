"""Means of losses over steps, kept on the device: nothing waits until they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from d2n.translators.distributed import mean_over_processes


class LossMeter:
    """Running sums; part of a translator's state, so that an epoch's mean survives an interruption."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None  # (len(names),) float64
        self.count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        self.names = tuple(losses)
        self.sums = values if self.sums is None else self.sums + values
        self.count += 1

    def mean_and_reset(self) -> dict[str, float]:
        """The means since the last call; empty when nothing was added. Waits for the device."""
        if self.sums is None:
            return {}
        means = mean_over_processes(self.sums / self.count).tolist()
        self.sums, self.count = None, 0
        return dict(zip(self.names, means, strict=True))

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names), "sums": self.sums, "count": self.count}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.names, self.count = tuple(state["names"]), int(state["count"])
        self.sums = None if state["sums"] is None else state["sums"].to(device)
