"""``d2n train``: a translator trained on a data set, scored on held-out images, tracked as one run."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from d2n import plots, promotion, translators
from d2n.config import RetrievalExperiment, TranslationExperiment, flatten, to_dict
from d2n.core import EpochResult
from d2n.datasets.batches import TranslationBatches
from d2n.datasets.index import Index
from d2n.errors import CheckpointError, ConfigError, TrainingError
from d2n.scores.features import FeatureCache
from d2n.tracking import names, runs
from d2n.translators import checkpoint, export, loop
from d2n.workflows import evaluation as held
from d2n.workflows.evaluation import Evaluator, ScoredImages

logger = logging.getLogger(__name__)

# (step, scores) -> stop this trial now?
OnScores = Callable[[int, Mapping[str, float]], bool]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended."""

    run_id: str
    url: str
    status: str  # FINISHED, KILLED (pruned or interrupted)
    scores: Mapping[str, float]  # the best evaluation's, on held-out images
    best_step: int
    seconds: float
    work_dir: Path


class StopRequested(KeyboardInterrupt):
    """Ctrl-C or SIGTERM arrived; raised between two steps, when the state is whole."""


@dataclass
class _Progress:
    """What a resumed run must know besides the translator's state."""

    step: int = 0
    epoch: int = 0
    best: list[tuple[float, int]] = field(default_factory=list)  # (score, step), best first
    best_scores: dict[str, float] = field(default_factory=dict)
    last_scores: dict[str, float] = field(default_factory=dict)


def train_command(
    experiment: TranslationExperiment | RetrievalExperiment,
    *,
    tracking_uri: str | None,
    resume: str | None,
    progress: bool,
) -> TrainResult:
    """Train as the command line asks: a new run, or an interrupted one gone on with."""
    if isinstance(experiment, RetrievalExperiment):
        raise ConfigError(f"{experiment.name} is a retrieval experiment; run it with `d2n retrieve`")
    store = runs.open_store(tracking_uri)
    run = store.resume_run(resume) if resume else None
    return train(experiment, store=store, run=run, resume=bool(resume), progress=progress)


def dry_run(experiment: TranslationExperiment | RetrievalExperiment) -> list[str]:
    """The resolved knobs, and what would be read."""
    lines = [f"{key} = {value}" for key, value in flatten(experiment).items()]
    if isinstance(experiment, TranslationExperiment):
        index = _open_index(experiment)
        info = index.info()
        lines += [f"data set {info.name}, digest {info.digest[:12]}, at {info.root}"]
        lines += [f"  {name}: {count}" for name, count in sorted(info.counts.items())]
        batches = _batches(experiment, index)
        steps = experiment.training.steps_per_epoch or batches.steps_per_epoch
        lines += [
            f"{experiment.training.n_epochs} epochs of {steps} steps of {experiment.training.batch_size}"
        ]
    return lines


def summary(result: TrainResult) -> list[str]:
    """What a person wants to know at the end."""
    lines = [f"run {result.run_id} {result.status} after {result.seconds:.0f} s"]
    lines += [f"  {name} = {value:.4f}" for name, value in sorted(result.scores.items())]
    if result.scores:
        lines.append(f"best at step {result.best_step}; look at it: d2n ui, then {result.url}")
    if result.status != "FINISHED":
        lines.append(f"go on with: d2n train … --resume {result.run_id}")
    return lines


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
    _use_threads(experiment.training.num_threads)
    index = _open_index(experiment)
    batches = _batches(experiment, index)  # refuses an empty domain before a run is made
    device = _device(experiment.training.device)
    config = experiment.evaluation
    images = held.held_out(
        index, config.split, experiment.dataset.image_size_px, config.num_images, experiment.seed
    )
    work_root = work_root or held.work_root(store)
    extractor = held.build_extractor(config, store, device)
    evaluator = Evaluator(
        images, extractor, config, seed=experiment.seed, cache=FeatureCache(work_root / "features")
    )
    run = run or store.start_run(
        names.experiment(experiment.dataset.name), experiment.name, tags=dict(tags or {}), params={}
    )
    with run, _signals_between_steps() as stop:
        _log_start(run, experiment, index, evaluator)
        trainer = _Trainer(
            experiment, batches, evaluator, run, work_root / run.run_id, device, stop, heartbeat
        )
        status = trainer.run(resume=resume, on_scores=on_scores, progress=progress)
        if status == "FINISHED":
            trainer.log_generator()
        run.close(status)
    seconds = time.monotonic() - started
    done = trainer.progress
    best_step = done.best[0][1] if done.best else done.step
    scores = done.best_scores if status == "FINISHED" else done.last_scores
    return TrainResult(run.run_id, run.url, status, scores, best_step, seconds, trainer.folder)


class _Trainer:
    """The joint of the loop, the scores and the run; its state is the run's."""

    def __init__(
        self,
        experiment: TranslationExperiment,
        batches: TranslationBatches,
        evaluator: Evaluator,
        run: runs.TrackedRun,
        folder: Path,
        device: str,
        stop: threading.Event,
        heartbeat: Callable[[], None] | None,
    ) -> None:
        self.experiment, self.batches, self.evaluator, self.run_ = experiment, batches, evaluator, run
        self.folder, self.device, self.stop, self.heartbeat = folder, device, stop, heartbeat
        training = experiment.training
        self.steps_per_epoch = training.steps_per_epoch or batches.steps_per_epoch
        self.total_steps = training.n_epochs * self.steps_per_epoch
        self.translator = translators.build(
            experiment.translator,
            total_steps=self.total_steps,
            seed=experiment.seed,
            device=device,
            precision=training.precision,
            channels_last=training.channels_last,
            compile=training.compile,
        )
        self.progress = _Progress()

    def run(self, *, resume: bool, on_scores: OnScores | None, progress: bool) -> str:
        if resume:
            self._restore()
        try:
            for epoch in self._epochs(progress):
                self._log_epoch(epoch)
                self.progress.step, self.progress.epoch = epoch.step, epoch.epoch
                is_last = epoch.epoch == self.experiment.training.n_epochs
                pruned = False
                if is_last or epoch.epoch % self.experiment.evaluation.every_epochs == 0:
                    scored = self._evaluate(epoch.step)
                    pruned = bool(on_scores and on_scores(epoch.step, scored) and not is_last)
                if pruned or is_last or epoch.epoch % self.experiment.training.checkpoint_every_epochs == 0:
                    self._save()
                if pruned:
                    self.run_.set_tags({names.PRUNED: "true"})
                    return "KILLED"
        except StopRequested:
            self._save()
            raise
        return "FINISHED"

    def _epochs(self, progress: bool) -> Iterator[EpochResult]:
        training = self.experiment.training
        num_probes = min(8, len(self.evaluator.images.day))
        probe = (
            torch.from_numpy(self.evaluator.images.day[:num_probes]).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
        return loop.train(
            self.translator,
            self._batches_between,
            n_epochs=training.n_epochs,
            steps_per_epoch=self.steps_per_epoch,
            start_step=self.progress.step,
            log_every_steps=training.log_every_steps,
            probe_day=probe,
            stop_on_collapse=training.stop_on_collapse,
            progress=progress,
        )

    def _batches_between(self, start_step: int, stop_step: int) -> Iterable[dict[str, torch.Tensor]]:
        """The loop's batches; a stop that was asked for takes effect here, between two whole steps."""
        num_workers = self.experiment.training.num_workers
        for step, batch in enumerate(self.batches.iterate(start_step, stop_step, num_workers), start_step):
            if self.stop.is_set():
                self.progress.step = step
                raise StopRequested
            if self.heartbeat is not None:
                self.heartbeat()
            yield batch

    def _evaluate(self, step: int) -> dict[str, float]:
        before = time.monotonic()
        scored = self.evaluator(self.translator.translate)
        values = {score.name: score.value for score in scored.evaluation.scores}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.progress.last_scores = finite
        self._log_scores(scored, finite, step, time.monotonic() - before)
        self._keep_best(scored, finite, step)
        return finite

    def _log_scores(
        self, scored: ScoredImages, values: Mapping[str, float], step: int, seconds: float
    ) -> None:
        metrics = {names.score(name): value for name, value in values.items()}
        for score in scored.evaluation.scores:
            if score.floor is not None and math.isfinite(score.floor):
                metrics[names.score_floor(score.name)] = score.floor
            if score.std is not None and math.isfinite(score.std):
                metrics[names.score_std(score.name)] = score.std
        metrics[names.TIME_SCORE] = seconds
        self.run_.log_metrics(metrics, step=step)
        count = self.experiment.evaluation.num_samples
        if count:
            sheet = sample_sheet(self.evaluator.images.day[:count], scored.fake_night[:count])
            self.run_.log_image(sheet, names.SAMPLES, step)
        for warning in scored.evaluation.warnings:
            logger.warning("%s", warning)

    def _keep_best(self, scored: ScoredImages, values: Mapping[str, float], step: int) -> None:
        main = scored.evaluation.scores[0].name
        if main not in values:
            raise TrainingError(
                f"{main} is {scored.evaluation.scores[0].value} at step {step}; nothing to rank by"
            )
        key = values[main] if promotion.lower_is_better(main) else -values[main]
        ranked = [entry for entry in self.progress.best if entry[1] != step]
        ranked = sorted([*ranked, (key, step)])
        kept = ranked[: self.experiment.training.keep_best]
        if (key, step) in kept:
            self._write_generator(self.folder / "best" / str(step), self.translator.generator)
            if kept[0][1] == step:
                self.progress.best_scores = dict(values)
        for _, dropped in ranked[len(kept) :]:
            shutil.rmtree(self.folder / "best" / str(dropped), ignore_errors=True)
        self.progress.best = kept

    def _write_generator(self, folder: Path, generator: torch.nn.Module) -> None:
        checkpoint.save_generator(folder, generator, self.experiment.translator)

    def _log_epoch(self, epoch: EpochResult) -> None:
        for step, losses in epoch.history:
            self.run_.log_metrics({names.loss(name): value for name, value in losses.items()}, step=step)
        metrics = {f"epoch_loss/{name}": value for name, value in epoch.losses.items()}
        metrics |= {names.alarm(name): value for name, value in epoch.alarms.items() if math.isfinite(value)}
        metrics |= {names.IMAGES_PER_S: epoch.images_per_s, "epoch": float(epoch.epoch)}
        if self.batches.skipped:
            metrics["data/skipped_images"] = float(self.batches.skipped)
        self.run_.log_metrics(metrics, step=epoch.step)

    def _save(self) -> None:
        meta = {
            "experiment": to_dict(self.experiment),
            "step": self.progress.step,
            "epoch": self.progress.epoch,
            "best": self.progress.best,
            "best_scores": self.progress.best_scores,
            "last_scores": self.progress.last_scores,
        }
        checkpoint.save(self.folder / "checkpoint", self.translator.state(), meta)

    def _restore(self) -> None:
        """The last whole checkpoint; a run killed before its first one starts at step 0 under the same run id."""
        if not (self.folder / "checkpoint").exists():
            return
        loaded = checkpoint.load(self.folder / "checkpoint")
        _refuse_other_experiment(loaded.meta["experiment"], to_dict(self.experiment), self.run_.run_id)
        self.translator.load_state(loaded.state)
        self.progress = _Progress(
            step=loaded.meta["step"],
            epoch=loaded.meta["epoch"],
            best=[(float(score), int(step)) for score, step in loaded.meta["best"]],
            best_scores=dict(loaded.meta["best_scores"]),
            last_scores=dict(loaded.meta["last_scores"]),
        )
        logger.info("resumed at step %d of %d", self.progress.step, self.total_steps)

    def log_generator(self) -> None:
        """The best generator as a LoggedModel, with its PRD curve, its sample sheet and its card."""
        step = self.progress.best[0][1]
        folder = self.folder / "best" / str(step)
        generator, _ = checkpoint.load_generator(folder)
        stride = self.translator.stride

        def translate(day: torch.Tensor) -> torch.Tensor:
            return translators.translate.translate_batch(generator, day, stride)

        scored = self.evaluator(translate)
        log_prd(self.run_, scored)
        log_score_table(self.run_, scored)
        count = self.experiment.evaluation.num_samples or 1
        sheet = sample_sheet(self.evaluator.images.day[:count], scored.fake_night[:count])
        self.run_.log_file(_png(sheet, self.folder / "sheet.png"), str(Path(names.SAMPLE_SHEET).parent))
        module = export.exportable(generator, stride, self.experiment.translator.inference_norm)
        side = self.experiment.dataset.image_size_px
        model_id = self.run_.log_model(
            module,
            name="generator",
            step=step,
            example=np.zeros((2, 3, side, side), np.float32),
            extra_files=sorted(folder.iterdir()),
            metadata={"method": self.experiment.translator.method, "stride": stride, "best_step": step},
        )
        values = {names.score(name): value for name, value in self.progress.best_scores.items()}
        self.run_.log_model_metrics(model_id, values, step=step)
        main = scored.evaluation.scores[0].name
        best = {"name": main, "value": self.progress.best_scores[main], "step": step}
        self.run_.set_tags({names.MODEL_ID: model_id, names.BEST_SCORE: json.dumps(best)})


def sample_sheet(*rows: np.ndarray) -> np.ndarray:
    """Rows of (N, S, S, 3) uint8 images, one under the other: day over fake night (over reconstructed day)."""
    gap = 2
    height, width = rows[0].shape[1:3]
    sheet = np.full(
        (len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3), 255, dtype=np.uint8
    )
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = y * (height + gap), x * (width + gap)
            sheet[top : top + height, left : left + width] = image
    return sheet


def log_prd(run: runs.TrackedRun, scored: ScoredImages, prefix: str = "") -> None:
    """The PRD curve as figure (HTML and PNG), table, and as the metric that the UI overlays across runs."""
    curve = scored.evaluation.prd
    if curve is None:
        return
    named = {prefix or "generator": (curve.precision, curve.recall)}
    run.log_figure(plots.prd_curves(named), f"plots/{prefix}prd.html")
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / f"{prefix}prd.png"
        picture.write_bytes(plots.prd_png(named))
        run.log_file(picture, "plots")
    run.log_table(
        {"precision": curve.precision.tolist(), "recall": curve.recall.tolist()}, f"tables/{prefix}prd.json"
    )
    if not prefix:
        run.log_prd_overlay(curve.precision, curve.recall)


def log_score_table(run: runs.TrackedRun, scored: ScoredImages, prefix: str = "") -> None:
    """Every score with its interval and floor as a table."""
    rows = scored.evaluation.scores
    run.log_table(
        {
            "score": [row.name for row in rows],
            "value": [row.value for row in rows],
            "std": [row.std for row in rows],
            "low": [row.interval[0] if row.interval else None for row in rows],
            "high": [row.interval[1] if row.interval else None for row in rows],
            "real_vs_real": [row.floor for row in rows],
        },
        f"tables/{prefix}scores.json",
    )


def _png(array: np.ndarray, path: Path) -> Path:
    from d2n.datasets.images import save_rgb

    path.parent.mkdir(parents=True, exist_ok=True)
    save_rgb(array, path)
    return path


def _open_index(experiment: TranslationExperiment) -> Index:
    data = experiment.dataset
    return held.open_dataset(data.name, data.root, data.index, dict(data.rule))


def _batches(experiment: TranslationExperiment, index: Index) -> TranslationBatches:
    data, training = experiment.dataset, experiment.training
    paired = data.paired if data.paired is not None else experiment.translator.method == "pix2pix"
    return TranslationBatches(
        index,
        split="train",
        paired=paired,
        batch_size=training.batch_size,
        seed=experiment.seed,
        image_size_px=data.image_size_px,
        load=data.load,
        scale_min=data.scale_min,
        scale_max=data.scale_max,
        flip=data.flip,
        on_bad_image=data.on_bad_image,
        cache_mb=data.cache_mb,
    )


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _use_threads(count: int) -> None:
    if count:
        torch.set_num_threads(count)


def _log_start(
    run: runs.TrackedRun, experiment: TranslationExperiment, index: Index, evaluator: Evaluator
) -> None:
    info = index.info()
    run.log_params(flatten(experiment) | {"score_protocol": evaluator.protocol.identity})
    run.log_dataset(info, "training")
    run.set_tags(
        {
            names.KIND: "translation",
            names.METHOD: experiment.translator.method,
            names.PRESET: experiment.preset,
            names.SEED: str(experiment.seed),
            names.DATASET: info.name,
            names.DATASET_DIGEST: info.digest,
            names.PROTOCOL_TEXT: json.dumps(evaluator.protocol.__dict__, sort_keys=True),
            names.PROTOCOL: evaluator.protocol.identity,
            names.EXPERIMENT_NAME: experiment.name,
            names.DEVICE: experiment.training.device,
        }
    )
    run.log_text(json.dumps(to_dict(experiment), indent=2), names.CONFIG_JSON)


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
def _signals_between_steps() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set an event; a second one interrupts at once. Outside the main thread: nothing changes."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        logger.warning(
            "signal %s: stopping after this step (process %d)", signal.Signals(signum).name, os.getpid()
        )
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
