"""What a study knows so far: trials by state, the leader and whether it leads by more than noise, who works on what."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from d2n.config import Scalar
from d2n.studies.cost import Spent, gain
from d2n.studies.leases import Lease, LeaseTable, this_process
from d2n.studies.study import DATASET, DEFINITION, FINISHED, RUN_ID, best_trials, feasible

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
_SIGMAS = 2.0  # differences below so many standard deviations are noise


@dataclass(frozen=True)
class TrialRow:
    """One trial in plain values."""

    number: int
    state: str
    values: tuple[float, ...]  # of a pruned trial the last one seen; empty before the first
    settings: Mapping[str, Scalar]
    std: float | None  # of the first objective: over seeds, else the bootstrap's
    floor: float | None  # real images against real ones
    intermediate: Mapping[int, float]
    start: datetime | None
    end: datetime | None
    worker: str
    attempt: int
    run_id: str
    feasible: bool
    error: str
    scores: Mapping[str, float]
    gpu_hours: float = 0.0  # worked on it, times stop.gpus_per_trial


@dataclass(frozen=True)
class Status:
    """A study at one moment."""

    name: str
    dataset: str
    counts: Mapping[str, int]
    objectives: tuple[str, ...]
    directions: tuple[str, ...]
    best: tuple[TrialRow, ...]  # one, or the Pareto front
    lead: str  # whether the leader is ahead by more than noise, in words
    working: tuple[tuple[Lease, bool], ...]  # open leases, and whether their holder lives
    hours: float  # worked on trials
    left: str  # what is left until the study's stop rule, in words
    stop: str
    cost: str = ""  # hours until the best, and what one of them bought, in words


def rows(study: optuna.Study, leases: LeaseTable) -> list[TrialRow]:
    """Every trial, by number."""
    held = {lease.trial: lease for lease in leases.all(study.study_name)}
    objective = _objectives(study)[0]
    gpus = float(_stop(study).get("gpus_per_trial", 1.0))
    return [
        _row(trial, held.get(trial.number), objective, gpus) for trial in study.get_trials(deepcopy=False)
    ]


def status(study: optuna.Study, leases: LeaseTable) -> Status:
    """The study as `d2n search status` shows it."""
    everything = rows(study, leases)
    by_number = {row.number: row for row in everything}
    judged = leases.judged(study.study_name, this_process())
    working = tuple((lease, is_alive) for lease, is_alive, _ in judged)
    claims, hours = leases.count(study.study_name)
    directions = tuple(direction.name.lower() for direction in study.directions)
    best = tuple(by_number[trial.number] for trial in best_trials(study))
    stop = _stop(study)
    return Status(
        name=study.study_name,
        dataset=str(study.user_attrs.get(DATASET, "")),
        counts=dict(Counter(row.state for row in everything)),
        objectives=_objectives(study),
        directions=directions,
        best=best,
        lead=lead(everything, directions) if len(directions) == 1 else "",
        working=working,
        hours=hours,
        left=_left(everything, claims, hours, stop, sum(alive for _, alive in working)),
        stop=leases.stop_wish(study.study_name),
        cost=cost_text(everything, _objectives(study)[0], directions[0], stop)
        if len(directions) == 1
        else "",
    )


def cost_text(everything: list[TrialRow], objective: str, direction: str, stop: Mapping[str, Any]) -> str:
    """Hours until the best trial ended, and how much better than the first one of them made it.

    Those of GPUs where the study's stop rule counts GPUs, else of trials: nobody said what they ran on.
    """
    spent = [
        Spent(row.number, row.values[0] if row.state == "COMPLETE" and row.feasible else None, row.gpu_hours)
        for row in everything
    ]
    found = gain(spent, direction)
    if found is None or found.hours <= 0:
        return ""
    has_gpus = stop.get("gpu_hours") is not None or stop.get("gpus_per_trial", 1.0) != 1.0
    hours, hour = ("GPU hours", "a GPU hour") if has_gpus else ("hours of trials", "an hour")
    own = next(row.gpu_hours for row in everything if row.number == found.best)
    text = (
        f"{objective} {found.value:.4g} after {found.hours:.3g} {hours} ({own:.3g} of them its own trial's)"
    )
    each = found.an_hour
    return text if each is None else f"{text}: {each:.3g} better than trial {found.first} {hour}"


def lead(everything: list[TrialRow], directions: tuple[str, ...]) -> str:
    """Whether the best complete trial is ahead of the second by more than two standard deviations of the difference."""
    sign = 1 if directions[0] == "minimize" else -1
    complete = [row for row in everything if row.state == "COMPLETE" and row.feasible]
    complete.sort(key=lambda row: (sign * row.values[0], row.number))
    if len(complete) < 2:
        return "one complete trial: nothing to compare it with" if complete else "no trial is complete"
    first, second = complete[0], complete[1]
    gap = abs(second.values[0] - first.values[0])
    spreads = [row.std for row in (first, second) if row.std is not None and math.isfinite(row.std)]
    if len(spreads) < 2:
        return f"trial {first.number} leads trial {second.number} by {gap:.4g}; the noise is unknown"
    noise = _SIGMAS * math.hypot(*spreads)
    verdict = "more than" if gap > noise else "no more than"
    return f"trial {first.number} leads trial {second.number} by {gap:.4g}, {verdict} noise ({noise:.4g})"


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each dimension matters for being among the best trials (PED-ANOVA, Watanabe et al. 2023)."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({tuple(trial.values) for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    target = (lambda trial: trial.values[0]) if len(study.directions) > 1 else None
    try:
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, target=target)
    except ValueError:  # too few trials share a dimension
        return {}
    return {knob: float(value) for knob, value in found.items() if math.isfinite(value)}


def importances_of(
    trials: Sequence[tuple[Mapping[str, Scalar], float]],
    direction: Literal["minimize", "maximize"],
    log_dims: Collection[str] = (),
) -> dict[str, float]:
    """The same of trials that are known by their settings and values alone; {} where there are too few."""
    spaces = {
        name: _space([settings[name] for settings, _ in trials if name in settings], name in log_dims)
        for name in dict.fromkeys(name for settings, _ in trials for name in settings)
    }
    aim = StudyDirection.MINIMIZE if direction == "minimize" else StudyDirection.MAXIMIZE
    spoken = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it says of each study that it was made
    try:
        study = optuna.create_study(directions=[aim])
    finally:
        optuna.logging.set_verbosity(spoken)
    for settings, value in trials:
        known = {name: spaces[name] for name in settings}
        study.add_trial(optuna.create_trial(params=dict(settings), distributions=known, value=value))
    return importances(study)


def columns(everything: list[TrialRow], objectives: tuple[str, ...]) -> dict[str, list[Any]]:
    """The trials as a table."""
    knobs = sorted({knob for row in everything for knob in row.settings})
    scores = sorted({name for row in everything for name in row.scores} - set(objectives))
    table: dict[str, list[Any]] = {
        "trial": [row.number for row in everything],
        "state": [row.state for row in everything],
    }
    for i, name in enumerate(objectives):
        table[name] = [row.values[i] if len(row.values) > i else None for row in everything]
    table["std"] = [row.std for row in everything]
    table["floor"] = [row.floor for row in everything]
    table["feasible"] = [row.feasible for row in everything]
    for knob in knobs:
        table[knob] = [row.settings.get(knob) for row in everything]
    for name in scores:
        table[f"score/{name}"] = [row.scores.get(name) for row in everything]
    table["attempts"] = [row.attempt for row in everything]
    table["worker"] = [row.worker for row in everything]
    table["gpu_hours"] = [row.gpu_hours for row in everything]
    table["seconds"] = [
        (row.end - row.start).total_seconds() if row.start and row.end else None for row in everything
    ]
    table["run_id"] = [row.run_id for row in everything]
    table["error"] = [row.error for row in everything]
    return table


def _space(values: Sequence[Scalar], is_log: bool) -> BaseDistribution:
    """The smallest space that holds these values."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values if value is not None]
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=is_log and low > 0)
    return CategoricalDistribution(list(dict.fromkeys(values)))


def _stop(study: optuna.Study) -> Mapping[str, Any]:
    found: Mapping[str, Any] = study.user_attrs.get(DEFINITION, {}).get("stop", {})
    return found


def _row(trial: FrozenTrial, lease: Lease | None, objective: str, gpus_per_trial: float) -> TrialRow:
    known = trial.user_attrs.get("scores") or {}
    return TrialRow(
        number=trial.number,
        state=trial.state.name,
        values=_values(trial),
        settings=trial.params,
        std=_of(known.get("score_std", {}), objective),
        floor=_of(known.get("score_floor", {}), objective),
        intermediate=trial.intermediate_values,
        start=trial.datetime_start,
        end=trial.datetime_complete,
        worker=lease.worker if lease else "",
        attempt=lease.attempt if lease else 0,
        run_id=str(trial.user_attrs.get(RUN_ID, "")),
        feasible=feasible(trial),
        error=str(trial.user_attrs.get("error", "")),
        scores=known.get("score", {}),
        gpu_hours=lease.busy_s / 3600 * gpus_per_trial if lease else 0.0,
    )


def _values(trial: FrozenTrial) -> tuple[float, ...]:
    if trial.state == TrialState.COMPLETE:
        return tuple(trial.values or ())
    if trial.intermediate_values:
        return (trial.intermediate_values[max(trial.intermediate_values)],)
    return ()


def _of(scores: Mapping[str, float], name: str) -> float | None:
    """A score by its name, or by its name with the extractor's."""
    if name in scores:
        return scores[name]
    close = [key for key in scores if key.startswith(f"{name}.")]
    return scores[close[0]] if len(close) == 1 else None


def _objectives(study: optuna.Study) -> tuple[str, ...]:
    stored = study.user_attrs.get(DEFINITION, {}).get("objectives", [])
    return tuple(one["score"] for one in stored) or tuple(
        f"objective {i}" for i in range(len(study.directions))
    )


def _left(
    everything: list[TrialRow], claims: int, hours: float, stop: Mapping[str, Any], workers: int
) -> str:
    """Trials to go, and the time they take at the mean of those that ended."""
    parts = []
    seconds = [
        (row.end - row.start).total_seconds()
        for row in everything
        if row.start and row.end and row.state in {state.name for state in FINISHED}
    ]
    if stop.get("trials") is not None:
        ended = sum(row.state in ("COMPLETE", "PRUNED", "FAIL") for row in everything)
        left = max(0, stop["trials"] - ended)
        parts.append(f"{left} of {stop['trials']} trials to go")
        if seconds and left:
            minutes = left * statistics.fmean(seconds) / max(workers, 1) / 60
            parts.append(f"about {minutes:.0f} min with {max(workers, 1)} worker{'s' if workers > 1 else ''}")
    if stop.get("hours") is not None:
        parts.append(f"{max(0.0, stop['hours'] - hours):.2f} of {stop['hours']:g} hours left")
    if stop.get("gpu_hours") is not None:
        used = hours * float(stop.get("gpus_per_trial", 1.0))
        parts.append(f"{max(0.0, stop['gpu_hours'] - used):.2f} of {stop['gpu_hours']:g} GPU hours left")
    if stop.get("euros") is not None:
        spent = hours * float(stop.get("euros_per_hour") or 0.0)
        parts.append(f"{max(0.0, stop['euros'] - spent):.2f} of {stop['euros']:g} euros left")
    if stop.get("no_improvement") is not None:
        parts.append(f"ends after {stop['no_improvement']} trials without a better one")
    return ", ".join(parts)
