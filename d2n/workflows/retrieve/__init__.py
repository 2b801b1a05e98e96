"""``d2n retrieve``: a retrieval network fine-tuned, with or without night augmentation, and measured by mAP."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from d2n.config import RetrievalExperiment, TranslationExperiment, flatten
from d2n.core import Evaluation, StepResult
from d2n.devices import use_threads
from d2n.signals import StopRequested, raise_unheard, signals_between_steps
from d2n.tracking import liveness, notes, registry, runs
from d2n.tracking.records import RetrievalRecord
from d2n.tracking.records.translation import PRUNED
from d2n.tracking.tracked_run import Status
from d2n.workflows import evaluation as held
from d2n.workflows import preflight, resuming
from d2n.workflows.preflight import network as network_preflight
from d2n.workflows.progress import Lines, scores_text
from d2n.workflows.retrieval import RetrievalTraining, fine_tune
from d2n.workflows.retrieve.arm import Arm, benchmarks, open_arm
from d2n.workflows.retrieve.measuring import MAX_WHITENING_IMAGES, learn_whitening, measure, measures
from d2n.workflows.retrieve.recording import log_links, log_network, log_start
from d2n.workflows.saved import Saved
from d2n.workflows.tracked import Run, Tracked, opened

if TYPE_CHECKING:
    from d2n.datasets.index import Index
    from d2n.tracking.runs import Store


@dataclass(frozen=True)
class RetrieveResult:
    """mAP by benchmark, one value a seed."""

    run_id: str
    url: str
    maps: Mapping[str, tuple[float, ...]]
    generators: tuple[
        registry.RegisteredVersion, ...
    ]  # seed after seed takes the next one; (): none is registered
    registered: registry.RegisteredVersion | None
    seconds: float

    @property
    def generator(self) -> registry.RegisteredVersion | None:
        """The first seed's."""
        return self.generators[0] if self.generators else None


def retrieve_command(
    experiment: RetrievalExperiment | TranslationExperiment,
    *,
    tracking_uri: str | None,
    resume: str | None,
    progress: bool,
) -> RetrieveResult:
    """Fine-tune and measure as the command line asks."""
    store = runs.open_store(tracking_uri)
    run = resuming.interrupted_run(store, resume, experiment) if resume is not None else None
    experiment = preflight.retrieval(experiment, tracking_uri)
    return retrieve(experiment, store=store, run=run, progress=progress)


def retrieve(
    experiment: RetrievalExperiment,
    *,
    store: Store,
    run: Run = None,
    work_root: Path | None = None,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> RetrieveResult:
    """One arm: every seed pretrained (where asked), fine-tuned, whitened, measured; one tracked run."""
    with tracked(
        experiment, store=store, run=run, work_root=work_root, progress=progress, tags=tags
    ) as training:
        for _ in training.steps:
            pass
    return training.result


@contextlib.contextmanager
def tracked(
    experiment: RetrievalExperiment,
    *,
    store: Store,
    run: Run = None,
    work_root: Path | None = None,
    resume: bool = True,
    progress: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Tracked[RetrieveResult]]:
    """An arm and its run: iterate over ``steps`` to train and measure; what is yielded is logged. A break prunes it.

    A given run is one that was interrupted (its record is taken up when nothing is left that could refuse it): of
    seeds it finished the networks are read, the one under way goes on at its last step; without ``resume`` it is one
    that nothing was done for. The generator's version is recorded in the run and the run in the version's tags; a
    resumed run keeps its version, wherever an alias points.
    """
    started = time.monotonic()
    use_threads(experiment.training.num_threads)
    preflight.check_knobs(experiment)
    index = held.open_dataset(experiment.dataset)
    work_root = work_root or store.work_root
    record = run if isinstance(run, runs.RunRecord) else None
    if record is None and run is not None and resume:
        record = store.get(run.run_id)
    arm = open_arm(experiment, index, store, record, work_root)
    network_preflight.check_retrieval(arm.on_this_machine, arm.images, arm.benchmarks, MAX_WHITENING_IMAGES)
    with contextlib.ExitStack() as stack:
        if record is not None:
            resuming.refuse_other_knobs(record, flatten(experiment))
            resuming.refuse_other_data(record, index.info())
            stack.enter_context(liveness.locked(work_root / record.run_id, record.run_id))
        saved = Saved()
        own = stack.enter_context(opened(run, experiment, store, work_root, saved, tags))
        is_linked = log_start(own, store, arm, index)
        seeds = _Seeds(arm, own, store, saved, progress)
        training: Tracked[RetrieveResult] = Tracked(own, seeds.steps())
        with contextlib.closing(training.steps):
            yield training
        training.status, training.scores = seeds.end(), seeds.means()
        if not is_linked:
            log_links(own, store, arm)
        noted = store.get(own.run_id)
        notes.write(store, noted, notes.of_retrieval(noted))
        saved.is_over = True
    maps = {
        key.removeprefix("map/"): tuple(values)
        for key, values in seeds.maps.items()
        if key.startswith("map/")
    }
    versions = tuple(one.version for one in arm.nights if one.version is not None)
    seconds = time.monotonic() - started
    training.result = RetrieveResult(own.run_id, own.url, maps, versions, seeds.registered, seconds)


def can_train(experiment: RetrievalExperiment, index: Index, store: Store) -> None:
    """Refuse, in one line, an experiment that cannot be trained or measured."""
    preflight.check_knobs(experiment)
    arm = open_arm(experiment, index, store, None, store.work_root)
    network_preflight.check_retrieval(arm.on_this_machine, arm.images, arm.benchmarks, MAX_WHITENING_IMAGES)


def logged_scores(experiment: RetrievalExperiment) -> list[str]:
    """The names of all measures that a run of it will log."""
    return [name for one in benchmarks(experiment) for name in measures(one)]


class _Seeds:
    """The seeds of an arm, one after the other, and what they measured."""

    def __init__(self, arm: Arm, run: runs.TrackedRun, store: Store, saved: Saved, progress: bool) -> None:
        self.arm, self.run, self.store, self.saved, self.progress = arm, run, store, saved, progress
        self.folder = arm.work / run.run_id
        self.maps: dict[str, list[float]] = {}  # every measure, one value a seed
        self.aps: dict[str, list[list[float]]] = {}  # by benchmark, of every seed and query
        self.registered: registry.RegisteredVersion | None = None
        self.work: RetrievalTraining | None = None  # the seed under way

    def steps(self) -> Generator[StepResult, None, None]:
        """Train and measure; after each seed an Evaluation with the means so far."""
        experiment = self.arm.experiment
        for number in range(experiment.num_seeds):
            seed = experiment.seed + number
            folder, told = self.folder / str(seed), self.progress
            work = self.work = RetrievalTraining(
                self.arm.on_this_machine,
                self.arm.data_of(number),
                seed,
                folder,
                saved=self.saved,
                progress=told,
            )
            yield from self._trained(work, number)
            raise_unheard()
            self._measure(work, number)
            is_last = number + 1 == experiment.num_seeds
            yield Evaluation(self._step(work, number), scores=self.means(), is_last=is_last)

    @staticmethod
    def _step(work: RetrievalTraining, number: int) -> int:
        """Steps of all seeds so far."""
        a_seed = work.experiment.training.n_epochs * work.session.steps_per_epoch
        return number * max(a_seed, 1) + work.session.steps_done

    def _trained(self, work: RetrievalTraining, number: int) -> Generator[StepResult, None, None]:
        """The steps of one seed, logged and told; StopRequested between two of them when a signal came."""
        n_epochs, done = work.experiment.training.n_epochs, work.session.epoch
        lines = Lines(f"{work.experiment.name}, seed {work.seed}", n_epochs, done, wanted=self.progress)
        with (
            signals_between_steps() as stop,
            contextlib.closing(fine_tune(work, progress=self.progress)) as steps,
        ):
            for found in steps:
                if (epoch := found.epoch) is not None:
                    RetrievalRecord.epoch(epoch, number).write(self.run, epoch.epoch)
                    loss = epoch.losses[work.experiment.training.loss]
                    text = f"epoch {epoch.epoch} of {n_epochs}: loss {loss:.3g}"
                    lines.tell(text, epoch.epoch)
                    self._validate(work, number, lines)
                yield found
                if epoch is not None and self._is_due(work, epoch.epoch):
                    yield self._on_the_way(work, number)
                if stop.is_set() and not work.is_done:
                    work.save()
                    raise StopRequested

    def _validate(self, work: RetrievalTraining, number: int, lines: Lines) -> None:
        """mAP of validation queries after an epoch, where it is due; the session hears of it, and may be over."""
        every, session = work.experiment.evaluation.validate_every_epochs, work.session
        if not every or (session.epoch % every and not session.is_done):
            return
        arm = dataclasses.replace(self.arm, benchmarks=self.arm.validation)
        values = measure(arm, work.net, learn_whitening(arm, work.net, progress=False), progress=False).values
        RetrievalRecord.validated(values, number).write(self.run, session.epoch)
        session.validated(
            float(np.mean([v for key, v in values.items() if key.startswith(("map/", "recall1/"))]))
        )
        if session.best.is_out:
            best = session.best
            since = f"no better validation since epoch {best.epoch} ({best.value:.4g})"
            lines.say(f"ends at epoch {session.epoch}: {since}")

    @staticmethod
    def _is_due(work: RetrievalTraining, epoch: int) -> bool:
        every = work.experiment.evaluation.measure_every_epochs
        return bool(every) and epoch % every == 0 and not work.is_done

    def _on_the_way(self, work: RetrievalTraining, number: int) -> Evaluation:
        """The means with this seed as it is now."""
        learned = learn_whitening(self.arm, work.net, progress=False)
        measured = measure(self.arm, work.net, learned, progress=False).values
        RetrievalRecord.on_the_way(measured, number).write(self.run, work.session.epoch)
        means = {key: float(np.mean([*self.maps.get(key, ()), value])) for key, value in measured.items()}
        return Evaluation(self._step(work, number), scores=means)

    def _measure(self, work: RetrievalTraining, number: int) -> None:
        learned = learn_whitening(self.arm, work.net, self.progress)
        found = measure(self.arm, work.net, learned, self.progress)
        measured = found.values
        for name, aps in found.average_precisions.items():
            self.aps.setdefault(name, []).append(aps)
        RetrievalRecord.measured(measured).write(self.run, number)
        shown = {key: value for key, value in measured.items() if key.startswith(("map/", "recall1/"))}
        Lines(f"{self.arm.experiment.name}, seed {work.seed}", 0, wanted=self.progress).say(
            scores_text(shown)
        )
        for key, value in measured.items():
            self.maps.setdefault(key, []).append(value)
        if number == 0:
            self.registered = log_network(self.run, self.store, self.arm, work.net, learned, self.folder)

    def means(self) -> dict[str, float]:
        """Of every measure, over the seeds so far."""
        return {key: float(np.mean(values)) for key, values in self.maps.items()}

    def end(self) -> Status:
        """Close the run: FINISHED with the means over all seeds, or KILLED where the steps were left."""
        is_done = all(len(values) == self.arm.experiment.num_seeds for values in self.maps.values())
        if self.maps and is_done:
            RetrievalRecord.ended(self.maps, self.aps).write(self.run)
        elif self.work is not None:
            self.work.save()
            PRUNED.write(self.run)
        status: Status = "FINISHED" if self.maps and is_done else "KILLED"
        self.run.close(status)
        return status


def summary(result: RetrieveResult) -> list[str]:
    """mAP by benchmark, in percent."""
    lines = [f"run {result.run_id} after {result.seconds:.0f} s"]
    for benchmark, values in result.maps.items():
        deviation = (
            f" ± {100 * np.std(values, ddof=1):.1f} over {len(values)} seeds" if len(values) > 1 else ""
        )
        lines.append(f"  mAP {benchmark} = {100 * np.mean(values):.1f}{deviation}")
    if result.generators:
        name, numbers = result.generators[0].name, [one.version for one in result.generators]
        several = f"versions {', '.join(numbers)}, one a seed in turn"
        lines.append(f"augmented by {name} {f'version {numbers[0]}' if len(numbers) == 1 else several}")
    if result.registered is not None:
        lines.append(f"registered {result.registered.name} version {result.registered.version}")
    return lines
