"""A training and its run, for both kinds of experiment: opened, locked against a second process, closed as it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from d2n.config import RetrievalExperiment, TranslationExperiment
from d2n.config.knobs import TrainingConfig
from d2n.config.retrieval import RetrievalTrainingConfig
from d2n.core import StepResult
from d2n.tracking import liveness, names, runs, system
from d2n.tracking.spool.sender import Waits
from d2n.workflows import resuming
from d2n.workflows.saved import Saved

Result = TypeVar("Result")
Run = runs.TrackedRun | runs.RunRecord | None


@dataclass
class Tracked(Generic[Result]):
    """A tracked training under way: whoever iterates over the steps trains; what is yielded is logged already."""

    run: runs.TrackedRun
    steps: Generator[StepResult, None, None]
    status: str = "RUNNING"  # once it has ended FINISHED, or KILLED when the steps were left
    scores: Mapping[str, float] = field(default_factory=dict)  # once it has ended, its scores by name
    result: Result = field(init=False)  # once it has ended


@contextlib.contextmanager
def opened(
    run: Run,
    experiment: TranslationExperiment | RetrievalExperiment,
    store: runs.Store,
    work_root: Path,
    saved: Saved,
    tags: Mapping[str, str] | None,
) -> Iterator[runs.TrackedRun]:
    """The given run, an interrupted one taken up again, or a new one; an exception closes it.

    A KeyboardInterrupt inside names the run and what of it is saved. Others see that the run is worked on.
    """
    own = _run(run, experiment, store, work_root, tags)
    with contextlib.ExitStack() as stack:
        if run is None:
            stack.enter_context(liveness.locked(work_root / own.run_id, own.run_id))
        stack.enter_context(resuming.told_when_interrupted(own.run_id, saved))
        stack.enter_context(own.spooled(work_root / own.run_id, _waits(experiment.training)))
        stack.enter_context(own)
        stack.enter_context(liveness.pulse(store, own.run_id))
        if experiment.training.log_system:
            stack.enter_context(system.metered(store, own.run_id, log=own.log_beside))
        yield own


def _run(
    run: Run,
    experiment: TranslationExperiment | RetrievalExperiment,
    store: runs.Store,
    work_root: Path,
    tags: Mapping[str, str] | None,
) -> runs.TrackedRun:
    if isinstance(run, runs.TrackedRun):
        return run
    if run is not None:
        return store.resume_run(run.run_id, work_root)
    known = {names.KIND: experiment.kind, names.EXPERIMENT_NAME: experiment.name, **(tags or {})}
    return store.start_run(names.experiment(experiment.dataset.name), experiment.name, tags=known)


def _waits(training: TrainingConfig | RetrievalTrainingConfig) -> Waits:
    return Waits(training.tracking_wait_s, training.tracking_patience_s, training.spool_mb * 2**20)
