"""Training of the retrieval network: scene classification for a start, contrastive fine-tuning, epoch by epoch.

Pretraining is an iterator of epochs, fine-tuning of steps. Each epoch's randomness is a function of (seed, epoch)
alone, and a state taken inside an epoch carries its generators, so that a loop given the state of an earlier one goes
on to the same bits.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2n.config import RetrievalTrainingConfig
from d2n.core import EpochResult, StepResult
from d2n.devices import autocast, taken_for_training
from d2n.errors import TrainingError
from d2n.retrieval.average import Average
from d2n.retrieval.best import Best
from d2n.retrieval.epoch import (
    Epoch,
    randomness,
    refuse_misfits,
    rng_state,
    set_rng_state,
)
from d2n.retrieval.images import ImageStore, LoadImage, Pixels, batches_by_size, embed, to_tensor
from d2n.retrieval.losses import (
    NEGATIVE,
    POSITIVE,
    QUERY,
    tuple_contrastive_loss,
    tuple_multi_similarity_loss,
)
from d2n.retrieval.mining import Numbers, diverse_anchors, draw_epoch, mine_negatives
from d2n.retrieval.network import RetrievalNetwork
from d2n.retrieval.night import image_name
from d2n.retrieval.optimiser import adam, set_lr
from d2n.retrieval.pretraining import Pretraining as Pretraining
from d2n.retrieval.pretraining import pretrain as pretrain

logger = logging.getLogger(__name__)

_STEP_PX = (
    1 << 20
)  # pixels in one backward pass: one tuple of seven 362 px images, five of 64 px ones and more
_MINING_BATCH = 64


class Night(Protocol):
    """What NightAugmentation does: (B, 3, H, W) in [0, 1], labels (B,), names -> the same shape and range."""

    def __call__(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class TrainingImages:
    """Images by scene, and which of them match: pair i is paths[query_idx[i]] with paths[positive_idx[i]]."""

    paths: Sequence[Path]
    clusters: Sequence[int]  # one scene number an image
    query_idx: Sequence[int]
    positive_idx: Sequence[int]
    load_image: LoadImage


def finetune(
    network: RetrievalNetwork,
    images: TrainingImages,
    config: RetrievalTrainingConfig,
    *,
    night: Night | None = None,
    mine_through: bool = False,
    seed: int = 0,
    state: dict[str, Any] | None = None,
) -> FineTuning:
    """Contrastive fine-tuning with hard negatives, on the network's device; an iterable of its steps.

    night translates training images, and with mine_through also those that mining sees. state, as
    FineTuning.state gave it, goes on from there.
    Raises RetrievalError for indices or clusters that do not fit, TrainingError when the loss is not finite.
    """
    return FineTuning(network, images, config, night=night, mine_through=mine_through, seed=seed, state=state)


class FineTuning:
    """The remaining steps: iterated over, it trains.

    Yields a StepResult after each step, the last of an epoch with its EpochResult, and before each batch of mining,
    of which nothing is kept. state() at any of these moments is what a resumed run needs.
    """

    def __init__(
        self,
        network: RetrievalNetwork,
        images: TrainingImages,
        config: RetrievalTrainingConfig,
        *,
        night: Night | None,
        mine_through: bool,
        seed: int,
        state: dict[str, Any] | None,
    ) -> None:
        paths, clusters = images.paths, np.asarray(images.clusters, dtype=np.int64)
        matching = [np.asarray(side, dtype=np.int64) for side in (images.query_idx, images.positive_idx)]
        pairs = np.stack(matching, axis=1)  # (P, 2): query, positive
        refuse_misfits(len(paths), clusters, pairs)
        self.network, self.device = network, taken_for_training(network.mean.device)
        self.network.to(memory_format=torch.channels_last)  # a fifth faster on CPUs
        self.clusters, self.pairs, self.config, self.night = clusters, pairs, config, night
        self.mine_through, self.seed = mine_through and night is not None, seed
        self.images = ImageStore(
            paths, images.load_image, config.image_size_px, num_workers=config.num_workers
        )
        self.names = [image_name(path) for path in paths]
        self.optimizer = adam(self.network, config)
        self.epoch = 0
        self._under_way: Epoch | None = None
        self._rng = torch.empty(0)  # the global generators' state inside an epoch: dropout draws from them
        self._average = Average(config.n_epochs, config.average_last)
        self.best = Best(config.patience)
        if state is not None:
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch = int(state["epoch"])
            self._average.load_state(state.get("average"))
            self.best.load_state(state.get("best"))
            if state.get("under_way") is not None:
                self._under_way = Epoch.from_state(state["under_way"])
                self._rng = state["under_way"]["rng"]

    @property
    def steps_per_epoch(self) -> int:
        return -(-min(len(self.pairs), self.config.num_queries) // self.config.tuples_per_step)

    @property
    def is_done(self) -> bool:
        """Whether all epochs are trained, or patience is out."""
        return self.epoch >= self.config.n_epochs or self.best.is_out

    def validated(self, value: float) -> None:
        """What the network is worth after the epoch that has ended; at the end it gets its best weights back."""
        self.best.told(value, self.epoch, self.network)
        if self.is_done:
            self.best.give(self.network)

    @property
    def steps_done(self) -> int:
        """Steps of all epochs so far."""
        inside = len(self._under_way.history) if self._under_way is not None else 0
        return self.epoch * self.steps_per_epoch + inside

    def state(self) -> dict[str, Any]:
        """epoch (done so far), network, optimizer and the epoch under way: tensors and plain values."""
        return {
            "epoch": self.epoch,
            "under_way": self._under_way.state(self._rng) if self._under_way is not None else None,
            "network": {key: value.detach().clone() for key, value in self.network.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "average": self._average.state(),
            "best": self.best.state(),
        }

    def __iter__(self) -> Iterator[StepResult]:
        while not self.is_done:
            yield from self._one_epoch()
        self.network.eval()

    def _one_epoch(self) -> Iterator[StepResult]:
        """An epoch, or the rest of one."""
        started = time.perf_counter()
        if self._under_way is None:
            self._under_way = yield from self._begin_epoch()
        epoch = self._under_way
        mined, steps_before = time.perf_counter(), len(epoch.history)
        yield from self._train_on(epoch)
        self._under_way = None
        self.epoch += 1
        self._average.after(self.epoch, self.network)
        seconds = time.perf_counter() - mined
        logger.debug("epoch %d: mining %.1f s, training %.1f s", self.epoch, mined - started, seconds)
        losses = {
            self.config.loss: float(np.mean([loss for _, loss in epoch.history])),
            "negative_similarity": epoch.similarity,
        }
        losses["gem_p"] = float(self.network.pool.p.detach().mean())
        if self.night is not None:
            losses["night_images"] = float(epoch.num_nights)
        trained = epoch.tuples[steps_before * self.config.tuples_per_step :]
        result = EpochResult(
            epoch=self.epoch,
            step=self.epoch * self.steps_per_epoch,
            losses=losses,
            history=tuple((step, {self.config.loss: loss}) for step, loss in epoch.history),
            images_per_s=trained.size / seconds,
            seconds=time.perf_counter() - started,
        )
        yield StepResult(result.step, result.history[-1][1], result)

    def _begin_epoch(self) -> Generator[StepResult, None, Epoch]:
        rng, generator = randomness(self.seed, self.epoch)
        tuples, similarity = yield from self.mine(rng, generator)
        self._rng = torch.empty(0)
        return Epoch(tuples, similarity, generator)

    def mine(
        self, rng: np.random.Generator, generator: torch.Generator
    ) -> Generator[StepResult, None, tuple[Numbers, float]]:
        """Returns an epoch's tuples (Q, 2 + K) of image numbers, and the mean similarity of query and negative."""
        config, is_diverse = self.config, self.config.anchors == "diverse"
        num_pairs = max(config.anchor_pool_size, config.num_queries) if is_diverse else config.num_queries
        drawn, pool = draw_epoch(len(self.pairs), len(self.images), num_pairs, config.pool_size, rng)
        pairs = self.pairs[drawn]
        if is_diverse:
            label = QUERY if self.mine_through else None
            found = yield from self._descriptors(pairs[:, 0], label, generator)
            shares = config.anchor_exclude, config.anchor_include
            pairs = pairs[diverse_anchors(found, config.num_queries, *shares, rng)]
        queries, pool_descriptors = yield from self._mining_descriptors(pairs[:, 0], pool, generator)
        negatives = mine_negatives(
            queries, self.clusters[pairs[:, 0]], pool_descriptors, self.clusters[pool], config.num_negatives
        )
        similarity = np.einsum("qd,qkd->qk", queries, pool_descriptors[negatives]).mean()
        return np.concatenate([pairs, pool[negatives]], axis=1), float(similarity)

    def _mining_descriptors(
        self, queries: Numbers, pool: Numbers, generator: torch.Generator
    ) -> Generator[StepResult, None, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Each image once, also where it is a query and in the pool, unless night may treat them differently."""
        if self.mine_through:
            of_queries = yield from self._descriptors(queries, QUERY, generator)
            of_pool = yield from self._descriptors(pool, NEGATIVE, generator)
            return of_queries, of_pool
        numbers, places = np.unique(np.concatenate([queries, pool]), return_inverse=True)
        descriptors = (yield from self._descriptors(numbers, None, generator))[places]
        return descriptors[: len(queries)], descriptors[len(queries) :]

    def _descriptors(
        self, numbers: Numbers, label: int | None, generator: torch.Generator
    ) -> Generator[StepResult, None, NDArray[np.float32]]:
        """Descriptors (N, D); through the night augmentation when a label is given."""
        rows = []
        for start in range(0, len(numbers), 4 * _MINING_BATCH):
            yield StepResult(self.steps_done)
            self.network.eval()
            chosen = numbers[start : start + 4 * _MINING_BATCH]
            images = self.images.many(chosen)
            if label is not None:
                images = self._by_night(images, chosen, label, generator)
            with autocast(self.device, self.config.precision):
                rows.append(embed(self.network, images, self.device, _MINING_BATCH).cpu().numpy())
        return np.concatenate(rows)

    def _by_night(
        self, images: list[Pixels], numbers: Numbers, label: int, generator: torch.Generator
    ) -> list[Pixels]:
        assert self.night is not None  # noqa: S101 - mine_through is off without it
        out = list(images)
        for positions in batches_by_size(images, _MINING_BATCH):
            batch = to_tensor([images[p] for p in positions], self.device)
            labels = torch.full((len(positions),), label)
            night = self.night(batch, labels, [self.names[numbers[p]] for p in positions], generator)
            for position, image in zip(positions, (night * 255).round().byte().cpu(), strict=True):
                out[position] = image.permute(1, 2, 0).numpy()
        return out

    def _train_on(self, epoch: Epoch) -> Iterator[StepResult]:
        """The epoch's steps; all are yielded but the last, whose result is the epoch's."""
        size = self.config.tuples_per_step
        for start in range(len(epoch.history) * size, len(epoch.tuples), size):
            self.network.train()
            step = self.epoch * self.steps_per_epoch + len(epoch.history)
            chosen = epoch.tuples[start : start + size]
            with self._own_randomness():
                loss = self._step(chosen, step, epoch.generator) / len(chosen)
            epoch.history.append((step + 1, loss))
            if start + size < len(epoch.tuples):
                yield StepResult(step + 1, {self.config.loss: loss})

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Inside, dropout and stochastic depth draw from where the last step left, or by seed and epoch."""
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            if len(self._rng):
                set_rng_state(self._rng, self.device)
            else:
                torch.manual_seed(int(np.random.default_rng([self.seed, self.epoch, 1]).integers(2**62)))
            yield
            self._rng = rng_state(self.device)

    def _step(self, tuples: Numbers, step: int, generator: torch.Generator) -> float:
        """One optimiser step on the summed gradients of some tuples; their summed loss."""
        set_lr(self.optimizer, self.config, step, self.steps_per_epoch)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        images = [self.images.many(numbers) for numbers in tuples]
        for first, last in _affordable(images):
            loss = self._loss(self._embed_tuples(images[first:last], tuples[first:last], generator))
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(
                f"epoch {self.epoch + 1}, step {step + 1}: the {self.config.loss} loss is {total}; lower training.lr"
            )
        self.optimizer.step()
        return total

    def _loss(self, descriptors: Tensor) -> Tensor:
        config = self.config
        if config.loss == "multi_similarity":
            return tuple_multi_similarity_loss(descriptors, config.ms_alpha, config.ms_beta, config.ms_base)
        return tuple_contrastive_loss(descriptors, config.margin)

    def _embed_tuples(
        self, images: Sequence[Sequence[Pixels]], tuples: Numbers, generator: torch.Generator
    ) -> Tensor:
        """(T, 2 + K, D): images of one size in one forward pass, over the borders of tuples."""
        flat = [image for one in images for image in one]
        labels = torch.tensor([QUERY, POSITIVE] + [NEGATIVE] * (tuples.shape[1] - 2)).repeat(len(tuples))
        numbers = tuples.reshape(-1)
        rows: list[Tensor] = []
        order: list[int] = []
        for positions in batches_by_size(flat, len(flat)):
            batch = to_tensor([flat[p] for p in positions], self.device)
            if self.night is not None:
                names = [self.names[numbers[p]] for p in positions]
                by_day, batch = batch, self.night(batch, labels[positions], names, generator)
                self._count_nights(by_day, batch)
            with autocast(self.device, self.config.precision):
                rows.append(self.network(batch))
            order += positions
        descriptors = torch.cat(rows).float()
        restored = descriptors[torch.argsort(torch.tensor(order)).to(descriptors.device)]
        return restored.view(len(tuples), tuples.shape[1], -1)

    def _count_nights(self, before: Tensor, after: Tensor) -> None:
        if self._under_way is not None and after is not before:
            self._under_way.num_nights += int((before != after).flatten(1).any(dim=1).sum())


def _affordable(images: Sequence[Sequence[Pixels]]) -> Iterator[tuple[int, int]]:
    """Ranges of tuples whose pixels together stay under _STEP_PX, at least one tuple each."""
    first, pixels = 0, 0
    for number, one in enumerate(images):
        size = sum(image.shape[0] * image.shape[1] for image in one)
        if number > first and pixels + size > _STEP_PX:
            yield first, number
            first, pixels = number, 0
        pixels += size
    yield first, len(images)
