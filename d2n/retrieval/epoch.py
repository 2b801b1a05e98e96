"""One epoch of fine-tuning: what it draws its tuples and its night from, and where it stands when it is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2n.config import RetrievalTrainingConfig
from d2n.errors import RetrievalError
from d2n.retrieval.mining import Numbers, draw_epoch, refuse_few_clusters


@dataclass
class Epoch:
    """An epoch under way: its tuples (Q, 2 + K) of image numbers, the steps done, and where its randomness is."""

    tuples: Numbers
    similarity: float
    generator: torch.Generator
    history: list[tuple[int, float]] = field(default_factory=list)  # (step, mean loss a tuple)
    num_nights: int = 0  # images that the night augmentation changed

    def state(self, rng: Tensor) -> dict[str, Any]:
        """Tensors and plain values; ``rng``: of the global generators."""
        return {
            "tuples": torch.from_numpy(self.tuples.copy()),
            "similarity": self.similarity,
            "generator": self.generator.get_state(),
            "rng": rng,
            "history": [list(one) for one in self.history],
            "num_nights": self.num_nights,
        }

    @staticmethod
    def from_state(state: dict[str, Any]) -> Epoch:
        """What state gave."""
        generator = torch.Generator()
        generator.set_state(state["generator"])
        history = [(int(step), float(loss)) for step, loss in state["history"]]
        nights = int(state.get("num_nights", 0))  # absent before they were counted
        return Epoch(state["tuples"].numpy(), float(state["similarity"]), generator, history, nights)


def randomness(seed: int, epoch: int) -> tuple[np.random.Generator, torch.Generator]:
    """What an epoch draws its tuples and its night from."""
    rng = np.random.default_rng([seed, epoch])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


def refuse_small_pools(
    clusters: Sequence[int], query_idx: Sequence[int], config: RetrievalTrainingConfig, seed: int = 0
) -> None:
    """RetrievalError where an epoch's pool, as the seed draws it, has too few clusters to take the negatives from."""
    numbers, queries = np.asarray(clusters, dtype=np.int64), np.asarray(query_idx, dtype=np.int64)
    whole = config.pool_size >= len(numbers)  # then every epoch's pool is the same
    for epoch in range(min(config.n_epochs, 1) if whole else config.n_epochs):
        rng, _ = randomness(seed, epoch)
        drawn, pool = draw_epoch(len(queries), len(numbers), config.num_queries, config.pool_size, rng)
        own, names = numbers[queries[drawn]], np.unique(numbers[pool])
        refuse_few_clusters(names, own, config.num_negatives, len(pool))


def refuse_misfits(num_images: int, clusters: Numbers, pairs: Numbers) -> None:
    """RetrievalError for clusters or pairs that do not fit the images."""
    if len(clusters) != num_images:
        raise RetrievalError(f"{len(clusters)} clusters for {num_images} images, expected one for each")
    if not len(pairs):
        raise RetrievalError(
            "no matching pairs to train on; prepare a data set with scenes of two images or more"
        )
    if pairs.min() < 0 or pairs.max() >= num_images:
        raise RetrievalError(f"pairs point at images {pairs.min()} to {pairs.max()}, there are {num_images}")


def rng_state(device: torch.device) -> Tensor:
    """The generator's state that layers on this device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_rng_state(state: Tensor, device: torch.device) -> None:
    """Give the device's generator a state, unless it was begun on another kind of device."""
    if device.type == "cuda" and len(state) == len(torch.cuda.get_rng_state(device)):
        torch.cuda.set_rng_state(state, device)
    elif device.type != "cuda" and len(state) == len(torch.get_rng_state()):
        torch.set_rng_state(state)
    # else: begun on another kind of device, whose generators draw other numbers
