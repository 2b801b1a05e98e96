"""Every score of one generator at once, with its uncertainty, its protocol and its warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2n.config import nearest
from d2n.core import Score, ScoreProtocol
from d2n.errors import ScoreError
from d2n.scores.arrays import Array, feature_array, feature_pair
from d2n.scores.kinds import Beside, Inputs, Settings
from d2n.scores.prd import PrdCurve
from d2n.scores.protocol import check_same_protocol, score_name
from d2n.scores.rows import SCORES

__all__ = ["Beside", "Evaluation", "Settings", "check_same_protocol", "evaluate", "score_name"]

_ALONE, _USUAL = Beside(), Settings()


@dataclass(frozen=True)
class Evaluation:
    """The scores in the order asked for, the PRD curve if asked for, and what to beware of."""

    scores: tuple[Score, ...]
    prd: PrdCurve | None
    warnings: tuple[str, ...]


def evaluate(
    real: Any,
    fake: Any,
    names: Sequence[str],
    protocol: ScoreProtocol,
    beside: Beside = _ALONE,
    settings: Settings = _USUAL,
) -> Evaluation:
    """The scores called ``names`` (see scores.SCORES) of (N, D) fake against (N, D) real features.

    ``beside`` holds what some scores need more. Its reference pool lets the FID's floor be measured at the same
    N from M >= 2N; without it the real ones alone are split, and the floor at N is extrapolated.

    Unequal sizes are subsampled with the seed to the smaller one, and the warnings say so. ScoreError for unknown
    names, absent inputs, protocol.num_images other than N and whatever the scores themselves refuse.
    """
    _check_names(names)
    x, y = feature_pair(real, fake)
    warnings: list[str] = []
    x, y = _equal(x, y, settings.seed, warnings)
    if protocol.num_images != len(x):
        raise ScoreError(
            f"the protocol says {protocol.num_images} images and {len(x)} a side were given, expected the same"
        )
    if bool(np.all(y == y[0])):
        warnings.append(
            f"collapse: all {len(y)} fake images give the same features; the generator ignores its input"
        )
    pool = x if beside.reference_pool is None else feature_array(beside.reference_pool, "reference pool")
    inputs = Inputs(x, y, pool, protocol, beside, settings, warnings)
    found = {score.name: score for name in names for score in SCORES[name].compute(inputs)}
    return Evaluation(tuple(found.values()), inputs.curve, tuple(dict.fromkeys(warnings)))


def _check_names(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SCORES]
    if unknown or not names:
        hint = nearest(unknown[0], SCORES) if unknown else ""
        raise ScoreError(f"scores asked for are {list(names)}, expected some of {', '.join(SCORES)}{hint}")


def _equal(x: Array, y: Array, seed: int, warnings: list[str]) -> tuple[Array, Array]:
    n = min(len(x), len(y))
    if len(x) != len(y):
        warnings.append(
            f"{len(x)} real and {len(y)} fake images: {n} a side are scored, drawn with seed {seed}"
        )
    return _subsample(x, n, seed), _subsample(y, n, seed)


def _subsample(x: Array, n: int, seed: int) -> Array:
    return x if len(x) == n else x[np.sort(np.random.default_rng(seed).choice(len(x), n, replace=False))]
