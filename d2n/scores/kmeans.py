"""k-means of many seeded runs at once: one matrix product a step serves them all.

Arthur and Vassilvitskii, 2007, "k-means++" (greedy variant: the best of 2 + ln k candidates); Lloyd, 1982.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from d2n.scores.arrays import Array

logger = logging.getLogger(__name__)

_MAX_STEPS = 10_000
_FEW_CHANGES = 0.1  # share of labels below which moving points between sums is cheaper than summing anew
_START_POINTS = 2048  # beyond so many the starting centres are those of a random part of that size
_START_CHANGES = 0.01  # share of labels still changing at which the start is good enough
_FULL_STEPS = 4  # steps of large moves, before bf16 products of the moves are precise enough


def cluster(
    points: Array, num_clusters: int, num_runs: int, seed: int, *, exact: bool
) -> npt.NDArray[np.int64]:
    """Labels (num_runs, P) in [0, num_clusters) of (P, D) points; run r draws from the seed (seed, r) alone.

    ``exact``: float64, until no label changes. Otherwise float32, until at most one label in 2000 changes in a
    step, and where the processor multiplies bf16 and there are many points, with bf16 products of what moved;
    same draws. Of more than 2048 points a part of 2048, drawn with the seed, is clustered first and its centres
    are where all start. A cluster that loses all its points keeps its centre.
    """
    x = torch.from_numpy(_reduced(points - points.mean(axis=0)))
    x = x if exact else x.float()
    many = len(x) > max(_START_POINTS, num_clusters)
    part = x[_drawn(len(x), max(_START_POINTS, num_clusters), seed)] if many else x
    rngs = [np.random.default_rng([seed, run]) for run in range(num_runs)]
    centres = _plus_plus(part, part.square().sum(1), num_clusters, rngs)
    if many:
        _, centres = _lloyd(part, centres, int(_START_CHANGES * len(part)))
    half = x.bfloat16() if many and not exact and _multiplies_bf16() else None
    labels, _ = _lloyd(x, centres, 0 if exact else len(x) // 2000, half)
    return labels.numpy()


def _multiplies_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32; elsewhere it is emulated."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def _drawn(population: int, size: int, seed: int) -> Tensor:
    """(size,) indices, ascending and without repetition."""
    return torch.from_numpy(np.sort(np.random.default_rng(seed).choice(population, size, replace=False)))


def _reduced(points: Array) -> Array:
    """The same points in fewer dimensions, where there are more dimensions than points.

    The triangle of the QR decomposition has the Gram matrix of the points, so all distances stay.
    """
    if len(points) >= points.shape[1]:
        return points
    return np.ascontiguousarray(torch.linalg.qr(torch.from_numpy(points.T.copy()), mode="r").R.numpy().T)


def _plus_plus(x: Tensor, norms: Tensor, num_clusters: int, rngs: list[np.random.Generator]) -> Tensor:
    """Initial centres (R, K, D)."""
    num_runs, trials = len(rngs), 2 + int(math.log(num_clusters))
    chosen = torch.empty(num_runs, num_clusters, dtype=torch.long)
    chosen[:, 0] = torch.tensor([int(rng.integers(len(x))) for rng in rngs])
    closest = _to_points(x, norms, chosen[:, 0])  # (R, P)
    rows = torch.arange(num_runs)
    for k in range(1, num_clusters):
        cumulated = closest.double().cumsum(1)
        draws = torch.from_numpy(np.stack([rng.random(trials) for rng in rngs])) * cumulated[:, -1:]
        candidates = torch.searchsorted(cumulated, draws).clamp_(max=len(x) - 1)  # (R, T)
        to_candidates = _to_points(x, norms, candidates.flatten()).view(num_runs, trials, -1)
        to_candidates = torch.minimum(to_candidates, closest[:, None])
        best = to_candidates.sum(2).argmin(1)
        chosen[:, k], closest = candidates[rows, best], to_candidates[rows, best]
    return x[chosen]


def _to_points(x: Tensor, norms: Tensor, index: Tensor) -> Tensor:
    """Squared distances (len(index), P) of the indexed points to all."""
    squared = torch.addmm(norms[None], x[index], x.T, alpha=-2).add_(norms[index, None]).clamp_(min=0)
    squared[torch.arange(len(index)), index] = 0
    return squared


def _lloyd(x: Tensor, centres: Tensor, tolerance: int, half: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Labels (R, P) and centres (R, K, D) once at most ``tolerance`` of a run's labels change in a step."""
    num_runs, num_clusters, dim = centres.shape
    labels = torch.full((num_runs, len(x)), -1)
    sums = torch.zeros(num_runs, num_clusters, dim, dtype=x.dtype)
    active, found, products = torch.arange(num_runs), centres.clone(), _Products(x, half)
    for _ in range(_MAX_STEPS):
        new, old = products.nearest(centres), labels[active]
        labels[active] = new
        found[active] = centres
        changed = new != old
        going = changed.sum(1) > tolerance
        if not going.any():
            return labels, found
        if not going.all():
            active, new, old, changed, sums = (part[going] for part in (active, new, old, changed, sums))
            centres = centres[going]
            products.keep(going)
        few = tolerance > 0 and bool(changed.float().mean() < _FEW_CHANGES)
        sums = _moved(sums, x, old, new, changed) if few else _sums(x, new, num_clusters)
        counts = torch.zeros(len(new), num_clusters, dtype=x.dtype).scatter_add_(
            1, new, torch.ones_like(new, dtype=x.dtype)
        )
        # An empty cluster's centre stays.
        centres = torch.where(counts[..., None] > 0, sums / counts[..., None].clamp(min=1), centres)
    logger.warning("k-means: %d of %d runs still moved after %d steps", len(active), num_runs, _MAX_STEPS)
    return labels, found


class _Products:
    """Inner products (R, K, P) of each run's centres with all points (P, D), from one step to the next.

    With ``half``, the points in bf16, later steps add the products of the centres' moves alone: the rounding
    of bf16 is relative to the move, which shrinks, not to the centre.
    """

    def __init__(self, x: Tensor, half: Tensor | None) -> None:
        self._x, self._half, self._step = x, half, 0
        self._centres = self._products = x[:0]

    def nearest(self, centres: Tensor) -> Tensor:
        """Index (R, P) of the nearest of each run's centres (R, K, D)."""
        runs, k, _ = centres.shape
        if self._step == 0:
            self._products = (centres.flatten(0, 1) @ self._x.T).view(runs, k, -1)
        else:
            self._update(centres)
        self._centres = centres
        self._step += 1
        norms = centres.square().sum(2, keepdim=True)
        return torch.add(norms, self._products, alpha=-2).min(1).indices

    def _update(self, centres: Tensor) -> None:
        """The products of those centres that moved; the others' stay."""
        moves = (centres - self._centres).flatten(0, 1)
        moved = moves.any(1).nonzero().squeeze(1)
        products = self._products.flatten(0, 1)
        if self._half is None or self._step < _FULL_STEPS:
            products[moved] = centres.flatten(0, 1)[moved] @ self._x.T
        else:
            products.index_add_(0, moved, (moves[moved].bfloat16() @ self._half.T).to(products.dtype))

    def keep(self, runs: Tensor) -> None:
        """Go on with these (R,) runs alone."""
        self._products, self._centres = self._products[runs], self._centres[runs]


def _sums(x: Tensor, labels: Tensor, num_clusters: int) -> Tensor:
    """Sums (R, K, D) of the points by label."""
    members = torch.zeros(len(labels), num_clusters, len(x), dtype=x.dtype).scatter_(1, labels[:, None], 1)
    return (members.flatten(0, 1) @ x).view(len(labels), num_clusters, -1)


def _moved(sums: Tensor, x: Tensor, old: Tensor, new: Tensor, changed: Tensor) -> Tensor:
    """The sums after the changed points moved from their old to their new clusters."""
    runs, points = changed.nonzero(as_tuple=True)
    flat, base, rows = sums.flatten(0, 1), runs * sums.shape[1], x[points]
    flat.index_add_(0, base + new[changed], rows)
    flat.index_add_(0, base + old[changed], rows, alpha=-1)
    return flat.view_as(sums)
