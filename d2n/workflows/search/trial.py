"""A trial of a study as a tracked run: one run a trial, whoever works on it and however often."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n import config, secrets, studies
from d2n.config.kinds import Experiment
from d2n.core import Evaluation, ScoreProtocol, require_one_protocol
from d2n.errors import OtherKnobsError, TrainingError
from d2n.files.reading import tail
from d2n.studies.study import PROTOCOL, RUN_ID, RUN_URL
from d2n.studies.worker import ClaimedTrial, LeaseLostError, Outcome, StoppedError
from d2n.tracking import environment, names, notes, records
from d2n.tracking.records import TrialRecord
from d2n.tracking.runs import RunRecord, Store, TrackedRun
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.saved import CHANGEABLE
from d2n.workflows.search import carrying
from d2n.workflows.search.trial_scores import bound, fingerprint, mean_and_std, pick, short
from d2n.workflows.tracked import Tracked

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial  # for annotations alone

logger = logging.getLogger(__name__)

_LOG_BYTES = 200_000
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


@dataclass
class TrialRuns:
    """Runs trials in MLflow. See d2n.studies.TrialRunner."""

    study: studies.OpenStudy
    store: Store
    parent_run_id: str
    work_root: Path
    kind: ExperimentKind
    overrides: Mapping[str, Any] = field(default_factory=dict)  # of this machine, such as the device
    progress: bool = False
    carry: bool = False  # checkpoints went through the artifact store
    seat: tuple[str, str, str] = ("", "", "")  # the cluster's job, its node, its log

    def run(self, trial: ClaimedTrial) -> Outcome:
        """Train and score, in one run; with several seeds in one run a seed below the trial's."""
        definition = self.study.definition
        run, is_new = self._tracked(trial)
        if not is_new and trial.attr("scores") is not None:  # all was told but the end
            return self._outcome(trial, trial.attr("scores"), pruned=False)
        experiment = definition.experiment_for(trial.settings, self.overrides)
        if definition.config.reuse and (found := self._identical(experiment, run)) is not None:
            return self._reused(trial, run, experiment, found)
        count = definition.config.seeds_per_trial
        return (
            self._one_seed(trial, run, experiment, not is_new)
            if count == 1
            else self._seeds(trial, run, experiment)
        )

    def settle(self, trial: FrozenTrial) -> None:
        """Give the run the trial's state, and the dashboard's note its address."""
        run_id = trial.user_attrs.get(RUN_ID)
        if run_id is None:
            return
        run = TrackedRun(self.store, run_id, "")
        TrialRecord.ended(trial.state.name).write(run)
        self._keep_log(run)
        record = self.store.get(run_id)
        objective = self.study.definition.config.objectives[0].score
        told = notes.of_trial(record, trial.state.name, objective)
        notes.write(self.store, record, told + notes.sheet(record))
        if record.status != STATUS[trial.state.name]:
            run.close(STATUS[trial.state.name])  # type: ignore[arg-type] # one of MLflow's three
        if self.carry:
            carrying.forget(self.store, run_id)

    def _tracked(self, trial: ClaimedTrial) -> tuple[TrackedRun, bool]:
        """The trial's run, and whether it is new. The id is stored with the trial before any work is done."""
        run_id = trial.attr(RUN_ID)
        if run_id is None and trial.is_resumed:
            run_id = self._lost_run(trial)
        if run_id is not None:
            run = self.store.resume_run(run_id, self.work_root)
            TrialRecord.taken_up(trial.worker).write(run)
        else:
            run = self._new_run(trial)
        TrialRecord.seated(*self.seat).write(run)
        if trial.attr(RUN_ID) is None:
            trial.set_attr(RUN_ID, run.run_id)
            trial.set_attr(RUN_URL, run.url)
            trial.note(f"[MLflow run {run.run_id}]({run.url})")
        return run, run_id is None

    def _keep_log(self, run: TrackedRun) -> None:
        """The end of the job's log with the trial: the cluster's disk is not everybody's."""
        job, _, log = self.seat
        if not log:
            return
        try:
            text = tail(Path(log), _LOG_BYTES)
        except OSError as error:
            logger.warning("the log %s cannot be read: %s", log, error.strerror)
            return
        run.log_text(secrets.scrub(text), f"logs/{job}.log")

    def _new_run(self, trial: ClaimedTrial) -> TrackedRun:
        definition = self.study.definition
        space = definition.config.space
        settings = {short(knob, space): value for knob, value in trial.settings.items()}
        twins = {short(knob, space): value for knob, value in trial.log10_twins().items()}
        begun = self._record(trial).begun(settings, twins)
        run = self.store.start_run(
            names.experiment(definition.dataset),
            f"{self.study.name}-{trial.number}",
            tags=begun.tags,
            params=begun.params,
            parent_run_id=self.parent_run_id,
        )
        run.log_metrics(begun.metrics, step=0)
        return run

    def _record(self, trial: ClaimedTrial) -> TrialRecord:
        study = self.study
        return TrialRecord(study.name, study.uid, study.definition.dataset, trial.number, worker=trial.worker)

    def _lost_run(self, trial: ClaimedTrial) -> str | None:
        """A run that was made by a worker which died before it could store its id with the trial."""
        found = self.store.find_runs(
            experiment=names.experiment(self.study.definition.dataset), tags=self._record(trial).identity
        )
        return found[-1].run_id if found else None

    def _one_seed(
        self, trial: ClaimedTrial, run: TrackedRun, experiment: Experiment, resume: bool
    ) -> Outcome:
        training = self._train(trial, run, experiment, resume)
        pruned = training.status == "KILLED"
        noise = {**self.kind.record.values(self.store.get(run.run_id)), "score": dict(training.scores)}
        return self._outcome(trial, noise, pruned=pruned)

    def _seeds(self, trial: ClaimedTrial, run: TrackedRun, experiment: Experiment) -> Outcome:
        """One run a seed below the trial's run; the trial's scores are their means."""
        each: list[dict[str, float]] = []
        done: dict[str, dict[str, float]] = dict(trial.attr("seeds") or {})
        pruned = False
        for i in range(self.study.definition.config.seeds_per_trial):
            seed = experiment.seed + i
            if str(seed) not in done:
                done[str(seed)] = self._seed(trial, run, experiment, seed)
                trial.set_attr("seeds", done)
            each.append(done[str(seed)])
            value = pick(each[-1], self.study.definition.config.objectives[0].score)
            if trial.report(value, i) and i + 1 < self.study.definition.config.seeds_per_trial:
                pruned = True
                break
        means = mean_and_std(each)
        TrialRecord.found(means).write(run, 0)
        run.log_params(config.flatten(experiment), CHANGEABLE, config.telling_knobs(experiment))
        return self._outcome(trial, means, pruned=pruned)

    def _seed(
        self, trial: ClaimedTrial, run: TrackedRun, experiment: Experiment, seed: int
    ) -> dict[str, float]:
        run_ids = dict(trial.attr("seed_runs") or {})
        one = self.study.definition.experiment_for(trial.settings, {**self.overrides, "seed": seed})
        resume = str(seed) in run_ids
        if resume:
            child = self.store.resume_run(run_ids[str(seed)], self.work_root)
        else:
            child = self.store.start_run(
                names.experiment(self.study.definition.dataset),
                f"{self.study.name}-{trial.number}-seed{seed}",
                tags=self._record(trial).begun_seed(seed).tags,
                params={},
                parent_run_id=run.run_id,
            )
            trial.set_attr("seed_runs", {**run_ids, str(seed): child.run_id})

        return dict(self._train(trial, child, one, resume).scores)

    def _train(
        self, trial: ClaimedTrial, run: TrackedRun, experiment: Experiment, resume: bool
    ) -> Tracked[Any]:
        """The training, left at once when the trial is another worker's, the study was stopped or scores otherwise."""
        TrialRecord.training(self._fingerprint(experiment)).write(run)
        given = {"store": self.store, "run": run, "work_root": self.work_root, "progress": self.progress}
        try:
            with self.kind.tracked(experiment, resume=resume, **given) as training:
                self._follow(trial, training)
        except OtherKnobsError as error:  # --new-space changed what the trial was begun with
            raise TrainingError(f"trial {trial.number} cannot go on, later ones can: {error}") from error
        except StoppedError:
            TrackedRun(self.store, run.run_id, run.experiment_id).close("KILLED")
            raise
        except BaseException as error:
            run.__exit__(type(error), error, None)  # closed by the training already, or here
            raise
        return training

    def _follow(self, trial: ClaimedTrial, training: Tracked[Any]) -> None:
        """Each evaluation is told to the study; a break where it prunes the trial."""
        study = self.study.definition.config
        prunes = len(study.objectives) == 1
        for number, found in enumerate(training.steps):
            if number == 0:
                text = training.run.tags.get(names.PROTOCOL_TEXT)  # the server may be away
                self._refuse_another_protocol(ScoreProtocol.from_json(text) if text else None)
            try:
                trial.check()
            except (LeaseLostError, StoppedError):
                training.run.release()
                raise
            if study.seeds_per_trial > 1 or not (isinstance(found, Evaluation) and found.scores):
                continue
            value = pick(found.scores, study.objectives[0].score)  # refused before hours of a wrong objective
            if prunes and trial.report(value, found.step) and not found.is_last:
                break

    def _refuse_another_protocol(self, protocol: ScoreProtocol | None) -> None:
        """Raise ProtocolMismatchError when a run is scored by another protocol than the study's first trial."""
        if protocol is None:
            return
        first = ScoreProtocol.from_json(self.study.attr_once(PROTOCOL, protocol.to_json))
        require_one_protocol([first, protocol], f"rank in {self.study.name}")

    def _outcome(
        self, trial: ClaimedTrial, known: Mapping[str, Mapping[str, float]], *, pruned: bool
    ) -> Outcome:
        study = self.study.definition.config
        scores = known["score"]
        attrs = {"scores": dict(known)}
        if pruned:
            return Outcome(pruned=True, attrs=attrs)
        values = tuple(pick(scores, objective.score) for objective in study.objectives)
        bounds = {text: value for c in study.constraints for text, value in [bound(c, scores)]}
        return Outcome(values=values, constraints=bounds, attrs=attrs)

    def _fingerprint(self, experiment: Experiment) -> str:
        digest = self.kind.data_digest(experiment) if self.study.definition.config.reuse else ""
        return fingerprint(experiment, digest, json.dumps(environment.code_tags(), sort_keys=True))

    def _identical(self, experiment: Experiment, run: TrackedRun) -> RunRecord | None:
        found = self.store.find_runs(
            tags=TrialRecord.training(self._fingerprint(experiment)).tags, status="FINISHED", max_results=2
        )
        return next((record for record in found if record.run_id != run.run_id), None)

    def _reused(
        self, trial: ClaimedTrial, run: TrackedRun, experiment: Experiment, found: RunRecord
    ) -> Outcome:
        """The scores of an identical run, copied; no training."""
        logger.info(
            "trial %d of %s: run %s trained the same already", trial.number, self.study.name, found.run_id
        )
        known = self.kind.record.values(found)
        self._refuse_another_protocol(records.protocol(found))
        shown = (*config.telling_knobs(experiment), "score_protocol")
        TrialRecord.reused(found, known, shown).write(run, 0, (*CHANGEABLE, "name", "preset"))
        return self._outcome(trial, known, pruned=False)
