"""A study's YAML: what is searched, how, and when it ends. Pure: neither optuna nor a database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen

from d2n import config
from d2n.config import MACHINE_KNOBS, Name, RetrievalExperiment, Scalar, Seed, TranslationExperiment
from d2n.config.kinds import KINDS, Experiment
from d2n.config.methods import having
from d2n.errors import StudyError

_STRICT = {"extra": "forbid", "strict": False, "allow_inf_nan": False}
_EMPTY: Mapping[str, Scalar] = {}
_NO_PART = ("name", "register_as", *MACHINE_KNOBS)  # of an arm, in what a study is


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One searched knob: a range, choices or a switch, perhaps only under a condition on other knobs."""

    __pydantic_config__ = _STRICT
    type: Literal["float", "int", "categorical", "bool"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: Annotated[float, Gt(0)] | None = None
    choices: tuple[Scalar, ...] = ()
    when: Mapping[str, Scalar | list[Scalar]] = field(
        default_factory=dict
    )  # all must hold; a list: any of these

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values that an experiment must accept: both ends of a range, every choice."""
        if self.type == "bool":
            return (False, True)
        if self.type == "categorical":
            return self.choices
        if self.low is None or self.high is None:
            raise StudyError(f"a {self.type} dimension needs low and high, found {self.low} and {self.high}")
        return (int(self.low), int(self.high)) if self.type == "int" else (self.low, self.high)

    def contains(self, value: Scalar) -> bool:
        """Whether a value can be searched here."""
        if self.type in ("bool", "categorical"):
            return any(value == choice and type(value) is type(choice) for choice in self.ends)
        low, high = (float(end) for end in self.ends if end is not None)
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A logged score and which way is better (a known score says itself, whatever the YAML leaves out).

    ``fid`` also finds ``fid.<extractor>`` when only one is logged.
    """

    __pydantic_config__ = _STRICT
    score: Annotated[str, MinLen(1)]
    direction: Literal["minimize", "maximize"]  # absent in a YAML: the score's own


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A bound on a logged score; a trial beyond it is infeasible, its objective stays known."""

    __pydantic_config__ = _STRICT
    score: Annotated[str, MinLen(1)]
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Which sampler of Optuna proposes settings. Trial n draws from the seed (seed, n)."""

    __pydantic_config__ = _STRICT
    name: Literal["tpe", "gp", "cmaes", "random", "grid", "qmc", "nsga2", "nsga3"] = "tpe"
    seed: Seed = 0
    n_startup_trials: Annotated[int, Ge(0), Le(1_000_000)] | None = (
        None  # random ones before the model (tpe, gp, cmaes)
    )
    population_size: Annotated[int, Ge(2), Le(100_000)] = 20  # nsga2, nsga3


@dataclass(frozen=True, kw_only=True)
class PrunerConfig:
    """Which pruner of Optuna ends hopeless trials early. wilcoxon compares over the seeds of a trial."""

    __pydantic_config__ = _STRICT
    name: Literal["none", "median", "percentile", "hyperband", "successive_halving", "wilcoxon"] = "median"
    n_startup_trials: Annotated[int, Ge(0), Le(1_000_000)] = 5
    n_warmup_steps: Annotated[int, Ge(0), Le(1_000_000)] = (
        0  # reports of a trial before it can be pruned are at later steps
    )
    interval_steps: Annotated[int, Ge(1), Le(1_000_000)] = 1
    percentile: Annotated[float, Ge(0), Le(100)] = 25.0
    min_resource: Annotated[int, Ge(1), Le(1_000_000)] = 1
    max_resource: Annotated[int, Ge(1), Le(1_000_000)] | None = (
        None  # None: Optuna infers it from finished trials
    )
    reduction_factor: Annotated[int, Ge(2), Le(1000)] = 3
    p_threshold: Annotated[float, Gt(0), Lt(1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class StopConfig:
    """When a study has enough; the first rule that holds ends it."""

    __pydantic_config__ = _STRICT
    trials: Annotated[int, Ge(1), Le(10_000_000)] | None = None  # claimed, whatever came of them
    hours: Annotated[float, Gt(0), Le(1e6)] | None = None  # hours of trials, summed over workers
    no_improvement: Annotated[int, Ge(1), Le(10_000_000)] | None = None  # finished trials since the best one
    gpu_hours: Annotated[float, Gt(0), Le(1e6)] | None = None  # hours of trials times gpus_per_trial
    gpus_per_trial: Annotated[float, Gt(0), Le(1000)] = 1.0  # 0.5: two workers share one
    euros: Annotated[float, Gt(0), Le(1e9)] | None = None  # hours of trials at euros_per_hour
    euros_per_hour: Annotated[float, Gt(0), Le(1e6)] | None = (
        None  # what a worker's machine, or its share, costs
    )

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the rules that are set."""
        names = ("trials", "hours", "no_improvement", "gpu_hours", "euros")
        return tuple(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """The retrieval network that each trial of a study of translators trains with its generator, for its mAP.

    It sees validation scenes; its night is the trial's generator. What it costs is what its experiment says.
    """

    __pydantic_config__ = _STRICT
    experiment: Annotated[str, MinLen(1), MaxLen(4096)]  # a retrieval YAML, found as the study's own is
    overrides: Mapping[str, Any] = field(default_factory=dict)  # such as training.n_epochs: 4, num_seeds: 2


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """One study: an experiment, a space, objectives, and the rules of its search."""

    __pydantic_config__ = _STRICT
    name: Name
    experiment: Annotated[str, MinLen(1), MaxLen(4096)]  # a YAML, relative to the study's own file
    overrides: Mapping[str, Any] = field(default_factory=dict)
    arm: ArmConfig | None = None  # of a translator's study: the objective may be map/<benchmark>
    space: Mapping[str, Dimension]
    objectives: Annotated[tuple[Objective, ...], MinLen(1)] = (Objective(score="fid", direction="minimize"),)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    seeds_per_trial: Annotated[int, Ge(1), Le(1000)] = 1  # experiment.seed, seed + 1, …
    constraints: tuple[Constraint, ...] = ()
    enqueue: tuple[Mapping[str, Scalar], ...] = ()  # settings tried first
    stop: StopConfig = field(default_factory=lambda: StopConfig(trials=20))
    max_attempts: Annotated[int, Ge(1), Le(1000)] = 3  # workers that may die on one trial
    lease_s: Annotated[float, Ge(1), Le(1e7)] = 300.0  # a worker without a sign for so long is dead
    yields_to: tuple[Name, ...] = ()  # studies of the storage: while one of them works, this one does not
    reuse: bool = False  # take the scores of an identical finished run instead of training again
    warm_start: tuple[str, ...] = ()  # studies whose best settings are tried first
    dataset: Name | None = None  # the tracked experiment is d2n/<dataset>; None: the experiment's data set


@dataclass(frozen=True)
class StudyDefinition:
    """A study's YAML together with its experiment, both resolved and checked against each other."""

    config: StudyConfig
    experiment: Experiment
    values: Mapping[str, Any]  # the experiment's YAML with all overrides, before a trial's settings
    source: str
    arm: RetrievalExperiment | None = None  # what each trial trains with its generator

    @property
    def dataset(self) -> str:
        """The data set's name in tracking and in the registry."""
        return self.config.dataset or self.experiment.dataset.name

    def experiment_for(
        self, params: Mapping[str, Scalar], overrides: Mapping[str, Any] = _EMPTY
    ) -> Experiment:
        """The experiment with a trial's settings."""
        return experiment_of(self.values, {**params, **overrides}, self.source)

    def with_values(self, changed: Mapping[str, Scalar]) -> StudyDefinition:
        """The study of an experiment with some knobs set."""
        if not changed:
            return self
        values = config.with_overrides(self.values, changed.items())
        return replace(self, values=values, experiment=experiment_of(values, {}, self.source))

    def identity(self) -> dict[str, Any]:
        """What two continuations of one study must share: space, objectives, experiment; as JSON can hold it."""
        experiment = {k: v for k, v in config.flatten(self.experiment).items() if k not in MACHINE_KNOBS}
        known = {k: v for k, v in config.flatten(self.arm).items() if k not in _NO_PART} if self.arm else {}
        return {
            **({"arm": known} if known else {}),
            "space": {knob: config.to_dict(dimension) for knob, dimension in self.config.space.items()},
            "objectives": [config.to_dict(objective) for objective in self.config.objectives],
            "seeds_per_trial": self.config.seeds_per_trial,
            "experiment": {
                knob: value for knob, value in experiment.items() if knob not in self.config.space
            },
        }


def active(space: Mapping[str, Dimension], knob: str, known: Mapping[str, Any]) -> bool:
    """Whether a dimension's condition holds for the settings known so far."""
    return all(
        known.get(other) in (wanted if isinstance(wanted, list) else [wanted])
        for other, wanted in space[knob].when.items()
    )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Readable lines, one for each part in which two study identities differ."""
    lines = []
    for part in ("space", "objectives", "seeds_per_trial", "experiment", "arm"):
        old, new = before.get(part), now.get(part)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = sorted({*old, *new})
            lines += [
                f"{part} {key}: {_brief(old.get(key))} -> {_brief(new.get(key))}"
                for key in keys
                if old.get(key) != new.get(key)
                and not (part in ("experiment", "arm") and _says_nothing(key, old, new))
            ]
        elif old != new:
            lines.append(f"{part}: {_brief(old)} -> {_brief(new)}")
    return lines


def _says_nothing(knob: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a difference of two experiments is one of releases, or of machines, and not of what is searched."""
    return (
        knob in MACHINE_KNOBS
        or config.decisive(knob, old.get(knob)) == config.decisive(knob, new.get(knob))
        or _foreign(knob, old, new)
        or _added_since(knob, old, new)
    )


def _added_since(knob: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a knob came with a later release and stands at its default, which is what there was before."""
    if knob in old:
        return False
    defaults = _defaults(new)
    return knob in defaults and defaults[knob] == new.get(knob)


def _defaults(knobs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Every knob of an experiment of this kind, and where it is a translator's of this method, at its default."""
    kind = str(knobs.get("kind", "translation"))
    if kind != "translation":
        return config.flatten(KINDS[kind]()) if kind in KINDS else {}
    row = config.METHODS.get(str(knobs.get("translator.method", "cyclegan")))
    if row is None:
        return {}
    return config.flatten(TranslationExperiment(translator=row.config(method=row.name)))


def _foreign(knob: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether one side alone has a knob of another method: identities were stored with those of all methods once."""
    room, _, name = knob.rpartition(".")
    return room == "translator" and bool(having(name)) and (knob in old) != (knob in new)


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        value = {k: v for k, v in value.items() if v not in (None, [], {}, False)}
    return "absent" if value is None else json.dumps(value, sort_keys=True)


def experiment_of(values: Mapping[str, Any], settings: Mapping[str, Any], source: str) -> Experiment:
    """A study's experiment, of either kind, with the settings of a trial."""
    return config.build_experiment(values, settings, source)
