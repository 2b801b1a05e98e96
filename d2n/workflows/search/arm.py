"""A translator's trial with a retrieval arm: the generator is trained, then a short retrieval network by its nights.

The arm's mAP on validation scenes is a score of the trial beside the translator's own, told on the way as often as
``evaluation.measure_every_epochs`` of the arm says. The arm is a run below the trial's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n import config
from d2n.config import MACHINE_KNOBS, RetrievalExperiment, TranslationExperiment
from d2n.core import Evaluation, StepResult
from d2n.errors import DataError
from d2n.files.json import read_json_object
from d2n.files.writing import write_text
from d2n.studies.worker import LeaseLostError, StoppedError
from d2n.tracking import liveness, names
from d2n.tracking.records import RetrievalRecord, TrialRecord
from d2n.workflows import kinds
from d2n.workflows.kinds import DataSets, ExperimentKind
from d2n.workflows.tracked import Tracked

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord, Store, TrackedRun

Wrapper = Callable[[ExperimentKind], ExperimentKind]
_TRANSLATOR = "translator.json"  # in the work folder of the trial's run, once its generator is logged


def as_it_is(kind: ExperimentKind) -> ExperimentKind:
    """The same row."""
    return kind


def with_arm(
    kind: ExperimentKind, arm: RetrievalExperiment | None, wrap: Wrapper = as_it_is
) -> ExperimentKind:
    """The row whose trials train the arm too, itself where there is none. ``wrap`` is done to the arm's row."""
    if arm is None:
        return kind
    return dataclasses.replace(
        kind,
        tracked=partial(_tracked, kind, arm, wrap),
        can_train=partial(_can_train, kind, arm),
        logged_scores=partial(_logged_scores, kind, arm),
        data_digest=partial(_data_digest, kind, arm),
    )


def _can_train(
    kind: ExperimentKind, arm: RetrievalExperiment, experiment: Any, data: DataSets, store: Store
) -> None:
    kind.can_train(experiment, data, store)
    night = dataclasses.replace(arm.night, augmentation="none", generator=None)  # there is no generator yet
    row = kinds.kind_of(arm)
    row.can_train(dataclasses.replace(arm, night=night), data, store)


def _logged_scores(
    kind: ExperimentKind, arm: RetrievalExperiment, experiment: Any, data: DataSets, store: Store
) -> list[str]:
    row = kinds.kind_of(arm)
    return [*kind.logged_scores(experiment, data, store), *row.logged_scores(arm, data, store)]


def _data_digest(kind: ExperimentKind, arm: RetrievalExperiment, experiment: Any) -> str:
    row = kinds.kind_of(arm)
    knobs = {key: value for key, value in config.flatten(arm).items() if key not in (*MACHINE_KNOBS, "name")}
    known = [kind.data_digest(experiment), row.data_digest(arm), knobs]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def _tracked(
    kind: ExperimentKind,
    arm: RetrievalExperiment,
    wrap: Wrapper,
    experiment: TranslationExperiment,
    *,
    run: TrackedRun,
    resume: bool,
    **given: Any,
) -> Iterator[Tracked[None]]:
    with contextlib.ExitStack() as held, contextlib.ExitStack() as under_way:
        both = _Both(kind, arm, wrap, experiment, run, resume, given, held, under_way)
        whole: Tracked[None] = Tracked(run, both.steps())
        both.whole = whole
        with contextlib.closing(whole.steps):
            try:
                yield whole
            except (LeaseLostError, StoppedError) as error:
                both.leave(isinstance(error, StoppedError))
                raise
    whole.status, whole.scores = "FINISHED" if both.is_over else "KILLED", both.scores


@dataclasses.dataclass
class _Both:
    """What a trial's two trainings share, and how far they are."""

    kind: ExperimentKind
    arm: RetrievalExperiment
    wrap: Wrapper
    experiment: TranslationExperiment
    run: TrackedRun
    resume: bool
    given: dict[str, Any]  # store, work_root, progress
    held: contextlib.ExitStack  # the trial's run, once its translator has ended
    under_way: contextlib.ExitStack  # the training at hand: it is left, pruned or ended as it would be alone
    whole: Tracked[None] | None = None
    training: Tracked[Any] | None = None
    step: int = 0  # of the translator
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    is_over: bool = False

    def steps(self) -> Generator[StepResult, None, None]:
        """First the translator's steps, then the arm's, whose evaluations carry the scores of both."""
        if not self._is_translated():
            yield from self._translated()
        self._reopen()
        yield from self._measured()

    def leave(self, can_go_on: bool) -> None:
        """Another worker has the trial now, or nobody, and then it can go on later: the run at hand says so."""
        if self.training is not None and can_go_on:
            self.training.run.close("KILLED")
        elif self.training is not None:
            self.training.run.release()

    @property
    def _store(self) -> Store:
        store: Store = self.given["store"]
        return store

    @property
    def _kept(self) -> Path:
        """Where the translator's scores are kept once it has ended."""
        return Path(self.given["work_root"]) / self.run.run_id / _TRANSLATOR

    def _is_translated(self) -> bool:
        """Whether the translator had ended before; its scores are those that were told then."""
        if not self.resume or not self._store.get(self.run.run_id).logged_model:
            return False
        try:
            known = read_json_object(self._kept, DataError)
            self.step, self.scores = int(known["step"]), {k: float(v) for k, v in known["scores"].items()}
        except (DataError, OSError, KeyError, TypeError, ValueError, AttributeError):
            return False  # it is opened again, and found at its end
        return True

    def _translated(self) -> Generator[StepResult, None, None]:
        training = self.training = self.under_way.enter_context(
            self.kind.tracked(self.experiment, run=self.run, resume=self.resume, **self.given)
        )
        for found in training.steps:
            self.step = found.step
            yield dataclasses.replace(found, scores={}) if isinstance(found, Evaluation) else found
        self.under_way.close()
        self.scores = dict(training.scores)
        write_text(self._kept, json.dumps({"step": self.step, "scores": self.scores}))

    def _reopen(self) -> None:
        """The trial's run, which the translator's end has closed: its arm is still to be trained."""
        self.run = self._store.resume_run(self.run.run_id, self.given["work_root"])
        self.held.enter_context(self.run)
        self.held.enter_context(liveness.pulse(self._store, self.run.run_id))
        if self.whole is not None:
            self.whole.run = self.run

    def _measured(self) -> Generator[StepResult, None, None]:
        arm = self._of_this_trial()
        begun = self._begun()
        if begun is None or begun.status != "FINISHED":
            begun = yield from self._trained(arm, begun)
        values = RetrievalRecord.values(self._store.get(begun.run_id))
        TrialRecord.found(values).write(self.run, self.step)
        self.scores = {**self.scores, **values["score"]}
        self.is_over = True

    def _trained(
        self, arm: RetrievalExperiment, begun: RunRecord | None
    ) -> Generator[StepResult, None, RunRecord]:
        """The arm's remaining steps; its run."""
        work_root = self.given["work_root"]
        run = self._store.resume_run(begun.run_id, work_root) if begun is not None else self._new_run(arm)
        training = self.training = self.under_way.enter_context(
            self.wrap(kinds.kind_of(arm)).tracked(arm, run=run, resume=begun is not None, **self.given)
        )
        for found in training.steps:
            told = dataclasses.replace(found, step=self.step + found.step)
            if isinstance(told, Evaluation) and told.scores:
                told = dataclasses.replace(told, scores={**self.scores, **told.scores})
            yield told
        self.under_way.close()
        return self._store.get(run.run_id)

    def _begun(self) -> RunRecord | None:
        """The arm's run below the trial's, from an earlier worker."""
        tags = {names.PARENT_RUN: self.run.run_id, names.KIND: self.arm.kind}
        found = self._store.find_runs(tags=tags)
        return found[-1] if found else None

    def _new_run(self, arm: RetrievalExperiment) -> TrackedRun:
        return self._store.start_run(
            names.experiment(arm.dataset.name),
            f"{self._store.get(self.run.run_id).name}-arm",
            tags={names.KIND: arm.kind, names.EXPERIMENT_NAME: arm.name},
            parent_run_id=self.run.run_id,
        )

    def _of_this_trial(self) -> RetrievalExperiment:
        """The arm by this trial's generator, with the trial's seed on top of its own."""
        night = dataclasses.replace(self.arm.night, augmentation="generator", generator=self.run.run_id)
        return dataclasses.replace(self.arm, night=night, seed=self.arm.seed + self.experiment.seed)
