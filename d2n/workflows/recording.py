"""What a translation run leaves behind: losses, scores, PRD curves, sample grids, the best generator."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from d2n import plots
from d2n.core import DatasetInfo, StepResult
from d2n.datasets.images import save_rgb
from d2n.files.scratch import scratch
from d2n.tracking import names, runs
from d2n.tracking.records import BestScore, TranslationRecord, scores
from d2n.translators import checkpoint, export
from d2n.translators.alarms import MEANINGS
from d2n.translators.translate import translate_batch
from d2n.workflows.evaluation import Evaluator, HeldOut, ScoredImages
from d2n.workflows.saved import CHANGEABLE
from d2n.workflows.translation import WAY_BACK, Evaluation, Translation, best_step

logger = logging.getLogger(__name__)


class Recorder:
    """Writes a translator's training to its run; one process of a run has it."""

    def __init__(self, work: Translation, run: runs.TrackedRun, evaluator: Evaluator, folder: Path) -> None:
        self.work, self.run, self.evaluator, self.folder = work, run, evaluator, folder
        self.experiment = work.experiment

    def start(self, info: DatasetInfo) -> None:
        """Knobs, data set, protocol, and the day images of the sample grids as its step 0."""
        protocol = self.evaluator.protocol
        TranslationRecord.begun(self.experiment, protocol).write(self.run, changeable=CHANGEABLE)
        self.run.log_dataset(info, "training")
        day = self.evaluator.images.day[: self.work.num_samples]
        self.run.log_image(sample_sheet(day), names.SAMPLES, 0)  # the UI's slider starts at 0, image or not

    def log(self, found: StepResult) -> None:
        """What a step brought: losses of an interval, means and alarms of an epoch, scores of an evaluation."""
        if found.losses:
            TranslationRecord.losses(found.losses).write(self.run, found.step)
        if (epoch := found.epoch) is not None:
            raised = [name for name in MEANINGS if epoch.alarms.get(name)]
            TranslationRecord.epoch(epoch, raised, self.work.batches.skipped).write(self.run, epoch.step)
        if isinstance(found, Evaluation) and found.scored is not None:
            evaluation = found.scored.evaluation
            TranslationRecord.evaluated(evaluation.scores, found.seconds).write(self.run, found.step)
            self.run.log_image(sample_sheet(*found.samples), names.SAMPLES, found.step)
            for warning in evaluation.warnings:
                logger.info("%s", warning)

    def log_generator(self, stride: int) -> None:
        """The best generator as a LoggedModel, with its PRD curve, its sample sheet and its card."""
        folder, step = checkpoint.ranked_generators(self.folder / "best")[0][1], best_step(self.folder) or 0
        generator, _ = checkpoint.load_generator(folder)
        scored = self.evaluator(lambda day: translate_batch(generator, day, stride))
        log_prd(self.run, scored)
        log_score_table(self.run, scored)
        self._log_sheet(scored)
        side = -(-self.experiment.dataset.image_size_px // stride) * stride
        model_id = self.run.log_model(
            export.photographs(generator, stride, self.experiment.translator.inference_norm),
            name=names.GENERATOR,
            step=step,
            example=np.zeros((2, 3, side, side), np.float32),
            extra_files=sorted(folder.iterdir()),
            metadata={
                "method": self.experiment.translator.method,
                "stride": stride,
                "best_step": step,
                "input_range": names.UNIT_RANGE,
            },
        )
        best = self._with_later_scores(scored, step)
        self.run.log_model_metrics(
            model_id, {names.score(key): value for key, value in best.items()}, step=step
        )
        main = scored.evaluation.scores[0].name
        has_way_back = self._log_way_back(folder.name)
        TranslationRecord.ended(BestScore(main, best[main]), step, model_id, has_way_back).write(self.run)

    def _log_way_back(self, step_folder: str) -> bool:
        """The files of the generator that undoes the best one; False where its method has none."""
        folder = self.folder / WAY_BACK / step_folder
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        for file in files:
            self.run.log_file(file, names.WAY_BACK_FOLDER)
        return bool(files)

    def _with_later_scores(self, scored: ScoredImages, step: int) -> dict[str, float]:
        """The best generator's scores, with those that joined the list after it was evaluated."""
        best = self.work.found.best_scores[str(step)]
        later = [one for one in scored.evaluation.scores if one.name not in best]
        self.run.log_metrics(scores.metrics(later), step=step)
        best |= {one.name: one.value for one in later if math.isfinite(one.value)}
        return best

    def _log_sheet(self, scored: ScoredImages) -> None:
        count = self.work.num_samples
        sheet = sample_sheet(self.evaluator.images.day[:count], scored.fake_night[:count])
        target = Path(names.SAMPLE_SHEET)
        save_rgb(sheet, self.folder / target.name)
        self.run.log_file(self.folder / target.name, str(target.parent))
        nights = real_nights(self.evaluator.images, count)
        if nights is not None:
            target = Path(names.REAL_NIGHT_SHEET)
            save_rgb(sample_sheet(nights), self.folder / target.name)
            self.run.log_file(self.folder / target.name, str(target.parent))


def real_nights(images: HeldOut, count: int) -> np.ndarray | None:
    """The photographs by night of the places of the first day images, grey where there is none; None without pairs."""
    if images.pairs is None:
        return None
    places = {day: i for i, (day, _) in enumerate(images.pair_sha256s)}
    found = [places.get(sha256) for sha256 in images.day_sha256s[:count]]
    if all(i is None for i in found):
        return None
    grey = np.full_like(images.day[0], 128)
    return np.stack([grey if i is None else images.pairs[1][i] for i in found])


def sample_sheet(*rows: np.ndarray) -> np.ndarray:
    """Rows of (N, S, S, 3) uint8 images, one under the other, as one (H, W, 3) picture.

    Long rows are broken together until the picture is about square: the UI shrinks it to 256 pixels a side.
    """
    gap = 2
    height, width = rows[0].shape[1:3]
    bands = max(1, round(math.sqrt(len(rows[0]) / len(rows))))
    columns = -(-len(rows[0]) // bands)
    bands = -(-len(rows[0]) // columns)
    shape = (bands * len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            band, column = divmod(x, columns)
            top, left = (band * len(rows) + y) * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = image
    return sheet


def log_prd(run: runs.TrackedRun, scored: ScoredImages, prefix: str = "") -> None:
    """The PRD curve as figure (plotly's JSON and SVG), table, and as the metric that the UI overlays across runs."""
    curve = scored.evaluation.prd
    if curve is None:
        return
    points: dict[str, list[float]] = {"precision": curve.precision.tolist(), "recall": curve.recall.tolist()}
    named = {prefix.rstrip("_") or "validation": (points["precision"], points["recall"])}
    figure, picture, table = map(Path, scores.prd_places(prefix.rstrip("_") or "val"))
    run.log_figure(plots.prd_curves(named), figure.as_posix())
    with scratch("plot") as folder:
        (folder / picture.name).write_bytes(plots.prd_picture(named, "svg"))
        run.log_file(folder / picture.name, picture.parent.as_posix())
    run.log_table(points, table.as_posix())
    if not prefix:
        run.log_prd_overlay(points["precision"], points["recall"])


def log_score_table(run: runs.TrackedRun, scored: ScoredImages, prefix: str = "") -> None:
    """Every score with its interval and floor as a table."""
    scores.table(scored.evaluation.scores, prefix.rstrip("_") or "val").write(run)
