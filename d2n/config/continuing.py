"""What was begun with a preset of an earlier release goes on with the values that the preset had then."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from d2n.config.flattening import flatten
from d2n.config.kinds import Experiment
from d2n.config.knobs import TranslationExperiment
from d2n.config.methods import METHODS
from d2n.config.types import Scalar

E = TypeVar("E", bound=Experiment)


def former_values(experiment: Experiment, stored: Mapping[str, Any]) -> dict[str, Scalar]:
    """Knobs that are the preset's now, with the former value of the preset where ``stored`` (by dotted knob) has it."""
    if not isinstance(experiment, TranslationExperiment):
        return {}
    row, now = METHODS[experiment.translator.method], flatten(experiment)
    usual = row.presets.get(experiment.preset, {})
    found = {}
    for knob, value in row.formerly.get(experiment.preset, {}).items():
        room, _, key = knob.partition(".")
        if now[knob] == usual[room][key] and str(stored.get(knob)) == str(value):
            found[knob] = value
    return found


def with_values(experiment: E, values: Mapping[str, Scalar]) -> E:
    """The experiment with some knobs, ``room.key``, set."""
    for knob, value in values.items():
        room, _, key = knob.partition(".")
        changed = dataclasses.replace(getattr(experiment, room), **{key: value})
        experiment = dataclasses.replace(experiment, **{room: changed})
    return experiment
