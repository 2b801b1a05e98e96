"""A translator in training: an iterator of its steps and evaluations. Who consumes it logs, reports, stops, prunes.

    work = Translation(experiment, batches, evaluator)
    with contextlib.closing(train(work, folder)) as found:
        for one in found:
            ...

It knows no tracking and no study: mlflow, optuna and pydantic may be absent. What a run needs to go on lies in its
folder: `checkpoint/` with the whole state, `best/` with the best generators so far, `way_back/` with those of the
other direction where the method learns one.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from d2n import core, promotion, translators
from d2n.config import TranslationExperiment, to_dict
from d2n.core import StepResult
from d2n.datasets.batches import TranslationBatches
from d2n.devices import compute_of
from d2n.errors import TrainingError
from d2n.pixels import signed_tensor, to_uint8
from d2n.translators import checkpoint, distributed, loop
from d2n.translators.many import ManyDomains
from d2n.workflows.evaluation import Evaluator, HeldOut, ScoredImages
from d2n.workflows.saved import Saved, refuse_other_checkpoint, saved_state

logger = logging.getLogger(__name__)
WAY_BACK = "way_back"  # beside `best`: the generators of the other direction, of the same steps


@dataclass(frozen=True)
class Evaluation(core.Evaluation):
    """An epoch's end; where an evaluation was due, with its scores and its images."""

    scored: ScoredImages | None = None
    seconds: float = 0.0  # that the scores took
    samples: tuple[np.ndarray, ...] = ()  # (N, S, S, 3) uint8 each: day, fake night (, day again)


@dataclass
class Found:
    """What evaluations found so far; kept in the checkpoint's meta."""

    best_scores: dict[str, dict[str, float]] = field(default_factory=dict)  # by step, of the generators kept
    last_scores: dict[str, float] = field(default_factory=dict)


class Translation:
    """A translator, what it is trained on, and how far it is.

    Without an evaluator (a process besides the first, under torchrun) nothing is scored or written.
    """

    def __init__(
        self, experiment: TranslationExperiment, batches: TranslationBatches, evaluator: Evaluator | None
    ) -> None:
        training = experiment.training
        self.experiment, self.batches, self.evaluator = experiment, batches, evaluator
        self.found, self.saved = Found(), Saved()
        self.schedule = loop.Schedule(
            training.n_epochs,
            training.steps_per_epoch or batches.steps_per_epoch,
            training.log_every_steps,
            training.stop_on_collapse,
        )
        self.translator = translators.build(
            experiment.translator,
            total_steps=self.schedule.total_steps,
            seed=experiment.seed,
            compute=compute_of(training),
            domains=experiment.dataset.direction,
        )

    @property
    def is_done(self) -> bool:
        """Whether all steps are trained."""
        return self.translator.steps_done >= self.schedule.total_steps

    @property
    def num_samples(self) -> int:
        """Day images of a sample grid."""
        return max(self.experiment.evaluation.num_samples, 1)

    def restore(self, folder: Path) -> None:
        """The last whole checkpoint of a run; one killed before or inside its first stays at step 0."""
        loaded = saved_state(folder / "checkpoint")
        if loaded is None:
            return
        refuse_other_checkpoint(loaded.meta["experiment"], to_dict(self.experiment), folder.name)
        self.translator.load_state(loaded.state)
        self.found = Found(**loaded.meta["found"])
        logger.info("resumed at step %d of %d", self.translator.steps_done, self.schedule.total_steps)
        if self.translator.steps_done:
            self._tell_saved()

    def save(self, folder: Path) -> None:
        """A checkpoint of where it stands, between two steps; every process of the training must come here."""
        state = self.translator.state()  # gathered from every process
        if self.evaluator is not None:
            meta = {"experiment": to_dict(self.experiment), "found": asdict(self.found)}
            checkpoint.save(folder / "checkpoint", state, meta)
            self._tell_saved()

    def evaluate(self, evaluator: Evaluator, folder: Path, is_last: bool) -> Evaluation:
        """Scores and samples now; the generator is kept if it is among the best."""
        started, step = time.monotonic(), self.translator.steps_done
        scored = evaluator(self.translator.translate)
        scores, main = scored.evaluation.scores, scored.evaluation.scores[0]
        if not math.isfinite(main.value):
            raise TrainingError(
                f"{main.name} is {main.value} at step {step}: no score to choose a generator by"
            )
        self.found.last_scores = {one.name: one.value for one in scores if math.isfinite(one.value)}
        seconds = time.monotonic() - started
        samples = tuple(to_uint8(row) for row in self._samples(evaluator.images).values())
        self._keep_best(folder, main.name, step)
        return Evaluation(
            step,
            scores=self.found.last_scores,
            is_last=is_last,
            scored=scored,
            seconds=seconds,
            samples=samples,
        )

    def _samples(self, images: HeldOut) -> Mapping[str, torch.Tensor]:
        """Day, its night and the way back; of a translator of many domains all directions."""
        day = images.day[: self.num_samples]
        if not isinstance(self.translator, ManyDomains):
            return self.translator.samples(signed_tensor(day))
        shown = {self.translator.domains[0]: day, self.translator.domains[1]: images.night, **images.others}
        count = min(len(day), *map(len, shown.values()))
        return self.translator.grid({name: signed_tensor(some[:count]) for name, some in shown.items()})

    def _keep_best(self, folder: Path, main: str, step: int) -> None:
        value = self.found.last_scores[main]
        kept = checkpoint.save_best(
            folder / "best",
            self.translator.generator,
            self.experiment.translator,
            score=value if promotion.lower_is_better(main) else -value,
            step=step,
            keep=self.experiment.training.keep_best,
        )
        if kept:
            self.found.best_scores[str(step)] = dict(self.found.last_scores)
            if (back := self.translator.way_back()) is not None:
                checkpoint.save_beside(folder / WAY_BACK, back, self.experiment.translator, step)

    def _tell_saved(self) -> None:
        done, total = self.translator.steps_done, self.schedule.total_steps
        self.saved.text = f"saved at step {done} of {total}"


def train(
    work: Translation, folder: Path, *, progress: bool = False, title: str = ""
) -> Generator[StepResult, None, None]:
    """Train from where the work stands to its last epoch.

    Yields a StepResult after each step; after one that ends an epoch also an Evaluation, with scores every
    ``evaluation.every_epochs`` and at the end. The state is saved in the folder, every
    ``training.checkpoint_every_epochs`` and at the end, when the consumer comes back from an Evaluation: what it
    logged is older than what is saved. Who leaves earlier saves by ``work.save(folder)``, or leaves the last
    checkpoint as it is. ``title`` begins what is told of alarms.

    TrainingError: a loss or the first score is not finite, or the outputs collapsed and that is to stop it.
    """
    config, done = work.experiment, work.translator.steps_done
    if work.evaluator is not None:
        for kept in ("best", WAY_BACK):
            checkpoint.forget_later(folder / kept, done)

    def batches(start_step: int, stop_step: int) -> Iterable[Mapping[str, torch.Tensor]]:
        alone = distributed.world_size() == 1  # of several processes each takes its share first
        device = str(work.translator.device) if alone else "cpu"
        return work.batches.iterate(start_step, stop_step, config.training.num_workers, device)

    probe_day = signed_tensor(work.evaluator.images.day[:8]) if work.evaluator is not None else None
    steps = loop.train(
        work.translator, batches, work.schedule, probe_day=probe_day, progress=progress, title=title
    )
    with contextlib.closing(steps):
        for step in steps:
            yield step
            if step.epoch is None:
                continue
            number, is_last = step.epoch.epoch, step.epoch.epoch == config.training.n_epochs
            is_due = is_last or number % config.evaluation.every_epochs == 0
            if work.evaluator is not None and is_due:
                yield work.evaluate(work.evaluator, folder, is_last)
            else:
                yield Evaluation(step.step, is_last=is_last)
            if is_last or number % config.training.checkpoint_every_epochs == 0:
                work.save(folder)


def best_step(folder: Path) -> int | None:
    """The step of the best generator kept in a training's folder."""
    ranked = checkpoint.ranked_generators(folder / "best")
    return int(ranked[0][1].name.removeprefix("step-")) if ranked else None
