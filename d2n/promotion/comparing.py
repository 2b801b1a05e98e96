"""Two settings on the same images: the gain, its noise over images and seeds, and whether it is clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from d2n.promotion.values import Comparison

Array = npt.NDArray[np.float64]
_POWER = 0.9  # that a detectable gain is found with


@dataclass(frozen=True)
class Resampled:
    """What one score of G generators would be with other images, (B, G) each, of the same draws of images."""

    linear: Array  # to first order in the images' weights, or all that is known
    whole: Array | None = None  # the first of the draws with nothing left out, (up to B, G)
    num_images: int = 0  # a side

    def variance(self, weights: Array) -> float:
        """Variance over images of the weighted sum of the generators' scores.

        A distance of distributions is quadratic near 0. Of the sum's variance L + Q (of the linear and of the
        quadratic part) its derivative, which is itself an estimate, gives L + 2 Q and a whole bootstrap L + 3 Q; so
        twice the one less the other is L + Q, and at least half of the first.
        """
        first = float(np.var(self.linear @ weights))
        if self.whole is None or first == 0:
            return first
        count = len(self.whole)
        same = float(np.var(self.linear[:count] @ weights))
        ratio = float(np.var(self.whole @ weights)) / max(same, 1e-300)
        return first * min(1.0, max(0.5, 2 - ratio))


def compare(
    metric: str,
    candidate: Sequence[float],
    champion: Sequence[float],
    resampled: Resampled | None,
    *,
    lower_is_better: bool,
    level: float = 0.025,
) -> Comparison:
    """The gain of the candidate's seeds over the champion's, whose values come in this order in ``resampled``.

    The images' variance of the difference of means is joined with the seeds' own, after Satterthwaite, 1946, "An
    Approximate Distribution of Estimates of Variance Components" (with seeds alone this is Welch's t): what seeds
    vary by because of the images is counted once. A side with one seed borrows the other's variance; where both
    have one, the notes say that nothing tells the seeds' noise.
    """
    a, c = np.asarray(candidate, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    sign = -1.0 if lower_is_better else 1.0
    weights = np.concatenate([np.full(len(a), sign / len(a)), np.full(len(c), -sign / len(c))])
    gain = float(sign * (a.mean() - c.mean()))
    images = resampled.variance(weights) if resampled is not None else 0.0
    seeds, notes = _seeds((a, c), resampled, weights, images)
    known = Comparison(
        metric, gain, None, None, None, level, None, float(a.mean()), float(c.mean()), (len(a), len(c))
    )
    known = replace(known, notes=notes, num_images=resampled.num_images if resampled else 0)
    total = images + seeds.variance
    if total <= 0:
        clear = None if resampled is None and not seeds.degrees else gain > 0
        return replace(known, clear=clear, deviation=0.0 if clear is not None else None)
    below = seeds.spread + (images**2 / max(known.num_images - 1, 1) if images else 0.0)
    degrees = max(total**2 / below, 1.0)
    deviation = math.sqrt(total)
    low = gain - _quantile(level, degrees) * deviation
    return replace(
        known,
        deviation=deviation,
        degrees=degrees,
        low=low,
        clear=low > 0,
        image_deviation=math.sqrt(images),
        seed_deviation=math.sqrt(seeds.variance),
    )


def detectable(comparison: Comparison, times_images: float = 1.0) -> float | None:
    """The true gain that is found clear nine times out of ten, with so many times the images."""
    if not comparison.deviation or not comparison.degrees:
        return None
    images = comparison.image_deviation**2 / times_images
    deviation = math.sqrt(images + comparison.seed_deviation**2)
    return (
        _quantile(comparison.level, comparison.degrees) + _quantile(1 - _POWER, comparison.degrees)
    ) * deviation


@dataclass(frozen=True)
class _Seeds:
    """The seeds' part of the variance of a difference of means."""

    variance: float
    spread: float  # sum of squared parts over their degrees of freedom
    degrees: int


def _seeds(
    sides: tuple[Array, Array], resampled: Resampled | None, weights: Array, images: float
) -> tuple[_Seeds, tuple[str, ...]]:
    known = [len(side) > 1 for side in sides]
    if not any(known):
        return _Seeds(0.0, 0.0, 0), ("compared without the noise of seeds: one seed each",)
    share = 1.0
    if resampled is not None:  # the same correction as the difference's own
        share = images / max(float(np.var(resampled.linear @ weights)), 1e-300)
    within, own, start = [], [], 0
    for side in sides:
        columns = slice(start, start + len(side))
        start += len(side)
        found = float(np.var(side, ddof=1)) if len(side) > 1 else math.nan
        by_images = 0.0
        if resampled is not None and len(side) > 1:
            by_images = share * float(np.var(resampled.linear[:, columns], axis=1, ddof=1).mean())
        within.append(found)
        own.append(max(0.0, found - by_images))
    if not all(known):
        from_, to = (0, 1) if known[0] else (1, 0)
        n, factor = len(sides[from_]), 1 / len(sides[from_]) + 1 / len(sides[to])
        seeds = _Seeds(own[from_] * factor, (within[from_] * factor) ** 2 / (n - 1), n - 1)
        one = "the champion has one seed" if to == 1 else "the candidate has one seed"
        return seeds, (
            f"{one}: its noise of seeds is taken to be the other's, and its own draw may be a lucky one",
        )
    variance = sum(v / len(side) for v, side in zip(own, sides, strict=True))
    spread = sum((s / len(side)) ** 2 / (len(side) - 1) for s, side in zip(within, sides, strict=True))
    return _Seeds(variance, spread, sum(len(side) - 1 for side in sides)), ()


def _quantile(level: float, degrees: float) -> float:
    from scipy import stats

    return float(stats.t.isf(level, degrees))
