"""``d2n train``: a translator trained on a data set, scored on held-out images, tracked as one run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from d2n import translators
from d2n.config import RetrievalExperiment, TranslationExperiment, flatten, to_dict
from d2n.core import EpochResult
from d2n.datasets.batches import TranslationBatches
from d2n.datasets.index import Index
from d2n.devices import require_device
from d2n.errors import CheckpointError, ConfigError
from d2n.tracking import names, runs
from d2n.tracking.tracked_run import Status
from d2n.translators import checkpoint, distributed, loop
from d2n.translators.precision import resolve_precision
from d2n.workflows import evaluation as held
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


class StopRequested(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; raised between two steps, when the state is whole and saved."""


def train_command(
    experiment: TranslationExperiment | RetrievalExperiment,
    *,
    tracking_uri: str | None,
    resume: str | None,
    progress: bool,
) -> TrainResult | None:
    """Train as the command line asks: a new run, or an interrupted one gone on with.

    Under torchrun the first process keeps the run and gives its result; the others give None.
    """
    if isinstance(experiment, RetrievalExperiment):
        raise ConfigError(f"{experiment.name} is a retrieval experiment; run it with `d2n retrieve`")
    require_device(experiment.training.device)
    with distributed.process_group():
        store = runs.open_store(tracking_uri)
        if distributed.rank() > 0:
            follow(experiment, store=store, resume=resume)
            return None
        run = store.resume_run(resume) if resume else None
        return train(experiment, store=store, run=run, resume=bool(resume), progress=progress)


def dry_run(experiment: TranslationExperiment | RetrievalExperiment) -> list[str]:
    """The resolved knobs, and what would be read."""
    require_device(experiment.training.device)
    lines = [f"{key} = {value}" for key, value in flatten(experiment).items()]
    if isinstance(experiment, TranslationExperiment):
        index = held.open_dataset(experiment.dataset)
        info = index.info()
        lines += [f"data set {info.name}, digest {info.digest[:12]}, at {info.root}"]
        lines += [f"  {name}: {count}" for name, count in sorted(info.counts.items())]
        steps = experiment.training.steps_per_epoch or _batches(experiment, index).steps_per_epoch
        lines += [
            f"{experiment.training.n_epochs} epochs of {steps} steps of {experiment.training.batch_size}"
        ]
    return lines


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
    run: runs.TrackedRun | None = None,
    work_root: Path | None = None,
    resume: bool = False,
    on_scores: OnScores | None = None,
    heartbeat: Callable[[], None] | None = None,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train one translator.

    A run given by the caller (a trial of a study) is used, else one is started. With ``resume`` the last checkpoint
    below ``work_root/<run id>`` is continued and no metric step is logged twice. ``on_scores`` is asked after each
    evaluation whether to stop; ``heartbeat`` is called between steps.
    """
    started = time.monotonic()
    held.check_scores(experiment.evaluation.scores)
    held.use_threads(experiment.training.num_threads)
    index = held.open_dataset(experiment.dataset)
    batches = _batches(experiment, index)  # refuses an empty domain before a run is made
    work_root = work_root or held.work_root(store)
    evaluator = held.build_evaluator(experiment, index, store, work_root)
    run = run or store.start_run(names.experiment(experiment.dataset.name), experiment.name, tags=tags)
    folder = work_root / run.run_id
    with run, signals_between_steps() as stop:
        recorder = Recorder(experiment, run, evaluator, folder)
        trainer = _Trainer(experiment, batches, recorder, folder, stop, heartbeat)
        if resume:
            trainer.restore()
        recorder.start(index.info())
        status = trainer.run(on_scores=on_scores, progress=progress)
        if status == "FINISHED":
            recorder.log_generator(trainer.translator.stride)
        run.close(status)
    step, found = recorder.best_step, recorder.found
    scores = (
        found.best_scores.get(str(step), found.last_scores) if status == "FINISHED" else found.last_scores
    )
    return TrainResult(run.run_id, run.url, status, scores, step or 0, time.monotonic() - started, folder)


def follow(experiment: TranslationExperiment, *, store: runs.Store, resume: str | None) -> None:
    """What the processes besides the first do under torchrun: the same steps, on their share of each batch."""
    held.use_threads(experiment.training.num_threads)
    batches = _batches(experiment, held.open_dataset(experiment.dataset))
    folder = held.work_root(store) / (resume or "")
    with signals_between_steps() as stop, contextlib.suppress(StopRequested):
        trainer = _Trainer(experiment, batches, None, folder, stop, None)
        if resume:
            trainer.restore()
        trainer.run(on_scores=None, progress=False)


class _Trainer:
    """Consumes the loop; the one process of a run that has a recorder scores, logs and saves."""

    def __init__(
        self,
        experiment: TranslationExperiment,
        batches: TranslationBatches,
        recorder: Recorder | None,
        folder: Path,
        stop: threading.Event,
        heartbeat: Callable[[], None] | None,
    ) -> None:
        self.experiment, self.batches, self.recorder, self.folder = experiment, batches, recorder, folder
        self.stop, self.heartbeat = stop, heartbeat
        training = experiment.training
        device = held.device_for(training.device)
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

    def restore(self) -> None:
        """The last whole checkpoint; a run killed before its first one starts at step 0 under the same run id."""
        if not (self.folder / "checkpoint").exists():
            logger.warning("no checkpoint in %s: from the start", self.folder)
            return
        loaded = checkpoint.load(self.folder / "checkpoint")
        _refuse_other_experiment(loaded.meta["experiment"], to_dict(self.experiment), self.folder.name)
        self.translator.load_state(loaded.state)
        if self.recorder is not None:
            self.recorder.found = Found(**loaded.meta["found"])
        logger.info("resumed at step %d of %d", self.translator.steps_done, self.total_steps)

    def run(self, *, on_scores: OnScores | None, progress: bool) -> Status:
        """FINISHED, or KILLED when ``on_scores`` pruned; StopRequested when a signal came."""
        training, every = self.experiment.training, self.experiment.evaluation.every_epochs
        for epoch in self._epochs(progress):
            if self.recorder is not None:
                self.recorder.log_epoch(epoch, self.batches.skipped)
            is_last = epoch.epoch == training.n_epochs
            pruned = False
            if self.recorder is not None and (is_last or epoch.epoch % every == 0):
                scores = self.recorder.evaluate(self.translator, epoch.step)
                pruned = on_scores is not None and on_scores(epoch.step, scores) and not is_last
            if pruned or is_last or epoch.epoch % training.checkpoint_every_epochs == 0:
                self._save()
            if pruned and self.recorder is not None:
                self.recorder.run.set_tags({names.PRUNED: "true"})
                return "KILLED"
        if self.translator.steps_done < self.total_steps:
            self._save()
            raise StopRequested
        return "FINISHED"

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
            checkpoint.save(self.folder / "checkpoint", state, meta)


def _batches(experiment: TranslationExperiment, index: Index) -> TranslationBatches:
    data, training = experiment.dataset, experiment.training
    return TranslationBatches(
        index,
        split="train",
        paired=data.paired if data.paired is not None else experiment.translator.method == "pix2pix",
        batch_size=training.batch_size,
        seed=experiment.seed,
        image_size_px=data.image_size_px,
        load=data.load,
        scale_min=data.scale_min,
        scale_max=data.scale_max,
        flip=data.flip,
        on_bad_image=data.on_bad_image,
        cache_mb=data.cache_mb,
        shorter_side_px=data.shorter_side_px,
    )


def _refuse_other_experiment(saved: Mapping[str, Any], asked: Mapping[str, Any], run_id: str) -> None:
    """A checkpoint goes on only under the knobs that it was made with; how it is computed may change."""
    free = {"num_workers", "num_threads", "device", "log_every_steps", "checkpoint_every_epochs", "compile"}
    differing = [
        f"{room}.{key}: {saved[room].get(key)!r} in the checkpoint, {asked[room].get(key)!r} now"
        for room in ("dataset", "translator", "training")
        for key in sorted({*saved[room], *asked[room]} - free)
        if saved[room].get(key) != asked[room].get(key)
    ]
    if differing:
        raise CheckpointError(
            f"run {run_id} was made with other knobs: {'; '.join(differing)}; start a new run"
        )


@contextmanager
def signals_between_steps() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set an event; a second one interrupts at once. Outside the main thread: nothing changes."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        logger.warning("%s: process %d stops after this step", signal.Signals(signum).name, os.getpid())
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
