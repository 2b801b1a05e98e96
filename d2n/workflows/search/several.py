"""A study under torchrun: the first process claims trials and tells them, the others train each one along.

    torchrun --nproc-per-node 2 -m d2n search STUDY

Only what trains in one process each is here: before each training the first process tells what it is, at the end that
there is none left. A trial that is pruned, lost or stopped is left by all of them between two steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n import config
from d2n.config import TranslationExperiment
from d2n.errors import D2NError, StudyError
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.tracked import Tracked

if TYPE_CHECKING:
    from d2n.tracking.runs import TrackedRun


def count() -> int:
    """Processes that torchrun started for one training; 1 without it."""
    text = os.environ.get("WORLD_SIZE", "1")
    return int(text) if text.isdecimal() else 1


@contextlib.contextmanager
def processes() -> Iterator[bool]:
    """Inside, the processes know each other; whether this is the first of them."""
    if count() == 1:
        yield True
        return
    from d2n.translators import distributed

    with distributed.process_group():
        yield distributed.rank() == 0


def refuse_workers(kind: str, workers: int, has_seats: bool) -> None:
    """StudyError for what several processes of one worker cannot do."""
    if count() == 1:
        return
    if kind != TranslationExperiment.kind:
        raise StudyError(
            f"torchrun started {count()} processes, and a {kind} trains in one: give the command alone, "
            "with --workers for several trials at a time"
        )
    if workers > 1 or has_seats:
        raise StudyError(
            f"torchrun started {count()} processes for one trial at a time, and --workers or --workers-per-gpu ask for "
            "more: leave one of the two out"
        )


def leading(kind: ExperimentKind) -> ExperimentKind:
    """The row whose trainings the other processes take part in; itself where there are none."""
    return kind if count() == 1 else dataclasses.replace(kind, tracked=partial(_tracked, kind))


def end() -> None:
    """Tell the other processes that no trial is left."""
    if count() > 1:
        _say("")


def follow(work_root: Path) -> None:
    """What the others do: train along whatever the first process says, until it says that it is over."""
    from d2n.errors import TrainingError
    from d2n.workflows import train

    while text := _say(""):
        told = json.loads(text)
        experiment = config.stored_experiment(told["experiment"], "the first process's trial")
        if not isinstance(experiment, TranslationExperiment):
            raise StudyError(f"the first process trains a {experiment.kind}, which one process does alone")
        with contextlib.suppress(TrainingError):  # the first process tells it
            train.follow(experiment, work_root=work_root, resume=told["resume"])


@contextlib.contextmanager
def _tracked(
    kind: ExperimentKind, experiment: Any, *, run: TrackedRun, resume: bool, **given: Any
) -> Iterator[Tracked[Any]]:
    told = {"experiment": config.to_dict(experiment), "resume": run.run_id if resume else ""}
    _say(json.dumps(told))
    has_begun = False
    try:
        with kind.tracked(experiment, run=run, resume=resume, **given) as training:
            has_begun = True
            yield training
    except D2NError as error:
        if has_begun:  # the others have left it too
            raise
        raise StudyError(f"a trial of {count()} processes cannot begin: {error}") from error
    except (
        Exception
    ) as error:  # the others wait for a step that does not come: all end, and torchrun starts them anew
        raise StudyError(
            f"a trial of {count()} processes broke off: {type(error).__name__}: {error}"
        ) from error


def _say(text: str) -> str:
    """What the first process says; every process must call it."""
    from d2n.translators import distributed

    return str(distributed.gather(text)[0])
