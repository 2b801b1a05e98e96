"""The retrieval arm of a study of translators: read, laid over with what it must be, and checked against the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from d2n import config
from d2n.config import RetrievalExperiment
from d2n.config.kinds import KINDS, Experiment
from d2n.errors import StudyError
from d2n.studies.definition import StudyConfig

_MAP = "map/"
_OWN = ("night.augmentation", "night.generator")  # the trial's generator is the arm's night


def kind_in(values: Mapping[str, Any]) -> str:
    """The kind that an experiment's YAML names; one that is none is refused when the experiment is made."""
    kind = values.get("kind", "translation")
    return kind if isinstance(kind, str) and kind in KINDS else "translation"


def arm_of(
    study: StudyConfig, experiment: Experiment, find: Callable[[str], Path], source: str
) -> RetrievalExperiment | None:
    """The arm with its overrides, on validation scenes; StudyError where the study cannot have it, or lacks it."""
    wants = [one.score for one in study.objectives if one.score.startswith(_MAP)]
    if study.arm is None:
        if wants and experiment.kind == "translation":
            raise StudyError(
                f"{source}: objective {wants[0]} is measured by a retrieval network that is trained with each "
                "trial's generator; expected arm: {experiment: retrieval_toycity_baseline.yaml, overrides: {…}}"
            )
        return None
    if experiment.kind != "translation":
        raise StudyError(
            f"{source}: arm belongs to a study of translators, found an experiment of kind {experiment.kind}, "
            "whose own mAP can be the objective; leave arm out"
        )
    return _arm(study, find, source)


def _arm(study: StudyConfig, find: Callable[[str], Path], source: str) -> RetrievalExperiment:
    assert study.arm is not None  # noqa: S101 - its caller asked
    where, own = f"{source}: arm", study.arm.overrides
    if stray := sorted(set(_OWN) & set(own)):
        raise StudyError(f"{where} sets {stray[0]}: its night is each trial's generator; leave it out")
    values = config.read_extended("experiments", find(study.arm.experiment))
    if kind_in(values) != "retrieval":
        raise StudyError(f"{where}: its experiment is of kind {kind_in(values)}, expected retrieval")
    given = {"evaluation.split": "val", "register_as": None, **own}
    found = config.build_experiment(values, given, where)
    assert isinstance(found, RetrievalExperiment)  # noqa: S101 - by its kind
    if found.evaluation.split != "val":
        raise StudyError(
            f"{where} measures the {found.evaluation.split} split: a study chooses by what it measures, and what "
            "is reported afterwards must be new; expected evaluation.split: val"
        )
    return found
