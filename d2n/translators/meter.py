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
        self.counts: tuple[int, ...] = ()  # how often each was added: some losses are of some steps alone
        self.count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        if self.sums is None:
            self.names, self.sums, self.counts = tuple(losses), values, (1,) * len(losses)
        elif self.names == tuple(losses):
            self.sums, self.counts = self.sums + values, tuple(n + 1 for n in self.counts)
        else:
            self._add_some(dict(zip(losses, values, strict=True)))
        self.count += 1

    def _add_some(self, values: Mapping[str, Tensor]) -> None:
        """Losses of other names than those of the steps before."""
        sums = {} if self.sums is None else dict(zip(self.names, self.sums, strict=True))
        counts = dict(zip(self.names, self.counts, strict=True))
        for name, value in values.items():
            sums[name] = sums.get(name, 0) + value
            counts[name] = counts.get(name, 0) + 1
        self.names, self.counts = tuple(sums), tuple(counts.values())
        self.sums = torch.stack([torch.as_tensor(one) for one in sums.values()])

    def mean_and_reset(self) -> dict[str, float]:
        """The means since the last call; empty when nothing was added. Waits for the device."""
        if self.sums is None:
            return {}
        counts = torch.tensor(self.counts, dtype=self.sums.dtype, device=self.sums.device)
        means = mean_over_processes(self.sums / counts).tolist()
        self.sums, self.counts, self.count = None, (), 0
        return dict(zip(self.names, means, strict=True))

    def state(self) -> dict[str, Any]:
        return {
            "names": list(self.names),
            "sums": self.sums,
            "count": self.count,
            "counts": list(self.counts),
        }

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.names, self.count = tuple(state["names"]), int(state["count"])
        self.sums = None if state["sums"] is None else state["sums"].to(device)
        known = [self.count] * len(self.names) if self.sums is not None else []  # of earlier releases
        self.counts = tuple(state.get("counts", known))
