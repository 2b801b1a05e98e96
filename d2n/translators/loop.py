"""The training loop: an iterator of steps. Who consumes it scores, logs, saves and decides when to stop."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from torch import Tensor
from tqdm import tqdm

from d2n.core import EpochResult, StepResult
from d2n.errors import TrainingError
from d2n.translators import distributed
from d2n.translators.alarms import MEANINGS, alarms, check_finite
from d2n.translators.gan import Gan

logger = logging.getLogger(__name__)

Batches = Callable[[int, int], Iterable[Mapping[str, Tensor]]]


@dataclass(frozen=True)
class Schedule:
    """How long a training is, how often its losses are fetched, and whether a collapse ends it."""

    n_epochs: int
    steps_per_epoch: int
    log_every_steps: int = 50
    stop_on_collapse: bool = False

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.n_epochs * self.steps_per_epoch


def train(
    translator: Gan,
    batches: Batches,
    schedule: Schedule,
    *,
    probe_day: Tensor | None = None,
    progress: bool = False,
    title: str = "",
) -> Generator[StepResult, None, None]:
    """Train from where the translator stands to the schedule's end.

    ``batches(start, stop)`` gives the global batches of those steps, images by domain; in a distributed run
    every process takes its share of each. Yields after each step, with the translator between two steps; a
    step that ends an epoch carries its EpochResult: the moment for scores and checkpoints. Left between two
    steps, the translator's state resumes there, means over the epoch included. ``title`` begins what is told
    of alarms, such as ``trial 3 of pix2pix_toycity``.

    TrainingError: a loss is not finite (before the step is yielded), or the outputs collapsed and
    ``stop_on_collapse`` (after the epoch was yielded).
    """
    start, total = translator.steps_done, schedule.total_steps
    stream = iter(batches(start, total)) if start < total else iter(())
    raised: tuple[str, ...] = ()
    with tqdm(total=total, initial=start, unit="step", disable=None if progress else True) as bar:
        while translator.steps_done < total:
            number = translator.steps_done // schedule.steps_per_epoch + 1
            run = _EpochRun(translator, number * schedule.steps_per_epoch, schedule.log_every_steps, bar)
            yield from run.steps(stream)
            epoch = run.result(number, probe_day)
            raised = _tell(bar, epoch, raised, title)
            # only the first of several processes has photographs to see it by
            has_collapsed = schedule.stop_on_collapse and distributed.highest(
                bool(epoch.alarms.get("collapse"))
            )
            yield StepResult(epoch.step, run.losses_at(epoch.step), epoch)
            if has_collapsed:
                raise TrainingError(
                    f"epoch {number}: the outputs hardly depend on the inputs (deviation ratio "
                    f"{epoch.alarms.get('output_std_ratio', math.nan):.3g}): collapsed; lower translator.lr or raise "
                    "translator.lambda_cycle"
                )


@dataclass
class _EpochRun:
    """One epoch, or the rest of one."""

    translator: Gan
    stop_step: int
    log_every_steps: int
    bar: tqdm[NoReturn]  # counted by hand
    history: list[tuple[int, Mapping[str, float]]] = field(default_factory=list)
    num_images: int = 0
    started: float = field(default_factory=time.perf_counter)

    def steps(self, stream: Iterator[Mapping[str, Tensor]]) -> Iterator[StepResult]:
        """The epoch's steps; all are yielded but the last, whose result is the epoch's."""
        checked = self.translator.steps_done
        for batch in itertools.islice(stream, self.stop_step - checked):
            own = distributed.shard(batch)
            self.translator.step(own)
            self.num_images += len(next(iter(batch.values())))
            self.bar.update()
            step = self.translator.steps_done
            if step % self.log_every_steps == 0:
                self._log(step, checked)
                checked = step
            if step < self.stop_step:
                yield StepResult(step, self.losses_at(step))
        if self.translator.steps_done < self.stop_step:
            raise TrainingError(
                f"the batches ended at step {self.translator.steps_done}, expected {self.stop_step}"
            )

    def losses_at(self, step: int) -> Mapping[str, float]:
        """The losses fetched at this step, if it ended an interval."""
        return self.history[-1][1] if self.history and self.history[-1][0] == step else {}

    def result(self, epoch: int, probe_day: Tensor | None) -> EpochResult:
        losses = self.translator.epoch_losses.mean_and_reset()  # waits for the device
        seconds = time.perf_counter() - self.started
        check_finite(losses, self.stop_step, max(self.stop_step - self.log_every_steps, 0))
        return EpochResult(
            epoch=epoch,
            step=self.translator.steps_done,
            losses=losses,
            history=tuple(self.history),
            alarms=alarms(self.translator, probe_day, losses),
            images_per_s=self.num_images / seconds if seconds > 0 else 0.0,
            seconds=seconds,
        )

    def _log(self, step: int, since: int) -> None:
        losses = self.translator.interval_losses.mean_and_reset()
        check_finite(losses, step, since)
        self.history.append((step, losses))
        per_second = self.num_images / (time.perf_counter() - self.started)
        shown: dict[str, object] = {name: f"{losses[name]:.3g}" for name in ("g", "d") if name in losses}
        self.bar.set_postfix(shown | {"images/s": f"{per_second:.3g}"})


def _tell(bar: tqdm[NoReturn], result: EpochResult, before: tuple[str, ...], title: str) -> tuple[str, ...]:
    """Alarms in the bar; in the log when they change. Those that are raised now."""
    raised = tuple(name for name in MEANINGS if result.alarms.get(name))
    if raised != before:
        said = "; ".join(f"{name}: {MEANINGS[name]}" for name in raised)
        logger.warning(
            "%sepoch %d: alarm: %s",
            f"{title}, " if title else "",
            result.epoch,
            f"{said} (docs/alarms.md)" if said else "none any more",
        )
    bar.set_description(f"epoch {result.epoch}" + "".join(f" !{name}" for name in raised))
    return raised
