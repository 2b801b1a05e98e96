"""The settings' rank on the images that do not compare, and the challenger's comparison on those that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from d2n import promotion
from d2n.promotion import Comparison, Metric, Resampled, Split
from d2n.scores.paired import Draws
from d2n.tracking.runs import RunRecord
from d2n.workflows.promote.maps import Maps
from d2n.workflows.promote.measuring import Gauge

Groups = Mapping[str, Sequence[RunRecord]]  # by setting, the seeds


def ranked(gauge: Gauge, metrics: Sequence[Metric], groups: Groups, split: Split) -> list[str]:
    """The settings, best first, by the weighted rank of their seeds' means on the images that do not compare."""
    rows = []
    for records in groups.values():
        values = {m.name: gauge.values(records, m.name, split.ranking) for m in metrics}
        rows.append({name: float(np.mean(each)) for name, each in values.items()})
    ranks = promotion.weighted_ranks(rows, metrics)
    return [key for _, _, key in sorted(zip(ranks, range(len(ranks)), groups, strict=True))]


def on_images(
    gauge: Gauge,
    metrics: Sequence[Metric],
    sides: Sequence[Sequence[RunRecord]],
    split: Split,
    level: float,
) -> Comparison:
    """The challenger's seeds (the first side) against the champion's (the second) on the same images.

    Further sides are the other settings' seeds: they tell of the noise of seeds. Several scores are summed by weight,
    each gain in units of its own deviation.
    """
    records = [record for side in sides for record in side]
    draws = [gauge.draws(records, metric.name, split.compared) for metric in metrics]
    name = gauge.logged[metrics[0].name]
    values, resampled, lower = _of(draws[0]), _resampled(draws[0]), promotion.lower_is_better(name)
    if len(metrics) > 1:
        name = "weighted " + ", ".join(f"{gauge.logged[m.name]}={m.weight:g}" for m in metrics)
        values, resampled, lower = *_weighted(metrics, draws, sides, level), False
    found = _compared(name, values, resampled, sides, lower_is_better=lower, level=level)
    return replace(found, where=split.where, protocol=gauge.part_protocol(split.compared))


def on_maps(
    maps: Maps,
    metric: str,
    sides: tuple[Sequence[RunRecord], Sequence[RunRecord]],
    level: float,
    num_settings: int = 1,
) -> Comparison:
    """The mAP of the challenger's seeds against the champion's; of one generator, that of its retrieval runs' seeds.

    The same runs ranked the ``num_settings`` that could challenge: the level is shared between them (Bonferroni).
    """
    found = [_maps_of(maps, records) for records in sides]
    level /= max(num_settings, 1)
    compared = promotion.compare(metric, found[0], found[1], None, lower_is_better=False, level=level)
    note = (
        "the images of the benchmark are the same for both and were not resampled: the noise is that of seeds"
    )
    return replace(compared, notes=(*compared.notes, note))


def _maps_of(maps: Maps, records: Sequence[RunRecord]) -> Sequence[float]:
    measured = [maps.of(record) for record in records]
    known = [one for one in measured if one is not None]
    return [score.value for score, _ in known] if len(known) > 1 else known[0][1]


def _of(draws: Draws) -> list[float]:
    return [float(value) for value in draws.values]


def _resampled(draws: Draws) -> Resampled:
    return Resampled(draws.linear, draws.whole, draws.num_images)


def _compared(
    name: str,
    values: Sequence[float],
    resampled: Resampled,
    sides: Sequence[Sequence[RunRecord]],
    *,
    lower_is_better: bool,
    level: float,
) -> Comparison:
    ends = np.cumsum([len(side) for side in sides])
    candidate, champion, *others = (
        [*values[end - len(side) : end]] for side, end in zip(sides, ends, strict=True)
    )
    return promotion.compare(
        name, candidate, champion, resampled, lower_is_better=lower_is_better, level=level, others=others
    )


def _weighted(
    metrics: Sequence[Metric], draws: Sequence[Draws], sides: Sequence[Sequence[RunRecord]], level: float
) -> tuple[list[float], Resampled]:
    total = sum(metric.weight for metric in metrics)
    shares = []
    for metric, one in zip(metrics, draws, strict=True):
        lower = promotion.lower_is_better(metric.name)
        alone = _compared(metric.name, _of(one), _resampled(one), sides, lower_is_better=lower, level=level)
        shares.append((-1 if lower else 1) * metric.weight / total / (alone.deviation or 1.0))
    values = np.asarray(sum(s * one.values for s, one in zip(shares, draws, strict=True)))
    linear = np.asarray(sum(s * one.linear for s, one in zip(shares, draws, strict=True)))
    wholes = [one.whole for one in draws if one.whole is not None]
    whole = None
    if len(wholes) == len(draws):
        count = min(map(len, wholes))
        whole = np.asarray(sum(s * each[:count] for s, each in zip(shares, wholes, strict=True)))
    return values.tolist(), Resampled(linear, whole, draws[0].num_images)
