"""Which score goes with mAP: rank correlations over generators, scores compared in pairs, the best pair of scores.

Scores are rows of one value a generator, turned so that more is better. Resamples draw generators with replacement,
the same for every score, so that two scores are compared on the same draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy.stats import rankdata

from d2n.errors import D2NError
from d2n.plots.correlation import MIN_POINTS, RankCorrelation, rank_correlation, spearman
from d2n.plots.style import color, figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """How much better one score goes with mAP than another: the difference of their rho, 95 % by bootstrap."""

    better: str
    worse: str
    value: float
    interval: tuple[float, float] | None

    @property
    def is_settled(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Prediction:
    """Scores that predict mAP together: Spearman of what is predicted of each generator left out with what it has."""

    scores: tuple[str, ...]
    rho: float


def correlations(
    scores: Mapping[str, Sequence[float]], maps: Sequence[float], *, num_bootstrap: int = 2000, seed: int = 0
) -> dict[str, RankCorrelation]:
    """Every score's rank correlation with mAP, the best first; one that is not defined comes last."""
    found = {
        name: rank_correlation(values, maps, num_bootstrap=num_bootstrap, seed=seed)
        for name, values in scores.items()
    }
    return dict(sorted(found.items(), key=lambda one: (math.isnan(one[1].rho), -one[1].rho)))


def differences(
    scores: Mapping[str, Sequence[float]], maps: Sequence[float], *, num_bootstrap: int = 2000, seed: int = 0
) -> list[Difference]:
    """Every pair of scores on the generators that have both; the score that goes better with mAP stands first."""
    rhos = {name: one.rho for name, one in correlations(scores, maps, num_bootstrap=1).items()}
    names = [name for name, rho in rhos.items() if not math.isnan(rho)]
    return [_difference(a, b, scores, maps, num_bootstrap, seed) for a, b in itertools.combinations(names, 2)]


def predictions(scores: Mapping[str, Sequence[float]], maps: Sequence[float]) -> list[Prediction]:
    """Single scores and pairs by how well they predict a generator that was left out, the best first.

    Least squares of mAP on the ranks of the scores, fitted without the generator. Only scores that every generator
    has take part; empty for fewer than MIN_POINTS generators.
    """
    wanted = np.asarray(maps, dtype=np.float64)
    whole = {name: np.asarray(row, dtype=np.float64) for name, row in scores.items()}
    whole = {name: row for name, row in whole.items() if np.isfinite(row).all() and np.ptp(row) > 0}
    if len(wanted) < MIN_POINTS or not np.isfinite(wanted).all():
        return []
    groups = [*((name,) for name in whole), *itertools.combinations(whole, 2)]
    found = [
        Prediction(group, spearman(_left_out([whole[name] for name in group], wanted), list(maps)))
        for group in groups
    ]
    return sorted(found, key=lambda one: (-one.rho if not math.isnan(one.rho) else math.inf, len(one.scores)))


@dataclass(frozen=True)
class ChoiceGain:
    """What choosing by the score that half of the generators recommend gains among the other half."""

    base: str  # the score that chooses without that advice
    value: float  # mAP of the one champion less that of the other, the mean over splits
    interval: tuple[float, float]  # 95 % of the splits; those of one table overlap, so that it is no test
    most_recommended: str


def choice_gain(
    scores: Mapping[str, Sequence[float]], maps: Sequence[float], *, num_splits: int = 1000, seed: int = 0
) -> ChoiceGain | None:
    """Random halves: one recommends the score of the highest rank correlation, which chooses in the other.

    The first score stands for what is done without. Only scores that every generator has take part; None for fewer
    than two of them, or fewer than 2 MIN_POINTS generators.
    """
    whole = {name: np.asarray(row, dtype=np.float64) for name, row in scores.items()}
    whole = {name: row for name, row in whole.items() if np.isfinite(row).all() and np.ptp(row) > 0}
    wanted = np.asarray(maps, dtype=np.float64)
    if len(whole) < 2 or len(wanted) < 2 * MIN_POINTS or not np.isfinite(wanted).all():
        return None
    names, table = list(whole), np.stack(list(whole.values()))
    rng = np.random.default_rng(seed)
    gains, recommended = [], [0] * len(names)
    for _ in range(num_splits):
        advice, choice = np.array_split(rng.permutation(len(wanted)), 2)
        best = int(np.argmax(_rank_correlations(table[:, advice], wanted[advice])))
        recommended[best] += 1
        chosen = choice[np.argmax(table[:, choice], axis=1)]
        gains.append(wanted[chosen[best]] - wanted[chosen[0]])
    low, high = np.percentile(gains, [2.5, 97.5])
    most = names[int(np.argmax(recommended))]
    return ChoiceGain(names[0], float(np.mean(gains)), (float(low), float(high)), most)


def seed_deviation(values: Sequence[Sequence[float]]) -> float | None:
    """The deviation over seeds of one generator's mAP, pooled over generators; None where none has two seeds."""
    several = [np.asarray(one, dtype=np.float64) for one in values if len(one) > 1]
    freedom = sum(len(one) - 1 for one in several)
    if not freedom:
        return None
    return math.sqrt(sum(float(((one - one.mean()) ** 2).sum()) for one in several) / freedom)


@dataclass(frozen=True)
class SeedFit:
    """mAP as a generator's own value plus what its seed does to every generator, by least squares."""

    means: tuple[float, ...]  # of each generator, as if it had every seed of the table
    deviation: float | None  # of what is left: what comparisons on the same seeds see; None where nothing is


def seed_fit(values: Sequence[Mapping[int, float]]) -> SeedFit:
    """Means that compare where some generators have seeds that others lack; the plain ones where none lacks any.

    ``values``: for each generator, mAP by seed. A seed that is kind to all would else lift those that have it.
    """
    seeds = sorted({seed for one in values for seed in one})
    rows = [(i, seeds.index(seed), value) for i, one in enumerate(values) for seed, value in one.items()]
    design = np.zeros((len(rows), len(values) + len(seeds)))
    for row, (generator, seed, _) in zip(design, rows, strict=True):
        row[[generator, len(values) + seed]] = 1
    wanted = np.array([value for *_, value in rows])
    fitted, _, rank, _ = np.linalg.lstsq(design, wanted, rcond=None)
    own, of_seeds = fitted[: len(values)], fitted[len(values) :]
    freedom = len(rows) - int(rank)
    left = float(((wanted - design @ fitted) ** 2).sum())
    means = tuple(float(value + of_seeds.mean()) for value in own)
    return SeedFit(means, math.sqrt(left / freedom) if freedom else None)


def seeds_needed(deviation: float, difference: float) -> int:
    """Seeds an arm for a difference of two arms' means to be two of its standard errors."""
    if not (deviation >= 0 and difference > 0):
        raise D2NError(
            f"seeds for a deviation of {deviation} and a difference of {difference}; expected above 0"
        )
    return max(1, math.ceil(2 * (2 * deviation / difference) ** 2))


def agreement_figure(found: Mapping[str, Mapping[str, RankCorrelation]]) -> go.Figure:
    """For each mAP a series of points, one a score, with their intervals; the best of the first mAP on top."""
    fig = figure("Rank correlation of scores with mAP", "Spearman's rho (95 % over generators)", "")
    order = list(next(iter(found.values()), {}))[::-1]
    for i, (name, rows) in enumerate(found.items()):
        shown = [score for score in order if score in rows and not math.isnan(rows[score].rho)]
        rhos = [rows[score].rho for score in shown]
        ends = [rows[score].interval or (rows[score].rho, rows[score].rho) for score in shown]
        error = {
            "type": "data",
            "symmetric": False,
            "array": [high - rho for rho, (_, high) in zip(rhos, ends, strict=True)],
            "arrayminus": [rho - low for rho, (low, _) in zip(rhos, ends, strict=True)],
        }
        fig.add_trace(
            go.Scatter(x=rhos, y=shown, error_x=error, mode="markers", name=name, marker_color=color(i))
        )
    fig.add_vline(x=0, line_width=1)
    fig.update_layout(scattermode="group")
    return fig


def _difference(
    a: str,
    b: str,
    scores: Mapping[str, Sequence[float]],
    maps: Sequence[float],
    num_bootstrap: int,
    seed: int,
) -> Difference:
    rows = np.array([scores[a], scores[b], maps], dtype=np.float64)
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    first, second = spearman(rows[0].tolist(), rows[2].tolist()), spearman(rows[1].tolist(), rows[2].tolist())
    if first < second:
        a, b, first, second, rows = b, a, second, first, rows[[1, 0, 2]]
    count = rows.shape[1]
    if count < MIN_POINTS or math.isnan(first - second):
        return Difference(a, b, first - second, None)
    draws = np.random.default_rng(seed).integers(0, count, (num_bootstrap, count))
    gained = _rhos(rows[0], rows[2], draws) - _rhos(rows[1], rows[2], draws)
    low, high = np.quantile(gained[np.isfinite(gained)], [0.025, 0.975])
    return Difference(a, b, first - second, (float(low), float(high)))


def _rank_correlations(table: Array, wanted: Array) -> Array:
    """Spearman of every row with the values; -1 of a row that does not vary."""
    ranks = rankdata(table, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    other = rankdata(wanted)
    other -= other.mean()
    size = np.linalg.norm(ranks, axis=1) * np.linalg.norm(other)
    found: Array = np.divide(ranks @ other, size, out=np.full(len(table), -1.0), where=size > 0)
    return found


def _rhos(x: Array, y: Array, draws: NDArray[np.int64]) -> Array:
    """(B,) Spearman of each resample; NaN where a side is constant."""
    a, b = (rankdata(side[draws], axis=1) for side in (x, y))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho = np.full(len(draws), np.nan)
    np.divide((a * b).sum(axis=1), norm, out=rho, where=norm > 0)
    return rho


def _left_out(rows: Sequence[Array], wanted: Array) -> list[float]:
    """Each generator's mAP as the others predict it."""
    ranks = np.column_stack([np.ones(len(wanted)), *(rankdata(row) for row in rows)])
    predicted = []
    for i in range(len(wanted)):
        others = np.arange(len(wanted)) != i
        weights, *_ = np.linalg.lstsq(ranks[others], wanted[others], rcond=None)
        predicted.append(float(ranks[i] @ weights))
    return predicted
