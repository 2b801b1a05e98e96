"""Inception Score. Salimans et al., 2016, "Improved Techniques for Training GANs"; thesis equation 4.4."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_array
from d2n.scores.kinds import Inputs, ScoreKind

if TYPE_CHECKING:
    from d2n.core import Score

_MANY = 500  # images, from which on ten splits of them are told apart


def inception_score(probabilities: Any, splits: int = 1) -> tuple[float, float]:
    """exp of the mean KL(p(k|x) || p(k)) of (N, K) class probabilities: mean and population deviation over splits.

    Splits are contiguous and not shuffled; shuffle before where the order carries meaning. From 1 to K.
    ScoreError for fewer than 2 images, fewer images than splits, negative values or rows that do not sum to 1.
    """
    p = feature_array(probabilities, "class probability", constant=True)
    sums = p.sum(axis=1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ScoreError(
            f"probabilities from {p.min():.4g}, row sums from {sums.min():.4g} to {sums.max():.4g}, expected "
            "values from 0 and rows that sum to 1: apply softmax to logits first"
        )
    if not 1 <= splits <= len(p):
        raise ScoreError(f"{splits} splits of {len(p)} images, expected 1 to {len(p)}")
    bounds = [len(p) * i // splits for i in range(splits + 1)]
    parts = [_exp_mean_kl(p[start:stop]) for start, stop in pairwise(bounds)]
    return float(np.mean(parts)), float(np.std(parts))


def compute(inputs: Inputs) -> list[Score]:
    """One score of the class probabilities, over ten splits where there are many images."""
    probabilities = inputs.beside.probabilities
    if probabilities is None:
        raise ScoreError("is needs class probabilities, and none were given: use the extractor inception")
    splits = 10 if len(probabilities) >= _MANY else 1
    value, std = inception_score(probabilities, splits)
    return [inputs.score("is", value, std=std if splits > 1 else None)]


KIND = ScoreKind(
    name="is",
    meaning="Inception Score",
    direction="maximize",
    compute=compute,
    needs=("probabilities",),
    tells="classes of ImageNet say little on streets at night, and it misses collapse",
    of_paired="little",
    of_unpaired="little",
)


def _exp_mean_kl(p: Array) -> float:
    marginal = np.broadcast_to(p.mean(axis=0), p.shape)
    log_ratio = np.log(np.divide(p, marginal, out=np.ones_like(p), where=p > 0))  # 0 log 0 = 0
    return float(np.exp(np.sum(p * log_ratio, axis=1).mean()))
