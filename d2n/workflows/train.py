"""``d2n train``: a translator trained on a data set, scored on held-out images, tracked as one run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from d2n import translators
from d2n.config import RetrievalExperiment, TranslationExperiment, flatten, to_dict
from d2n.core import EpochResult
from d2n.datasets.batches import TranslationBatches
from d2n.devices import resolve_device, resolve_precision, use_threads
from d2n.tracking import liveness, names, runs
from d2n.tracking.signals import StopRequested, signals_between_steps
from d2n.tracking.tracked_run import Status
from d2n.translators import checkpoint, distributed, loop
from d2n.workflows import evaluation as held
from d2n.workflows import preflight, resuming
from d2n.workflows.dry_run import dataset_lines
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.recording import Found, Recorder

logger = logging.getLogger(__name__)

# (step, scores) -> stop this trial now?
OnScores = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    run_id: str
    url: str
    status: str  # FINISHED, or KILLED when pruned
    scores: Mapping[str, float]  # the best evaluation's, on held-out images
    best_step: int
    seconds: float
    work_dir: Path


def train_command(
    experiment: TranslationExperiment | RetrievalExperiment,
    *,
    tracking_uri: str | None,
    resume: str | None,
    progress: bool,
) -> TrainResult | None:
    """Train as the command line asks: a new run, or an interrupted one (its id, or ``last``) gone on with.

    Under torchrun the first process keeps the run and gives its result; the others give None.
    """
    with distributed.process_group():
        store = runs.open_store(tracking_uri)
        is_first = distributed.rank() == 0
        run = resuming.interrupted_run(store, resume, experiment) if is_first and resume is not None else None
        run_ids = distributed.gather(run.run_id if run is not None else "")
        run_id = run_ids[0]  # what `last` is, the first decides
        experiment = preflight.translation(experiment, tracking_uri)
        if not is_first:
            follow(experiment, store=store, resume=run_id)
            return None
        return train(experiment, store=store, run=run, progress=progress)


def dry_run(experiment: TranslationExperiment | RetrievalExperiment) -> list[str]:
    """The data set that would be read, and how long the training is; the knobs stand before it."""
    experiment = preflight.translation(experiment)
    index = held.open_dataset(experiment.dataset)
    batches = translator_preflight.training_batches(experiment, index)
    translator_preflight.check_translation(experiment, index)
    steps = experiment.training.steps_per_epoch or batches.steps_per_epoch
    return [
        *dataset_lines(index),
        f"{experiment.training.n_epochs} epochs of {steps} steps of {experiment.training.batch_size}",
    ]


def summary(result: TrainResult | None) -> list[str]:
    """What a person wants to know at the end."""
    if result is None:
        return []
    lines = [f"run {result.run_id} {result.status} after {result.seconds:.0f} s"]
    lines += [f"  {name} = {value:.4f}" for name, value in sorted(result.scores.items())]
    return [*lines, f"best at step {result.best_step}; to look at it: d2n ui, then {result.url}"]


def train(
    experiment: TranslationExperiment,
    *,
    store: runs.Store,
    run: runs.TrackedRun | runs.RunRecord | None = None,
    work_root: Path | None = None,
    resume: bool = False,
    on_scores: OnScores | None = None,
    heartbeat: Callable[[], None] | None = None,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train one translator.

    A run given by the caller (a trial of a study) is used, else one is started. With ``resume``, or where the run is
    the record of an interrupted one, the last whole checkpoint below ``work_root/<run id>`` is continued and no metric
    step is logged twice. An interrupted run is taken up when nothing is left that could refuse it. ``on_scores`` is
    asked after each evaluation whether to stop; ``heartbeat`` is called between steps.
    """
    started = time.monotonic()
    preflight.check_scores(experiment.evaluation.scores)
    use_threads(experiment.training.num_threads)
    index = held.open_dataset(experiment.dataset)
    batches = translator_preflight.training_batches(
        experiment, index
    )  # refuses an empty domain before a run is made
    translator_preflight.check_translation(experiment, index)
    work_root = work_root or store.work_root
    interrupted = run if isinstance(run, runs.RunRecord) else None
    evaluator = held.build_evaluator(resuming.pinned(experiment, interrupted), index, store, work_root)
    trainer = _Trainer(experiment, batches, heartbeat)
    with contextlib.ExitStack() as stack:
        if interrupted is not None:
            resuming.refuse_other_data(interrupted, index.info(), evaluator.protocol)
            stack.enter_context(liveness.locked(work_root / interrupted.run_id, interrupted.run_id))
        if run is not None and (resume or interrupted is not None):
            trainer.restore(work_root / run.run_id)
            resuming.refuse_other_knobs(store.get(run.run_id), flatten(experiment))
        own = _opened(run, experiment, store, tags)
        if run is None:
            stack.enter_context(liveness.locked(work_root / own.run_id, own.run_id))
        begun = stack.enter_context(resuming.told_when_interrupted(own.run_id))
        stack.enter_context(own)
        stack.enter_context(liveness.pulse(store, own.run_id))
        stop = stack.enter_context(signals_between_steps())
        recorder = Recorder(experiment, own, evaluator, work_root / own.run_id)
        trainer.title = title_of(store, own)
        trainer.begin(recorder, begun, stop)
        recorder.start(index.info())
        status = trainer.run(on_scores=on_scores, progress=progress)
        if status == "FINISHED":
            recorder.log_generator(trainer.translator.stride)
        own.close(status)
        begun.is_over = True
    step, found = recorder.best_step, recorder.found
    scores = (
        found.best_scores.get(str(step), found.last_scores) if status == "FINISHED" else found.last_scores
    )
    seconds = time.monotonic() - started
    return TrainResult(own.run_id, own.url, status, scores, step or 0, seconds, recorder.folder)


def title_of(store: runs.Store, run: runs.TrackedRun) -> str:
    """What lines about a run begin with: ``trial 3 of pix2pix_toycity``, or '' for a run of its own."""
    tags = store.get(run.run_id).tags
    if names.STUDY not in tags or names.TRIAL not in tags:
        return ""
    seed = f", seed {tags[names.SEED_OF_TRIAL]}" if names.SEED_OF_TRIAL in tags else ""
    return f"trial {tags[names.TRIAL]} of {tags[names.STUDY]}{seed}"


def _opened(
    run: runs.TrackedRun | runs.RunRecord | None,
    experiment: TranslationExperiment,
    store: runs.Store,
    tags: Mapping[str, str] | None,
) -> runs.TrackedRun:
    if isinstance(run, runs.TrackedRun):
        return run
    if run is not None:
        return store.resume_run(run.run_id)
    known = {names.KIND: experiment.kind, names.EXPERIMENT_NAME: experiment.name, **(tags or {})}
    return store.start_run(names.experiment(experiment.dataset.name), experiment.name, tags=known)


def follow(experiment: TranslationExperiment, *, store: runs.Store, resume: str) -> None:
    """What the processes besides the first do under torchrun: the same steps, on their share of each batch."""
    use_threads(experiment.training.num_threads)
    batches = translator_preflight.training_batches(experiment, held.open_dataset(experiment.dataset))
    trainer = _Trainer(experiment, batches, None)
    if resume:
        trainer.restore(store.work_root / resume)
    with signals_between_steps() as stop, contextlib.suppress(StopRequested):
        trainer.begin(None, resuming.Begun(), stop)
        trainer.run(on_scores=None, progress=False)


class _Trainer:
    """Consumes the loop; the one process of a run that has a recorder scores, logs and saves."""

    def __init__(
        self,
        experiment: TranslationExperiment,
        batches: TranslationBatches,
        heartbeat: Callable[[], None] | None,
    ) -> None:
        self.experiment, self.batches, self.heartbeat = experiment, batches, heartbeat
        self.found = Found()
        self.losses: list[tuple[int, Mapping[str, float]]] = []  # logged since the last whole epoch
        self.title = ""  # what lines about it begin with
        training = experiment.training
        device = str(resolve_device(training.device))
        self.steps_per_epoch = training.steps_per_epoch or batches.steps_per_epoch
        self.total_steps = training.n_epochs * self.steps_per_epoch
        self.translator = translators.build(
            experiment.translator,
            total_steps=self.total_steps,
            seed=experiment.seed,
            device=device,
            precision=resolve_precision(training.precision, torch.device(device)),
            channels_last=training.channels_last,
            compile=training.compile,
        )

    def restore(self, folder: Path) -> None:
        """The last whole checkpoint of a run; one killed before or inside its first stays at step 0."""
        loaded = resuming.saved_state(folder / "checkpoint")
        if loaded is None:
            return
        resuming.refuse_other_checkpoint(loaded.meta["experiment"], to_dict(self.experiment), folder.name)
        self.translator.load_state(loaded.state)
        self.found = Found(**loaded.meta["found"])
        logger.info("resumed at step %d of %d", self.translator.steps_done, self.total_steps)

    def begin(self, recorder: Recorder | None, begun: resuming.Begun, stop: threading.Event) -> None:
        """What a run needs besides: who records it, what an interruption says of it, and the wish to stop."""
        self.recorder, self.begun, self.stop = recorder, begun, stop
        if self.translator.steps_done:
            self._tell_saved()
        if recorder is not None:
            recorder.found = self.found
            checkpoint.forget_later(recorder.folder / "best", self.translator.steps_done)

    def run(self, *, on_scores: OnScores | None, progress: bool) -> Status:
        """FINISHED, or KILLED when ``on_scores`` pruned; StopRequested when a signal came."""
        training, every = self.experiment.training, self.experiment.evaluation.every_epochs
        lines = self._lines(progress)
        for epoch in self._epochs(progress):
            if self.recorder is not None:
                self.recorder.log_epoch(epoch, self.batches.skipped)
            is_last = epoch.epoch == training.n_epochs
            pruned = False
            if self.recorder is not None and (is_last or epoch.epoch % every == 0):
                scores = self.recorder.evaluate(self.translator, epoch.step)
                short = {name.partition(".")[0]: value for name, value in scores.items()}  # one extractor
                lines.tell(
                    f"epoch {epoch.epoch} of {training.n_epochs}: {scores_text(short)}", done=epoch.step
                )
                pruned = on_scores is not None and on_scores(epoch.step, scores) and not is_last
            if pruned or is_last or epoch.epoch % training.checkpoint_every_epochs == 0:
                self._save()
            if pruned and self.recorder is not None:
                self.recorder.run.set_tags({names.PRUNED: "true"})
                return "KILLED"
        if self.translator.steps_done < self.total_steps:
            if self.recorder is not None:
                self.recorder.log_losses(self.losses)
            self._save()
            raise StopRequested
        return "FINISHED"

    def _lines(self, progress: bool) -> Lines:
        return Lines(
            self.title or self.experiment.name, self.total_steps, self.translator.steps_done, wanted=progress
        )

    def _epochs(self, progress: bool) -> Iterator[EpochResult]:
        training = self.experiment.training
        return loop.train(
            self.translator,
            self._batches_between,
            n_epochs=training.n_epochs,
            steps_per_epoch=self.steps_per_epoch,
            start_step=self.translator.steps_done,
            log_every_steps=training.log_every_steps,
            probe_day=self.recorder.probe_day if self.recorder is not None else None,
            stop_on_collapse=training.stop_on_collapse,
            progress=progress,
            should_stop=self._between_steps,
            history=self.losses,
            title=self.title,
        )

    def _batches_between(self, start_step: int, stop_step: int) -> Iterable[Mapping[str, torch.Tensor]]:
        return self.batches.iterate(start_step, stop_step, self.experiment.training.num_workers)

    def _between_steps(self) -> bool:
        if self.heartbeat is not None:
            self.heartbeat()
        return distributed.any_process(self.stop.is_set())

    def _save(self) -> None:
        state = self.translator.state()  # gathered from every process
        if self.recorder is not None:
            meta = {"experiment": to_dict(self.experiment), "found": asdict(self.recorder.found)}
            checkpoint.save(self.recorder.folder / "checkpoint", state, meta)
            self._tell_saved()

    def _tell_saved(self) -> None:
        self.begun.saved = f"saved at step {self.translator.steps_done} of {self.total_steps}"
