"""A run that trained and measured retrieval networks: the arm, its generator, and mAP by benchmark."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.config import RetrievalExperiment, flatten, telling_knobs, to_dict
from d2n.core import EpochResult
from d2n.tracking import names
from d2n.tracking.records import reading, scores
from d2n.tracking.records.entries import Entries
from d2n.tracking.values import param_text

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord

_MAP = "map/"
QUERIES = "tables/average_precisions.json"  # of every query and seed
_MEASURE = re.compile(r"(map|map_easy|map_medium|map_hard|mp\d+|recall\d+)/")


@dataclass(frozen=True)
class MapRecord:
    """mAP of one benchmark in [0, 1]: the mean over the seeds, and its deviation; None for one seed."""

    mean: float
    std: float | None
    num_seeds: int


@dataclass(frozen=True)
class RetrievalRecord:
    """A retrieval run, read back; '' stands for what it does not say."""

    experiment: str = ""  # the name in the YAML
    dataset: str = ""
    dataset_digest: str = ""
    arm: str = "none"  # none, generator, photometric, clahe
    maps: Mapping[str, MapRecord] = field(default_factory=dict)  # by benchmark
    generator_name: str = ""  # the registered generator of its nights
    generator_version: str = ""
    generator_model_id: str = ""
    knobs: Mapping[str, str] = field(default_factory=dict)
    model_id: str = ""
    commit: str = ""

    @classmethod
    def read(cls, record: RunRecord) -> RetrievalRecord:
        """What the run says; UnreadableError where its number of seeds is none, or its knobs were edited by hand."""
        reading.require_knobs(record)
        tags, knobs = record.tags, RetrievalRecord.knobs_of(record)
        num_seeds = reading.whole_number(record, "param num_seeds", knobs.get("num_seeds", "1"))
        spread = scores.of_kind(record.metrics, "map_std")
        maps = {
            benchmark: MapRecord(mean, spread.get(benchmark), num_seeds)
            for benchmark, mean in scores.of_kind(record.metrics, "map").items()
            if math.isfinite(mean)
        }
        return cls(
            experiment=tags.get(names.EXPERIMENT_NAME, ""),
            dataset=tags.get(names.DATASET, ""),
            dataset_digest=tags.get(names.DATASET_DIGEST, ""),
            arm=tags.get(names.ARM) or knobs.get("night.augmentation", "none"),
            maps=maps,
            generator_name=tags.get(names.GENERATOR_NAME, ""),
            generator_version=tags.get(names.GENERATOR_VERSION, ""),
            generator_model_id=tags.get(names.GENERATOR_MODEL_ID, ""),
            knobs=knobs,
            model_id=tags.get(names.MODEL_ID, ""),
            commit=tags.get(names.GIT_COMMIT, ""),
        )

    @staticmethod
    def knobs_of(record: RunRecord) -> dict[str, str]:
        """A run's params; a knob that came with a later release stands at its default, which is what there was."""
        knobs = {key: str(value) for key, value in record.params.items()}
        if record.kind != RetrievalExperiment.kind or "network.backbone" not in knobs:
            return knobs
        return {**{key: param_text(value) for key, value in flatten(RetrievalExperiment()).items()}, **knobs}

    @staticmethod
    def values(record: RunRecord) -> dict[str, dict[str, float]]:
        """What a study compares: score and, where there are seeds, score_std, each by the measure's name."""
        known = {
            **scores.of_kind(record.metrics, "score"),
            **record.metrics,
        }  # of a trial with seeds: the means
        found = {key: value for key, value in known.items() if _MEASURE.match(key)}
        spread = scores.of_kind(record.metrics, "map_std")
        return {"score": found, "score_std": {f"{_MAP}{key}": value for key, value in spread.items()}}

    @staticmethod
    def begun(experiment: RetrievalExperiment, dataset_digest: str) -> Entries:
        """What is known before training; data sets and the generator are logged by the run itself."""
        return Entries(
            params=flatten(experiment),
            tags={
                names.KIND: experiment.kind,
                names.DATASET: experiment.dataset.name,
                names.DATASET_DIGEST: dataset_digest,
                names.EXPERIMENT_NAME: experiment.name,
                names.ARM: experiment.night.augmentation,
            },
            texts={names.CONFIG_JSON: json.dumps(to_dict(experiment), indent=2)},
            shown=telling_knobs(experiment),
        )

    @staticmethod
    def epoch(epoch: EpochResult, number: int) -> Entries:
        """An epoch's losses of the seed of that number."""
        metrics = {f"{names.loss(key)}/seed{number}": value for key, value in epoch.losses.items()}
        return Entries(metrics={**metrics, f"{names.IMAGES_PER_S}/seed{number}": epoch.images_per_s})

    @staticmethod
    def measured(values: Mapping[str, float]) -> Entries:
        """What one seed measured; the step is the seed's number."""
        return Entries(metrics={f"seed/{key}": value for key, value in values.items()})

    @staticmethod
    def validated(values: Mapping[str, float], number: int) -> Entries:
        """What validation queries of the seed of that number gave between two epochs; the step is the epoch."""
        return Entries(metrics={f"val/{key}/seed{number}": value for key, value in values.items()})

    @staticmethod
    def on_the_way(values: Mapping[str, float], number: int) -> Entries:
        """What the seed of that number measured between two epochs; the step is the epoch."""
        return Entries(metrics={f"epoch/{key}/seed{number}": value for key, value in values.items()})

    @staticmethod
    def nights(seed: int, origins: Sequence[str]) -> Entries:
        """Whose nights each seed is trained with, from the first seed on."""
        seeds = list(range(seed, seed + len(origins)))
        return Entries(tables={"tables/generators.json": {"seed": seeds, "generator": list(origins)}})

    @staticmethod
    def logged_network(model_id: str) -> Entries:
        """The first seed's network, which is a logged model."""
        return Entries(tags={names.MODEL_ID: model_id})

    @staticmethod
    def ended(
        values: Mapping[str, Sequence[float]],
        average_precisions: Mapping[str, Sequence[Sequence[float]]] | None = None,
    ) -> Entries:
        """Of every measure, one value a seed: the mean, the deviation of mAP, and all as a table.

        ``average_precisions`` by benchmark, of each seed and query: a table of their own, by which arms are compared.
        """
        metrics = {key: float(np.mean(series)) for key, series in values.items()}
        metrics |= {
            f"map_std/{key.removeprefix(_MAP)}": float(np.std(series, ddof=1))
            for key, series in values.items()
            if key.startswith(_MAP) and len(series) > 1
        }
        table: dict[str, list[Any]] = {"measure": list(values)}
        for number in range(len(next(iter(values.values()), ()))):
            table[f"seed{number}"] = [series[number] for series in values.values()]
        tables = {"tables/map.json": table}
        if average_precisions:
            tables[QUERIES] = _by_query(average_precisions)
        return Entries(metrics=metrics, tables=tables)

    @staticmethod
    def average_precisions(table: Mapping[str, Sequence[Any]]) -> dict[str, list[list[float]]]:
        """By benchmark, of each seed and query, NaN where there is none: what QUERIES holds, read back."""
        seeds = [key for key in table if key.startswith("seed")]
        found: dict[str, list[list[float]]] = {}
        for i, benchmark in enumerate(table.get("benchmark", ())):
            of_seeds = found.setdefault(str(benchmark), [[] for _ in seeds])
            for values, key in zip(of_seeds, seeds, strict=True):
                values.append(math.nan if table[key][i] is None else float(table[key][i]))
        return found


def _by_query(average_precisions: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[Any]]:
    """A line a query of each benchmark, a column a seed."""
    table: dict[str, list[Any]] = {"benchmark": [], "query": []}
    for benchmark, of_seeds in average_precisions.items():
        count = len(of_seeds[0])
        table["benchmark"] += [benchmark] * count
        table["query"] += range(count)
        for number, values in enumerate(of_seeds):
            known = [value if math.isfinite(value) else None for value in values]
            table.setdefault(f"seed{number}", []).extend(known)
    return table
