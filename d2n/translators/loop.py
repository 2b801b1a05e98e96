"""The training loop: an iterator of epochs. Who consumes it scores, logs, saves and decides when to stop."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from torch import Tensor
from tqdm import tqdm

from d2n.core import EpochResult
from d2n.errors import TrainingError
from d2n.translators import distributed
from d2n.translators.alarms import MEANINGS, alarms, check_finite
from d2n.translators.gan import Gan

logger = logging.getLogger(__name__)

Batches = Callable[[int, int], Iterable[Mapping[str, Tensor]]]


def train(
    translator: Gan,
    batches: Batches,
    *,
    n_epochs: int,
    steps_per_epoch: int,
    start_step: int = 0,
    log_every_steps: int = 50,
    probe_day: Tensor | None = None,
    stop_on_collapse: bool = False,
    progress: bool = False,
    should_stop: Callable[[], bool] | None = None,
    history: list[tuple[int, Mapping[str, float]]] | None = None,
    title: str = "",
) -> Iterator[EpochResult]:
    """Train from ``start_step`` (the steps done before) to ``n_epochs`` * ``steps_per_epoch``.

    ``batches(start, stop)`` gives the global batches {"day", "night"} of those steps; in a distributed run
    every process takes its share of each. Yields after each epoch, with the translator between two steps:
    the moment for scores and checkpoints. ``should_stop`` is asked between steps (a signal handler may set
    what it returns); then the iterator ends, possibly inside an epoch: ``translator.steps_done`` tells
    where, and its state resumes there, means over the epoch included; ``history`` then holds the losses
    logged since the last epoch that was yielded. ``title`` begins what is told of alarms, such as
    ``trial 3 of pix2pix_toycity``.

    TrainingError: a loss is not finite (before the epoch is yielded), or the outputs collapsed and
    ``stop_on_collapse`` (after it).
    """
    _check_start(translator, start_step)
    total = n_epochs * steps_per_epoch
    stream = iter(batches(start_step, total)) if start_step < total else iter(())
    raised: tuple[str, ...] = ()
    with tqdm(total=total, initial=start_step, unit="step", disable=None if progress else True) as bar:
        while translator.steps_done < total:
            epoch = translator.steps_done // steps_per_epoch + 1
            history = [] if history is None else history
            history.clear()
            run = _EpochRun(translator, epoch * steps_per_epoch, log_every_steps, bar, history)
            if not run.advance(stream, should_stop):
                return
            result = run.result(epoch, probe_day)
            raised = _tell(bar, result, raised, title)
            yield result
            if stop_on_collapse and result.alarms.get("collapse"):
                raise TrainingError(
                    f"epoch {epoch}: the outputs hardly depend on the inputs (deviation ratio "
                    f"{result.alarms['output_std_ratio']:.3g}): collapsed; lower translator.lr or raise "
                    "translator.lambda_cycle"
                )


@dataclass
class _EpochRun:
    """One epoch, or the rest of one."""

    translator: Gan
    stop_step: int
    log_every_steps: int
    bar: tqdm[NoReturn]  # counted by hand
    history: list[tuple[int, Mapping[str, float]]]
    num_images: int = 0
    started: float = field(default_factory=time.perf_counter)

    def advance(self, stream: Iterator[Mapping[str, Tensor]], should_stop: Callable[[], bool] | None) -> bool:
        """Whether the epoch's last step was reached."""
        checked = self.translator.steps_done
        for batch in itertools.islice(stream, self.stop_step - checked):
            own = distributed.shard(batch)
            self.translator.step(own["day"], own["night"])
            self.num_images += len(batch["day"])
            self.bar.update()
            step = self.translator.steps_done
            if step % self.log_every_steps == 0:
                self._log(step, checked)
                checked = step
            if should_stop is not None and should_stop() and step < self.stop_step:
                return False
        if self.translator.steps_done < self.stop_step:
            raise TrainingError(
                f"the batches ended at step {self.translator.steps_done}, expected {self.stop_step}"
            )
        return True

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


def _check_start(translator: Gan, start_step: int) -> None:
    if translator.steps_done != start_step:
        raise TrainingError(
            f"start_step is {start_step}, but the translator has done {translator.steps_done} steps; "
            "load the checkpoint's state first"
        )


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
