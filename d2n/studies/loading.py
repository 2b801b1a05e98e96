"""Reading a study's YAML and checking it against its experiment: every dimension, condition and enqueued setting."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from d2n import config, naming, shipped
from d2n.config import Scalar, TranslationExperiment
from d2n.config.kinds import Experiment
from d2n.config.methods import having as methods_with
from d2n.errors import ConfigError, StudyError
from d2n.files.reading import one_line
from d2n.scores import directed_names, direction_of
from d2n.studies.arm import arm_of, kind_in
from d2n.studies.definition import Dimension, StudyConfig, StudyDefinition, experiment_of

TRANSLATOR, METHOD = "translator", "translator.method"
MAX_GRID = 1_000_000  # settings; Optuna lists all of them


def load_study(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> StudyDefinition:
    """Read a study's YAML (a path, or a name as of ``d2n.shipped.find``) and its experiment's, and check both.

    Every dimension is checked against the experiment at both ends.

    ``overrides`` are knobs of the experiment, or with the prefix ``study.`` of the study itself
    (``study.stop.trials=4``). Raises ConfigError or StudyError with the file, the knob and what was expected.
    """
    path = shipped.find("optuna_studies", path)
    pairs = dict(overrides) if isinstance(overrides, Mapping) else dict(map(config.parse_override, overrides))
    values = _longhand(config.read_extended("optuna_studies", path))
    for knob in [knob for knob in pairs if knob.startswith("study.")]:
        config.set_knob(values, knob.removeprefix("study."), pairs.pop(knob))
    study = config.validated(StudyConfig, _directed(_longhand(values), str(path)), str(path))
    naming.checked_name(study.name, f"{path}: name", StudyError)
    if study.dataset is not None:
        naming.checked_dataset(study.dataset, f"{path}: dataset", StudyError)
    settings = {**study.overrides, **pairs}
    nested = config.read_extended("experiments", _beside(path, study.experiment))
    for knob in settings:
        _refuse_unknown_knob(knob, kind_in(nested), str(path))
    nested = config.with_overrides(nested, settings.items())
    experiment = experiment_of(nested, {}, str(path))
    arm = arm_of(study, experiment, lambda name: _beside(path, name), str(path))
    definition = StudyDefinition(study, experiment, nested, str(path), arm)
    check_study(definition)
    return definition


def check_study(definition: StudyDefinition) -> None:
    """Every dimension is a knob, has two values at least, and fits the experiment at both ends; so do the enqueued."""
    study, source = definition.config, definition.source
    if not study.space:
        raise StudyError(f"{source}: space is empty, expected at least one knob to search")
    for knob, dimension in study.space.items():
        _refuse_unknown_knob(knob, definition.experiment.kind, source)
        _check_dimension(knob, dimension, source)
        _check_condition(definition, knob)
        _check_methods(definition, knob)
    for _ in end_experiments(definition):
        pass  # making each is the check
    for settings in study.enqueue:
        _check_enqueued(definition, settings)
    _check_search(study, source)


def end_experiments(definition: StudyDefinition) -> Iterator[tuple[str, Experiment]]:
    """The experiment at both ends of every dimension and at every choice, as ``knob=value`` and the experiment."""
    for knob, dimension in definition.config.space.items():
        for value in dimension.ends:
            yield (
                f"{knob}={value}",
                definition.experiment_for({**_wanted_by(dimension), knob: value}),
            )


def _longhand(values: dict[str, Any]) -> dict[str, Any]:
    """``sampler: tpe`` and ``objective: {…}`` are short for ``sampler: {name: tpe}`` and ``objectives: [{…}]``."""
    values = dict(values)
    for room in ("sampler", "pruner"):
        if isinstance(values.get(room), str):
            values[room] = {"name": values[room]}
    if "objective" in values and "objectives" not in values:
        one = values.pop("objective")
        values["objectives"] = [{"score": one} if isinstance(one, str) else one]
    return values


def _directed(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Each objective with its direction: the score's own. The contrary is refused; another's must be given."""
    objectives = values.get("objectives")
    if not isinstance(objectives, list):
        return values
    return {**values, "objectives": [_with_direction(objective, source) for objective in objectives]}


def _with_direction(objective: Any, source: str) -> Any:
    score = objective.get("score") if isinstance(objective, Mapping) else objective
    if not isinstance(score, str):
        return objective  # the validation says what is wrong
    own = direction_of(score)
    given = objective.get("direction") if isinstance(objective, Mapping) else None
    if own is not None and given is not None and given != own:
        raise StudyError(f"{source}: objective {score} is to {own}, found direction: {given}; leave it out")
    if own is None and given is None:
        known = directed_names()
        raise StudyError(
            f"{source}: objective {score!r} is no known score{config.nearest(score, known)} (known: "
            f"{', '.join(known)}); of a score of your own say direction: minimize or maximize"
        )
    return {**(objective if isinstance(objective, Mapping) else {"score": score}), "direction": given or own}


def _beside(study: Path, experiment: str) -> Path:
    """Relative to the study's file, else from here, else by name."""
    beside = study.parent / experiment
    there = os.path.exists  # of a name that is too long a Path raises
    return beside if there(beside) else shipped.find("experiments", experiment)


def _refuse_unknown_knob(knob: str, kind: str, source: str) -> None:
    known = config.knobs(kind)
    if knob not in known and knob.rpartition(".")[0] not in known:
        raise StudyError(
            f"{source}: {one_line(knob)} is no knob of a {kind} experiment{config.nearest(knob[:100], known)}"
        )


def _check_dimension(knob: str, dimension: Dimension, source: str) -> None:
    if dimension.type in ("float", "int"):
        _check_range(knob, dimension, source)
    elif (
        dimension.low is not None or dimension.high is not None or dimension.log or dimension.step is not None
    ):
        raise StudyError(
            f"{source}: {knob} is {dimension.type}: low, high, log and step belong to float and int"
        )
    if dimension.type == "categorical" and len(set(map(repr, dimension.choices))) < 2:
        raise StudyError(
            f"{source}: {knob} has the choices {list(dimension.choices)}, expected at least two different ones; "
            "a knob with one value belongs into overrides"
        )
    if dimension.type != "categorical" and dimension.choices:
        raise StudyError(f"{source}: {knob} is {dimension.type} and has choices: those belong to categorical")


def _check_range(knob: str, dimension: Dimension, source: str) -> None:
    low, high = dimension.low, dimension.high
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise StudyError(
            f"{source}: {knob} has low {low} and high {high}, expected two finite numbers, low < high"
        )
    if dimension.log and (low <= 0 or dimension.step is not None):
        raise StudyError(f"{source}: {knob} is logarithmic: expected low > 0 (found {low}) and no step")
    if dimension.type == "int" and any(x is not None and x != int(x) for x in (low, high, dimension.step)):
        raise StudyError(f"{source}: {knob} is int, found low {low}, high {high}, step {dimension.step}")


def _check_condition(definition: StudyDefinition, knob: str) -> None:
    """A condition names knobs searched earlier, or fixed ones of the experiment, with values they can take."""
    space, earlier = definition.config.space, []
    for name in space:
        if name == knob:
            break
        earlier.append(name)
    for other, wanted in space[knob].when.items():
        _refuse_unknown_knob(other, definition.experiment.kind, definition.source)
        if other in space and other not in earlier:
            raise StudyError(
                f"{definition.source}: {knob} depends on {other}: write {other} before it in space"
            )
        values = wanted if isinstance(wanted, list) else [wanted]
        if other in space and not any(space[other].contains(value) for value in values):
            raise StudyError(
                f"{definition.source}: {knob} waits for {other} = {wanted}, which is never searched"
            )


def _check_methods(definition: StudyDefinition, knob: str) -> None:
    """A knob that some methods lack is searched only with those that have it."""
    having, experiment = methods_with(knob.removeprefix(f"{TRANSLATOR}.")), definition.experiment
    if (
        not knob.startswith(f"{TRANSLATOR}.")
        or not having
        or not isinstance(experiment, TranslationExperiment)
    ):
        return
    space, when = definition.config.space, definition.config.space[knob].when
    if METHOD in when:
        wanted = when[METHOD]
        possible = wanted if isinstance(wanted, list) else [wanted]
    else:
        possible = list(space[METHOD].ends if METHOD in space else [experiment.translator.method])
    lacking = [str(method) for method in possible if method not in having]
    if lacking:
        has = f"a knob of {' and '.join(having)}, which {' and '.join(lacking)} has not"
        condition = f"when: {{{METHOD}: {having[0]}}}" if METHOD in space else "leave it out of space"
        raise StudyError(f"{definition.source}: {knob} is {has}; {condition}")


def _wanted_by(dimension: Dimension) -> dict[str, Scalar]:
    return {
        other: wanted[0] if isinstance(wanted, list) else wanted for other, wanted in dimension.when.items()
    }


def _check_enqueued(definition: StudyDefinition, settings: Mapping[str, Scalar]) -> None:
    space = definition.config.space
    for knob, value in settings.items():
        if knob not in space:
            raise StudyError(
                f"{definition.source}: enqueue sets {knob}, which space lacks{config.nearest(knob, space)}"
            )
        if not space[knob].contains(value):
            expected = (
                " to ".join(map(str, space[knob].ends)) if space[knob].choices == () else space[knob].choices
            )
            raise StudyError(f"{definition.source}: enqueue sets {knob} = {value!r}, expected {expected}")
    definition.experiment_for(settings)


def _grid_size(study: StudyConfig) -> float:
    return math.prod(
        len(d.ends)
        if d.type in ("categorical", "bool")
        else ((d.high or 0) - (d.low or 0)) / (d.step or 1) + 1
        for d in study.space.values()
    )


def _check_search(study: StudyConfig, source: str) -> None:
    several = len(study.objectives) > 1
    sampler, pruner = study.sampler.name, study.pruner.name
    if several and sampler == "cmaes":
        raise StudyError(
            f"{source}: cmaes searches one objective, found {len(study.objectives)}; take tpe or nsga2"
        )
    if several and pruner != "none":
        raise StudyError(
            f"{source}: pruner {pruner} with {len(study.objectives)} objectives; expected pruner: none"
        )
    if sampler == "grid" and any(d.type == "float" and d.step is None for d in study.space.values()):
        raise StudyError(f"{source}: a grid needs a step in every float dimension")
    if sampler == "grid" and (size := _grid_size(study)) > MAX_GRID:
        raise StudyError(
            f"{source}: a grid of {size:.3g} settings, at most {MAX_GRID} are listed; widen the steps"
        )
    if sampler == "grid" and any(d.when for d in study.space.values()):
        raise StudyError(f"{source}: a grid takes no conditional dimensions; take tpe or random")
    if pruner == "wilcoxon" and 0.5 ** (study.seeds_per_trial - 1) >= study.pruner.p_threshold:
        least = next(n for n in range(2, 2000) if 0.5 ** (n - 1) < study.pruner.p_threshold)
        raise StudyError(
            f"{source}: wilcoxon compares over seeds, seeds_per_trial is {study.seeds_per_trial}: before the last "
            f"of them its p is at least {0.5 ** (study.seeds_per_trial - 1):.3g}, so that pruner.p_threshold "
            f"{study.pruner.p_threshold:g} ends no trial; expected seeds_per_trial from {least} on"
        )
    for one in study.constraints:
        if (one.at_most is None) == (one.at_least is None):
            raise StudyError(f"{source}: the constraint on {one.score} needs either at_most or at_least")
    _check_stop(study, source)


def _check_stop(study: StudyConfig, source: str) -> None:
    if not study.stop.rules:
        raise ConfigError(
            f"{source}: stop names no rule, expected trials, hours, no_improvement, gpu_hours or euros"
        )
    if study.stop.euros is not None and study.stop.euros_per_hour is None:
        raise ConfigError(f"{source}: stop.euros needs stop.euros_per_hour, what an hour of a worker costs")
