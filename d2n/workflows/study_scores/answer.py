"""What the table says: how every score goes with every mAP, which differences are settled, and the best pair."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2n.errors import DataError
from d2n.plots import agreement
from d2n.plots.correlation import MIN_POINTS, RankCorrelation
from d2n.scores import direction_of
from d2n.workflows.study_scores.table import MAP, Row

MEAN = f"{MAP}mean"
_DIFFERENCE = 0.05  # of two arms' mAP, whose number of seeds is told


@dataclass(frozen=True)
class Measured:
    """A generator's mAPs, the means over its seeds."""

    name: str
    num_seeds: int
    maps: Mapping[str, float]


@dataclass(frozen=True)
class Chosen:
    """The generator that a score prefers."""

    score: str
    generator: Measured


@dataclass(frozen=True)
class Answer:
    """By the name of a mAP, the best first; the mAPs' own noise over seeds."""

    num_generators: int
    generators: Sequence[Measured]  # the best by the first mAP first
    chosen: Sequence[Chosen]  # by each score, the table's first score first
    num_seeds: tuple[int, int]  # the least and the most of a generator
    correlations: Mapping[str, Mapping[str, RankCorrelation]]
    differences: Mapping[str, Sequence[agreement.Difference]]
    predictions: Mapping[str, Sequence[agreement.Prediction]]
    choice_gains: Mapping[str, agreement.ChoiceGain | None]
    deviations: Mapping[str, float | None]
    paired_deviations: Mapping[str, float | None]  # beside what a seed does to every generator

    def as_json(self) -> dict[str, Any]:
        """As JSON can hold it: what is not defined is null."""
        values: dict[str, Any] = _plain(dataclasses.asdict(self))
        return values


def answer(rows: Sequence[Row], num_bootstrap: int = 2000) -> Answer:
    """Means of each generator, as if it had every seed; DataError for fewer than two generators."""
    by_generator: dict[str, list[Row]] = {}
    for row in rows:
        by_generator.setdefault(row.generator, []).append(row)
    if len(by_generator) < 2:
        raise DataError(
            f"the table has {len(by_generator)} generators, expected two at least (24 to settle much)"
        )
    groups = list(by_generator.values())
    seeds = [len(one) for one in groups]
    scores = _scores(groups)
    each = {name: [{row.seed: row.maps[name] for row in one} for one in groups] for name in _maps(rows)}
    if len(each) > 1:
        each[MEAN] = [
            {seed: statistics.fmean(one[seed] for one in of_one) for seed in of_one[0]}
            for of_one in zip(*each.values(), strict=True)
        ]
    fits = {name: agreement.seed_fit(of_all) for name, of_all in each.items()}
    means = {name: one.means for name, one in fits.items()}
    return Answer(
        len(groups),
        _measured(groups, means),
        _chosen(groups, means, scores),
        (min(seeds), max(seeds)),
        {
            name: agreement.correlations(scores, values, num_bootstrap=num_bootstrap)
            for name, values in means.items()
        },
        {
            name: agreement.differences(scores, values, num_bootstrap=num_bootstrap)
            for name, values in means.items()
        },
        {name: agreement.predictions(scores, values) for name, values in means.items()},
        {name: agreement.choice_gain(scores, values) for name, values in means.items()},
        {
            name: agreement.seed_deviation([list(one.values()) for one in of_all])
            for name, of_all in each.items()
        },
        {name: one.deviation for name, one in fits.items()},
    )


def lines(found: Answer) -> list[str]:
    """For people: percent for mAP, rank correlations as they are."""
    low, high = found.num_seeds
    seeds = f"{low}" if low == high else f"{low} to {high}"
    told = [f"{found.num_generators} generators, {seeds} retrieval seeds each"]
    told += _generators(found)
    told += _champions(found)
    for name, rows in found.correlations.items():
        told += ["", f"{name}: Spearman over generators, more is better"]
        told += [f"  {score}: {one.describe()}" for score, one in rows.items()]
        told += _settled(found.differences[name])
        told += _predicted(found.predictions[name])
        told += _gained(found.choice_gains[name])
        told += _noise(found.deviations[name], found.paired_deviations[name])
    return told


def _measured(groups: Sequence[Sequence[Row]], means: Mapping[str, Sequence[float]]) -> list[Measured]:
    """In falling order of the mAP by night, or of the first where none is by night."""
    found = [_of(group, i, means) for i, group in enumerate(groups)]
    return sorted(found, key=lambda one: -one.maps[_first(means)])


def _of(group: Sequence[Row], place: int, means: Mapping[str, Sequence[float]]) -> Measured:
    return Measured(group[0].name, len(group), {name: values[place] for name, values in means.items()})


def _first(maps: Mapping[str, Any]) -> str:
    """The mAP by night, or the first where none is by night."""
    return next((name for name in maps if name.endswith("/night")), next(iter(maps)))


def _chosen(
    groups: Sequence[Sequence[Row]],
    means: Mapping[str, Sequence[float]],
    scores: Mapping[str, Sequence[float]],
) -> list[Chosen]:
    """Of scores that every generator has; the first generator where two are as good."""
    return [
        Chosen(score, _of(groups[best], best, means))
        for score, values in scores.items()
        if all(map(math.isfinite, values))
        for best in [max(range(len(values)), key=values.__getitem__)]
    ]


def _generators(found: Answer) -> list[str]:
    """mAP in percent, its standard error by the deviation over seeds, pooled over generators."""
    told = [""]
    for one in found.generators:
        maps = []
        for name, value in one.maps.items():
            deviation = found.deviations[name]
            error = f" ± {100 * deviation / math.sqrt(one.num_seeds):.1f}" if deviation is not None else ""
            maps.append(f"{name.removeprefix(MAP)} {100 * value:.1f}{error}")
        seeds = "1 seed" if one.num_seeds == 1 else f"{one.num_seeds} seeds"
        told.append(f"  {one.name}, {seeds}: {', '.join(maps)}")
    return told


def _champions(found: Answer) -> list[str]:
    """A line a score: whom it chooses, and how far that one's mAP is from the choice of the table's first score."""
    if not found.chosen:
        return []
    first, maps = found.chosen[0], found.chosen[0].generator.maps
    name = _first(maps)
    told = ["", f"champion by {first.score}: {first.generator.name}, {_percent(name, maps[name])}"]
    deviation = found.paired_deviations[name]
    for one in found.chosen[1:]:
        who, value = one.generator, one.generator.maps[name]
        if who.name == first.generator.name:
            told.append(f"  by {one.score}: the same")
            continue
        noise = ""
        if deviation is not None:
            error = 100 * deviation * math.sqrt(1 / who.num_seeds + 1 / first.generator.num_seeds)
            noise = f" ± {error:.1f}"
        told.append(
            f"  by {one.score}: {who.name}, {_percent(name, value)}: {100 * (value - maps[name]):+.1f}{noise} points"
        )
    return told


def _percent(name: str, value: float) -> str:
    return f"{name.removeprefix(MAP)} {100 * value:.1f}"


def _settled(differences: Sequence[agreement.Difference]) -> list[str]:
    """A line a score that goes with it better than others do, with the smallest of its differences."""
    before: dict[str, list[agreement.Difference]] = {}
    for one in differences:
        if one.is_settled and one.interval is not None:
            before.setdefault(one.better, []).append(one)
    if not before:
        return ["  no score goes with it better than another beyond what other generators would change"]
    told = []
    for better, each in before.items():
        least = min(each, key=lambda one: one.value)
        low, high = least.interval or (math.nan, math.nan)
        named = ", ".join(one.worse for one in each)
        told.append(f"  {better} before {named}: by {least.value:+.2f} [{low:+.2f}, {high:+.2f}] at least")
    return told


def _predicted(predictions: Sequence[agreement.Prediction]) -> list[str]:
    if not predictions:
        return [f"  prediction of generators left out: needs {MIN_POINTS} generators"]
    pairs = [one for one in predictions if len(one.scores) == 2]
    single = next((one for one in predictions if len(one.scores) == 1), None)
    told = [f"  predicting generators left out: {single.scores[0]} {single.rho:+.2f}"] if single else []
    return told + ([f"  best pair: {' with '.join(pairs[0].scores)} {pairs[0].rho:+.2f}"] if pairs else [])


def _gained(gain: agreement.ChoiceGain | None) -> list[str]:
    if gain is None:
        return []
    low, high = (100 * end for end in gain.interval)
    return [
        f"  the score that half of the generators recommend ({gain.most_recommended} mostly) chooses in the other "
        "half: "
        f"{100 * gain.value:+.1f} points [{low:+.1f}, {high:+.1f}] beside the choice by {gain.base}"
    ]


def _noise(deviation: float | None, paired: float | None) -> list[str]:
    if deviation is None:
        return ["  deviation over seeds: not known of one seed each"]
    count = agreement.seeds_needed(deviation, _DIFFERENCE)
    told = [
        f"  deviation over seeds: {100 * deviation:.1f} points; a difference of {100 * _DIFFERENCE:.0f} points needs "
        f"{count} seeds an arm"
    ]
    if paired is not None:
        count = agreement.seeds_needed(paired, _DIFFERENCE)
        told.append(
            f"  beside what a seed does to all: {100 * paired:.1f} points, {count} seeds that both arms have"
        )
    return told


def _scores(groups: Sequence[Sequence[Row]]) -> dict[str, list[float]]:
    """Each score of every generator, turned so that more is better; one of unknown direction is left out."""
    names = dict.fromkeys(name for group in groups for name in group[0].scores)
    sign = {name: {"maximize": 1.0, "minimize": -1.0}.get(direction_of(name) or "") for name in names}
    return {
        name: [turn * group[0].scores.get(name, math.nan) for group in groups]
        for name, turn in sign.items()
        if turn is not None
    }


def _maps(rows: Sequence[Row]) -> list[str]:
    """The mAPs that every row has."""
    return [name for name in rows[0].maps if all(name in row.maps for row in rows)]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
