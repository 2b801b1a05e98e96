"""A study's dimensions as Optuna's distributions, and a trial's settings drawn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from d2n.config import Scalar
from d2n.studies.definition import Dimension, StudyDefinition, active


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of a checked dimension."""
    if dimension.type in ("bool", "categorical"):
        return CategoricalDistribution(dimension.ends)
    low, high = (float(end) for end in dimension.ends if end is not None)
    if dimension.type == "int":
        return IntDistribution(int(low), int(high), log=dimension.log, step=int(dimension.step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=dimension.step)


def suggest(
    trial: optuna.trial.Trial, definition: StudyDefinition, fixed: Mapping[str, Any]
) -> dict[str, Scalar]:
    """A trial's settings, condition by condition; a resumed trial gets the ones it had. ``fixed``: the other knobs."""
    space, known = definition.config.space, dict(fixed)
    settings: dict[str, Scalar] = {}
    for knob, dimension in space.items():
        if active(space, knob, known):
            settings[knob] = known[knob] = _suggest_one(trial, knob, dimension)
    return settings


def log10_twins(space: Mapping[str, Dimension], settings: Mapping[str, Scalar]) -> dict[str, float]:
    """``{knob: log10(value)}`` of the logarithmic dimensions: plots without a logarithmic axis show these."""
    return {
        knob: math.log10(float(value))
        for knob, value in settings.items()
        if knob in space and space[knob].log and isinstance(value, int | float)
    }


def grid(space: Mapping[str, Dimension]) -> dict[str, list[Any]]:
    """Every value of every dimension, for the grid sampler."""
    return {knob: _values(dimension) for knob, dimension in space.items()}


def _values(dimension: Dimension) -> list[Any]:
    if dimension.type in ("bool", "categorical"):
        return list(dimension.ends)
    low, high = (float(end) for end in dimension.ends if end is not None)
    step = dimension.step or 1.0
    count = math.floor((high - low) / step + 1e-9) + 1
    values = [low + i * step for i in range(count)]
    return [int(value) for value in values] if dimension.type == "int" else values


def _suggest_one(trial: optuna.trial.Trial, knob: str, dimension: Dimension) -> Scalar:
    if dimension.type in ("bool", "categorical"):
        value: Scalar = trial.suggest_categorical(knob, dimension.ends)
        return value
    low, high = (float(end) for end in dimension.ends if end is not None)
    if dimension.type == "int":
        return trial.suggest_int(knob, int(low), int(high), step=int(dimension.step or 1), log=dimension.log)
    return trial.suggest_float(knob, low, high, step=dimension.step, log=dimension.log)
