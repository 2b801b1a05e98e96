"""Scene classification, from which a network without ImageNet weights starts its contrastive fine-tuning."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from d2n.config import PretrainingConfig
from d2n.core import EpochResult
from d2n.devices import taken_for_training
from d2n.errors import RetrievalError, TrainingError
from d2n.retrieval.images import ImageStore, Pixels, batches_by_size, to_tensor
from d2n.retrieval.network import RetrievalNetwork, l2n

_COSINE_SCALE = 16.0


def pretrain(
    network: RetrievalNetwork,
    images: NDArray[np.uint8] | ImageStore,
    labels: ArrayLike,
    config: PretrainingConfig,
    *,
    seed: int = 0,
    state: dict[str, Any] | None = None,
) -> Pretraining:
    """Train the network, on its device, to tell scenes apart; yields one EpochResult an epoch.

    images: (N, S, S, 3) uint8, or a store of them; labels: the scene of each. state, as
    Pretraining.state gave it after an epoch, goes on from there. Raises RetrievalError with
    fewer than two scenes.
    """
    return Pretraining(network, images, np.asarray(labels), config, seed=seed, state=state)


class Pretraining(Iterator[EpochResult]):
    """An iterator over the remaining epochs; state() after each is what a resumed run needs."""

    def __init__(
        self,
        network: RetrievalNetwork,
        images: ImageStore | NDArray[np.uint8],
        labels: NDArray[Any],
        config: PretrainingConfig,
        *,
        seed: int,
        state: dict[str, Any] | None,
    ) -> None:
        if len(labels) != len(images):
            raise RetrievalError(f"{len(labels)} labels for {len(images)} images, expected one for each")
        scenes, self.labels = np.unique(labels, return_inverse=True)
        if len(scenes) < 2:
            raise RetrievalError(f"pretraining found {len(scenes)} scenes, expected at least 2 to tell apart")
        self.network, self.device = network, taken_for_training(network.mean.device)
        self.network.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
        self.images, self.config, self.seed = images, config, seed
        self.scenes = nn.Parameter(_scene_vectors(self.network, len(scenes), seed).to(self.device))
        parameters = [*self.network.parameters(), self.scenes]
        self.optimizer = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=0.01, foreach=True)
        self.epoch = 0
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.scenes.data.copy_(state["scenes"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch = int(state["epoch"])

    def state(self) -> dict[str, Any]:
        """epoch (done so far), network, scenes (the classifier) and optimizer: tensors and plain values."""
        return {
            "epoch": self.epoch,
            "network": {key: value.detach().clone() for key, value in self.network.state_dict().items()},
            "scenes": self.scenes.detach().clone(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
        }

    def __next__(self) -> EpochResult:
        if self.epoch >= self.config.n_epochs:
            raise StopIteration
        started = time.perf_counter()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.images))
        size = self.config.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        self.network.train_batch_norm = True
        self.network.train()
        done = np.array([self._step(b, self.epoch + i / len(batches)) for i, b in enumerate(batches)])
        self.network.train_batch_norm = False
        self.network.eval()
        self.epoch += 1
        seconds = time.perf_counter() - started
        loss, correct = done.sum(axis=0) / len(order)
        return EpochResult(
            epoch=self.epoch,
            step=self.epoch * len(batches),
            losses={"cross_entropy": float(loss), "accuracy": float(correct)},
            images_per_s=len(order) / seconds,
            seconds=seconds,
        )

    def _step(self, numbers: NDArray[np.int64], epochs_done: float) -> tuple[float, int]:
        """One optimiser step; the summed loss and the number of images told right."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * 0.5 * (1 + math.cos(math.pi * epochs_done / self.config.n_epochs))
        self.optimizer.zero_grad(set_to_none=True)
        images = self._pixels(numbers)
        total, correct = 0.0, 0
        for positions in batches_by_size(images, len(images)):
            logits = self._logits(to_tensor([images[p] for p in positions], self.device))
            scenes = torch.from_numpy(self.labels[numbers[positions]]).to(self.device)
            loss = functional.cross_entropy(logits, scenes, reduction="sum")
            (loss / len(numbers)).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            total += float(loss.detach())
            correct += int((logits.argmax(dim=1) == scenes).sum())
        if not math.isfinite(total):
            raise TrainingError(
                f"pretraining epoch {self.epoch + 1}: the cross-entropy is {total}; lower pretraining.lr"
            )
        self.optimizer.step()
        return total, correct

    def _logits(self, images: Tensor) -> Tensor:
        """Scaled cosine to each scene's weight vector: trains the angles that retrieval compares."""
        return _COSINE_SCALE * functional.linear(self.network(images), l2n(self.scenes))

    def _pixels(self, numbers: NDArray[np.int64]) -> list[Pixels]:
        if isinstance(self.images, ImageStore):
            return self.images.many(numbers)
        return list(self.images[numbers])


def _scene_vectors(network: RetrievalNetwork, num_scenes: int, seed: int) -> Tensor:
    """(scenes, D) random vectors, one a scene."""
    with torch.no_grad():
        dim = network.eval()(torch.zeros(1, 3, 96, 96, device=network.mean.device)).shape[1]
    return torch.randn(num_scenes, dim, generator=torch.Generator().manual_seed(seed))
