"""From tracked runs to the rows of the report: generators with their scores, arms with their mAP and lineage."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from d2n.core import Score, ScoreProtocol
from d2n.errors import D2NError
from d2n.scores.resampling import paired_difference
from d2n.tracking import names, uses
from d2n.tracking.records import Elsewhere, RetrievalRecord, TranslationRecord
from d2n.workflows.report.reading import Runs, find, readable, score_base
from d2n.workflows.report.studies import Study, Trial, read_studies

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store

__all__ = [
    "Arm",
    "Difference",
    "Generator",
    "MapValue",
    "Study",
    "Trial",
    "baseline_of",
    "difference",
    "read_arms",
    "read_generators",
    "read_studies",
    "require_runs",
    "score_base",
]

# Params that make an arm beside its augmentation: how images enter, and what queries go through first.
_ENTERING = ("network.light", "network.clahe_", "network.gamma_target", "evaluation.query_translation")
# Params in which two arms may differ and still be compared: what the arm is, and how it is called.
_FREE_PARAMS = (
    "night.", *_ENTERING, "name", "register_as", "dataset.root", "dataset.index", "evaluation.roots",
    "evaluation.measure_every_epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Generator:
    """A translation run as the report shows it."""

    run_id: str
    name: str  # the experiment's, or the trial's
    method: str
    dataset: str
    dataset_digest: str
    split: str  # test, or val where it was never scored on test
    protocol: ScoreProtocol | None  # of its scores
    scores: Mapping[str, Score]
    by_split: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)  # of both, where it has them
    protocols: Mapping[str, ScoreProtocol | None] = field(default_factory=dict)  # by split
    model_id: str = ""
    study: str = ""
    trial: str = ""
    commit: str = ""
    seed: str = ""
    setting: str = ""  # digest of what makes the network: the same for all of its seeds
    side_px: int = 0  # of its images; 0: not known
    experiment_id: str = ""
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)  # by another data set

    @property
    def group(self) -> str:
        """Scores of one group may be compared."""
        return self.protocol.identity if self.protocol else "no protocol"

    def identity(self, split: str) -> str:
        """Of the protocol of a split's scores; '' where it has none there."""
        found = self.protocols.get(split)
        return "" if split not in self.by_split else found.identity if found else "no protocol"


@dataclass(frozen=True)
class MapValue:
    """mAP of one benchmark in percent."""

    mean: float
    std: float | None  # over seeds; None for one seed
    num_seeds: int

    @property
    def standard_error(self) -> float | None:
        """Of the mean."""
        return None if self.std is None else self.std / math.sqrt(self.num_seeds)


@dataclass(frozen=True)
class Arm:
    """A retrieval run: without augmentation (the baseline), or with one."""

    run_id: str
    name: str
    dataset: str
    dataset_digest: str
    augmentation: str  # none, generator, photometric, clahe, oracle
    maps: Mapping[str, MapValue]  # by benchmark, such as toycity/night
    settings: Mapping[str, str]  # all params but those that make the arm
    light: str = "none"  # how images enter the network
    queries_by: str = ""  # the generator that night queries go through
    generator_name: str = ""  # the registered model
    generator_version: str = ""  # the first seed's
    generator_versions: tuple[str, ...] = ()  # where seeds took several in turn: of all
    generator: Generator | None = None  # its translation run, where the store has it
    details: Mapping[str, str] = field(default_factory=dict)  # the night params
    average_precisions: Mapping[str, Sequence[Sequence[float]]] = field(
        default_factory=dict
    )  # (seeds, queries)
    commit: str = ""
    experiment_id: str = ""

    @property
    def is_baseline(self) -> bool:
        """Trained without night augmentation, on images and by queries as they are."""
        return self.augmentation == "none" and self.light == "none" and not self.queries_by

    @property
    def label(self) -> str:
        """Short name in tables and figures."""
        entering = [f"{self.light} light"] if self.light != "none" else []
        entering += [f"queries by {self.queries_by}"] if self.queries_by else []
        if self.augmentation == "none":
            return ", ".join(entering) or "baseline"
        return ", ".join([self._nights, *entering])

    @property
    def _nights(self) -> str:
        if self.augmentation != "generator":
            return self.augmentation
        method = f"{self.generator.method}, {self.generator.dataset}" if self.generator else "generator"
        return f"{method} ({self.registered})"

    @property
    def registered(self) -> str:
        """The registered generator, with every version that its seeds took in turn; '' where there is none."""
        versions = self.generator_versions or (self.generator_version,)
        return f"{self.generator_name} v{', v'.join(versions)}" if self.generator_name else ""


@dataclass(frozen=True)
class Difference:
    """mAP of an arm minus its baseline's, in percent points."""

    value: float
    standard_error: float | None
    interval: tuple[float, float] | None = None  # 95 % over the queries; None where they were not kept

    @property
    def is_noise(self) -> bool | None:
        """Whether it is under two standard errors; None where they are not known (one seed)."""
        return None if self.standard_error is None else abs(self.value) < 2 * self.standard_error


def read_generators(store: Store | Runs, dataset: str | None = None) -> list[Generator]:
    """Every translation run that has a score, newest last; of runs and trials alike."""
    found = find(store, "translation", dataset)
    return [made for record in found if (made := readable(record, _generator)) is not None]


def read_arms(store: Store | Runs, generators: Sequence[Generator], dataset: str | None = None) -> list[Arm]:
    """Every finished retrieval run with an mAP: of the same arm and settings only the newest."""
    by_model = {g.model_id: g for g in generators if g.model_id}
    newest: dict[tuple[Any, ...], Arm] = {}
    for record in find(store, "retrieval", dataset, status="FINISHED"):
        if names.PARENT_RUN in record.tags:
            continue  # a study's: measured on validation scenes to choose by
        arm = readable(record, lambda one: _arm(one, by_model))
        if arm is not None and arm.maps:
            key = (arm.dataset, tuple(sorted(arm.settings.items())), tuple(sorted(arm.details.items())))
            newest[
                *key, arm.augmentation, arm.generator_name, arm.generator_version, arm.generator_versions
            ] = arm
    return list(newest.values())


def baseline_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm without augmentation of the same data set and settings."""
    same = (a for a in arms if a.is_baseline and a.dataset == arm.dataset and a.settings == arm.settings)
    return next(same, None) if not arm.is_baseline else None


def difference(arm: Arm, baseline: Arm | None, benchmark: str) -> Difference | None:
    """mAP against the baseline: the standard error takes the seeds of both as independent.

    The interval pairs their queries.
    """
    ours = arm.maps.get(benchmark)
    theirs = baseline.maps.get(benchmark) if baseline else None
    if ours is None or theirs is None:
        return None
    errors = ours.standard_error, theirs.standard_error
    both = None if errors[0] is None or errors[1] is None else math.hypot(errors[0], errors[1])
    return Difference(ours.mean - theirs.mean, both, _over_queries(arm, baseline, benchmark))


def _over_queries(arm: Arm, baseline: Arm | None, benchmark: str) -> tuple[float, float] | None:
    """95 % of the difference in percent points, of queries drawn anew for both."""
    ours = arm.average_precisions.get(benchmark)
    theirs = baseline.average_precisions.get(benchmark) if baseline else None
    if not ours or not theirs or len(ours[0]) != len(theirs[0]):
        return None
    _, found = paired_difference(np.asarray(ours), np.asarray(theirs))
    return None if found is None else (100 * found[0], 100 * found[1])


def require_runs(generators: Sequence[Generator], arms: Sequence[Arm], dataset: str | None) -> None:
    """D2NError that names the command, where there is nothing to report."""
    if not generators and not arms:
        of = f" of {dataset}" if dataset else ""
        raise D2NError(
            f"the tracking store has no scored translation run and no retrieval run{of}; make one with `d2n demo`, "
            "`d2n train experiments/<name>.yaml` or `d2n retrieve experiments/<name>.yaml`"
        )


def _generator(record: RunRecord) -> Generator | None:
    told = TranslationRecord.read(record)
    protocols = {"val": told.protocol, "test": told.test_protocol}
    by_split = {
        split: {name: Score(name, value, protocols[split]) for name, value in found.items()}
        for split, found in (("val", told.scores), ("test", told.test_scores))
        if found
    }
    if not by_split:
        return None
    split = "test" if told.test_scores else "val"
    return Generator(
        run_id=record.run_id,
        name=record.name,
        method=told.method,
        dataset=told.dataset,
        dataset_digest=told.dataset_digest,
        split=split,
        protocol=protocols[split],
        scores=by_split[split],
        by_split=by_split,
        protocols=protocols,
        model_id=told.model_id,
        study=told.study,
        trial=told.trial,
        commit=told.commit,
        seed=told.seed,
        setting=_setting(record),
        side_px=_whole(record.params.get("dataset.image_size_px")),
        experiment_id=record.experiment_id,
        elsewhere=Elsewhere.read(record),
    )


def _setting(record: RunRecord) -> str:
    """What is the same for all seeds of a network: its knobs, its data and how long it was trained."""
    of_machine = ("training.device", "training.precision", "training.num_", "training.log_", "training.check")
    told = {
        key: value
        for key, value in record.params.items()
        if key == "preset"
        or (key.startswith(("translator.", "training.")) and not key.startswith(of_machine))
    }
    told |= {key: record.tags.get(key, "") for key in (names.METHOD, names.DATASET, names.DATASET_DIGEST)}
    told["side"] = record.params.get("dataset.image_size_px", "")
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 7 else 0


def _queries_by(record: RunRecord, told: RetrievalRecord) -> str:
    """What queries were translated with: a version where one was recorded, else as the knob names it."""
    use = uses.read(record.run_id, record.tags).get(uses.QUERIES)
    if use is not None:
        return f"{use.name} v{use.version}" if use.kind == "version" else use.told
    named = told.knobs.get("evaluation.query_translation", "null")
    return "" if named in ("null", "None") else named


def _arm(record: RunRecord, by_model: Mapping[str, Generator]) -> Arm:
    told = RetrievalRecord.read(record)
    used = uses.generators_of(uses.read(record.run_id, record.tags))
    nights = {key: value for key, value in told.knobs.items() if key.startswith("night.")}
    light, queries = told.knobs.get("network.light", "none"), _queries_by(record, told)
    entering = {key: value for key, value in told.knobs.items() if key.startswith(_ENTERING)}
    return Arm(
        run_id=record.run_id,
        name=record.name,
        dataset=told.dataset,
        dataset_digest=told.dataset_digest,
        augmentation=told.arm,
        maps={
            name: MapValue(100 * one.mean, None if one.std is None else 100 * one.std, one.num_seeds)
            for name, one in told.maps.items()
        },
        settings={key: value for key, value in told.knobs.items() if not key.startswith(_FREE_PARAMS)},
        generator_name=told.generator_name,
        generator_version=told.generator_version,
        generator_versions=tuple(use.version for use in used if use.version),
        generator=by_model.get(told.generator_model_id),
        light=light,
        queries_by=queries,
        details={
            **(nights if told.arm != "none" else {}),
            **(entering if light != "none" or queries else {}),
        },
        commit=told.commit,
        experiment_id=record.experiment_id,
    )
