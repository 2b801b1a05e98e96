"""``d2n train``: a translator trained on a data set, scored on held-out images, tracked as one run."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from d2n import config
from d2n.config import RetrievalExperiment, TranslationExperiment, flatten
from d2n.core import ScoreProtocol, StepResult
from d2n.devices import use_threads
from d2n.errors import D2NError, TrainingError
from d2n.signals import StopRequested, signals_between_steps
from d2n.tracking import links, liveness, names, notes, runs, uses
from d2n.tracking.records import TrialRecord
from d2n.tracking.records.translation import PRUNED
from d2n.tracking.tracked_run import Status
from d2n.translators import distributed
from d2n.workflows import evaluation as held
from d2n.workflows import preflight, resuming, translation
from d2n.workflows.dry_run import dataset_lines
from d2n.workflows.preflight import translator as translator_preflight
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.recording import Recorder
from d2n.workflows.tracked import Run, Tracked, opened
from d2n.workflows.translation import Evaluation, Translation, best_step

logger = logging.getLogger(__name__)


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
        former = resuming.former_values(experiment, run)
        begun = distributed.gather((run.run_id if run is not None else "", former))
        run_id, former = begun[0]  # what `last` is, the first decides
        experiment = preflight.translation(config.with_values(experiment, former), tracking_uri)
        if not is_first:
            follow(experiment, work_root=store.work_root, resume=run_id)
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
    lines += [f"  {name} = {value:.4g}" for name, value in sorted(result.scores.items())]
    return [*lines, f"best at step {result.best_step}; to look at it: d2n ui, then {result.url}"]


def train(
    experiment: TranslationExperiment,
    *,
    store: runs.Store,
    run: Run = None,
    work_root: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train one translator to its end. Arguments as of ``tracked``."""
    with tracked(
        experiment,
        store=store,
        run=run,
        work_root=work_root,
        resume=resume,
        progress=progress,
        tags=tags,
    ) as training:
        for _ in training.steps:
            pass
    return training.result


@contextlib.contextmanager
def tracked(
    experiment: TranslationExperiment,
    *,
    store: runs.Store,
    run: Run = None,
    work_root: Path | None = None,
    resume: bool = False,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Tracked[TrainResult]]:
    """A training and its run: iterate over ``steps`` to train; what is yielded is logged. A break prunes it.

    A run given by the caller (a trial of a study) is used, else one is started. With ``resume``, or where the run is
    the record of an interrupted one, the last whole checkpoint below ``work_root/<run id>`` is continued and no metric
    step is logged twice. An interrupted run is taken up when nothing is left that could refuse it. A signal ends it
    between two steps, with a checkpoint; an exception of the caller's leaves the last checkpoint as it was.
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
    experiment = config.with_values(experiment, resuming.former_values(experiment, interrupted))
    evaluator = held.build_evaluator(resuming.pinned(experiment, interrupted), index, store, work_root)
    work = Translation(experiment, batches, evaluator)
    with contextlib.ExitStack() as stack:
        if interrupted is not None:
            resuming.refuse_other_data(interrupted, index.info(), evaluator.protocol)
            stack.enter_context(liveness.locked(work_root / interrupted.run_id, interrupted.run_id))
        if run is not None and (resume or interrupted is not None):
            work.restore(work_root / run.run_id)
            resuming.refuse_other_knobs(store.get(run.run_id), flatten(experiment))
        own = stack.enter_context(opened(run, experiment, store, work_root, work.saved, tags))
        stop = stack.enter_context(signals_between_steps())
        folder = work_root / own.run_id
        recorder = Recorder(work, own, evaluator, folder)
        recorder.start(index.info())
        is_linked = _log_uses(store, own, evaluator.protocol)
        shown = Shown(TrialRecord.title_by(own.tags), progress)
        training: Tracked[TrainResult] = Tracked(own, _steps(work, folder, stop, recorder, shown))
        with contextlib.closing(training.steps):
            yield training
        if work.is_done:
            recorder.log_generator(work.translator.stride)
            own.flush()
            trained = store.get(own.run_id)  # a trial's note is written anew when its study knows its state
            notes.write(store, trained, notes.of_translation(trained) + notes.sheet(trained))
        else:
            if distributed.world_size() == 1:  # the others have left it already, with their part of the state
                work.save(folder)
            PRUNED.write(own)
        status: Status = "FINISHED" if work.is_done else "KILLED"
        own.close(status)
        if not is_linked:
            links.describe_run(store, own.run_id)
        work.saved.is_over = True
    step, found = best_step(folder), work.found
    training.status = status
    training.scores = (
        found.best_scores.get(str(step), found.last_scores) if work.is_done else found.last_scores
    )
    seconds = time.monotonic() - started
    training.result = TrainResult(own.run_id, own.url, status, training.scores, step or 0, seconds, folder)


def _log_uses(store: runs.Store, run: runs.TrackedRun, protocol: ScoreProtocol) -> bool:
    """The extractor's network, where it is one of the registry; and links to all that the run was made from.

    Whether these were written: a server that is away gets them at the end.
    """
    if protocol.extractor.startswith(names.EXTRACTOR):
        reference = protocol.extractor.removeprefix(names.EXTRACTOR)
        use = uses.version_use(store, uses.EXTRACTOR, reference, protocol.weights_sha256)
        uses.record(store, run, use)
        links.describe_used(store, use)
    if run.is_behind:
        return False
    links.describe_run(store, run.run_id)
    return True


def follow(experiment: TranslationExperiment, *, work_root: Path, resume: str) -> None:
    """What the processes besides the first do under torchrun: the same steps, on their share of each batch.

    ``resume``: the run whose checkpoint is continued; '' for a new one. TrainingError as of ``tracked``.
    """
    use_threads(experiment.training.num_threads)
    batches = translator_preflight.training_batches(experiment, held.open_dataset(experiment.dataset))
    work = Translation(experiment, batches, None)
    if resume:
        work.restore(work_root / resume)
    with signals_between_steps() as stop, contextlib.suppress(StopRequested):
        for _ in _steps(work, work_root, stop, None, Shown()):
            pass


@dataclass(frozen=True)
class Shown:
    """What a person sees of a training: bars and lines, or only what is told of alarms."""

    title: str = ""  # what lines about it begin with
    progress: bool = False


_GO, _STOP, _LEAVE = 0, 1, 2  # what a process wishes between two steps; the highest is what all of them do


def _steps(
    work: Translation, folder: Path, stop: threading.Event, recorder: Recorder | None, shown: Shown
) -> Generator[StepResult, None, None]:
    """The steps, logged and told; StopRequested between two of them when a signal came to any process.

    Of several processes the others leave it where the first one's consumer does, or where it fails.
    """
    total, done = work.schedule.total_steps, work.translator.steps_done
    lines = Lines(shown.title or work.experiment.name, total, done, wanted=shown.progress)
    if len(stand := set(distributed.gather(done))) > 1:
        raise TrainingError(
            f"the processes begin at steps {', '.join(map(str, sorted(stand)))}: they need one work folder, "
            "with the checkpoint of the first"
        )
    steps = translation.train(work, folder, progress=shown.progress, title=shown.title)
    wish = _GO
    with contextlib.closing(steps):
        try:
            for found in steps:
                if recorder is not None:
                    recorder.log(found)
                _tell(work, found, lines)
                yield found
                wish = distributed.highest(_STOP if stop.is_set() else _GO)
                is_between = (
                    found.epoch is None and not work.is_done
                )  # its evaluation follows an epoch's last step
                if wish == _LEAVE or (wish == _STOP and is_between):
                    break
            else:
                return
        except (GeneratorExit, D2NError):
            distributed.highest(_LEAVE)
            raise
    if wish == _LEAVE and recorder is not None:
        raise TrainingError("another process of this training left it: its output says why")
    if wish == _STOP:
        work.save(folder)
    raise StopRequested


def _tell(work: Translation, found: StepResult, lines: Lines) -> None:
    if isinstance(found, Evaluation) and found.scores:
        short = {name.partition(".")[0]: value for name, value in found.scores.items()}  # one extractor
        epoch = found.step // work.schedule.steps_per_epoch
        lines.tell(
            f"epoch {epoch} of {work.experiment.training.n_epochs}: {scores_text(short)}", done=found.step
        )
