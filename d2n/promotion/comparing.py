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
    others: Sequence[Sequence[float]] = (),
) -> Comparison:
    """The gain of the candidate's seeds over the champion's; ``resampled`` has the columns in this order, then others'.

    The images' variance of the difference of means is joined with the seeds', after Satterthwaite, 1946, "An
    Approximate Distribution of Estimates of Variance Components". Three seeds tell little of their variance: it is
    pooled over the two settings and the ``others`` that were scored, and what seeds vary by because of the images is
    counted once. Where every setting has one seed, the notes say that nothing tells the seeds' noise.
    """
    a, c = np.asarray(candidate, dtype=np.float64), np.asarray(champion, dtype=np.float64)
    sign = -1.0 if lower_is_better else 1.0
    rest = [np.asarray(other, dtype=np.float64) for other in others]
    unused = np.zeros(sum(map(len, rest)) if resampled is not None else 0)
    weights = np.concatenate([np.full(len(a), sign / len(a)), np.full(len(c), -sign / len(c)), unused])
    gain = float(sign * (a.mean() - c.mean()))
    images = resampled.variance(weights) if resampled is not None else 0.0
    seeds = _seeds([a, c, *rest], resampled, weights, images)
    known = Comparison(
        metric, gain, None, None, None, level, None, float(a.mean()), float(c.mean()), (len(a), len(c))
    )
    notes = _notes(len(a), len(c), seeds.degrees)
    known = replace(known, notes=notes, num_images=resampled.num_images if resampled else 0)
    total = images + seeds.variance
    if total <= 0:
        clear = None if resampled is None and not seeds.degrees else gain > 0
        return replace(known, clear=clear, deviation=0.0 if clear is not None else None)
    below = images**2 / max(known.num_images - 1, 1)
    if seeds.degrees:
        below += seeds.spread**2 / seeds.degrees
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

    variance: float  # without what the images make of it
    spread: float  # with it: its estimate has so much and so many degrees of freedom
    degrees: int


def _seeds(sides: Sequence[Array], resampled: Resampled | None, weights: Array, images: float) -> _Seeds:
    degrees = sum(len(side) - 1 for side in sides)
    if not degrees:
        return _Seeds(0.0, 0.0, 0)
    share = 1.0  # the same correction as the difference's own
    if resampled is not None:
        share = images / max(float(np.var(resampled.linear @ weights)), 1e-300)
    squares = by_images = 0.0
    start = 0
    for side in sides:
        columns = slice(start, start + len(side))
        start += len(side)
        squares += float(np.sum((side - side.mean()) ** 2))
        if resampled is not None:
            drawn = resampled.linear[:, columns]
            centred = drawn - drawn.mean(axis=1, keepdims=True)
            by_images += share * float(np.sum(centred**2)) / len(drawn)
    factor = (1 / len(sides[0]) + 1 / len(sides[1])) / degrees
    return _Seeds(max(0.0, squares - by_images) * factor, squares * factor, degrees)


def _notes(num_candidate: int, num_champion: int, degrees: int) -> tuple[str, ...]:
    if not degrees:
        return ("compared without the noise of seeds: one seed each",)
    one = [who for who, n in (("candidate", num_candidate), ("champion", num_champion)) if n == 1]
    if not one:
        return ()
    return (
        f"the {' and the '.join(one)} has one seed: its noise of seeds is taken from the other settings, and its draw "
        "may be a lucky one",
    )


def _quantile(level: float, degrees: float) -> float:
    from scipy import stats

    return float(stats.t.isf(level, degrees))
