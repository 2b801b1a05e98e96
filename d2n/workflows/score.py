"""``d2n score``: all scores of a generator, or of two folders of images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from d2n import plots
from d2n.config import DatasetConfig, EvaluationConfig, validated
from d2n.datasets.images import image_size, load_rgb
from d2n.datasets.listing import left_out_facts, left_out_lines, walk_images
from d2n.errors import ConfigError, DataError
from d2n.files.writing import require_writable, write_bytes
from d2n.scores.needs import Given
from d2n.tracking import runs
from d2n.tracking.names import EXTRACTOR
from d2n.workflows import evaluation as held
from d2n.workflows import generators, preflight, promote
from d2n.workflows.preflight import translator as translator_preflight

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """What `d2n score` is asked: a run, or two folders; None of an extractor's options is the run's own, or usual."""

    names: tuple[str, ...]  # of the scores
    run_id: str | None = None
    real: Path | None = None
    fake: Path | None = None
    split: Literal["val", "test"] = "test"  # of a run's data set
    on: str | None = None  # another data set than the run's own
    root: Path | None = None  # where that one lies
    seed: int = 0  # of the images drawn where a folder has more
    extractor: str | None = None
    weights: Path | None = None
    resize: str | None = None
    num_images: int | None = None
    as_json: bool = False
    plot: Path | None = None
    tracking_uri: str | None = None

    @property
    def evaluation(self) -> dict[str, Any]:
        """Those knobs of an EvaluationConfig that were asked for."""
        weights = str(self.weights) if self.weights is not None else None
        asked = {"extractor": self.extractor, "weights": weights, "resize": self.resize}
        return {
            key: value for key, value in {**asked, "num_images": self.num_images}.items() if value is not None
        }


def score_command(request: ScoreRequest) -> list[str]:
    """Score, and say it as a table or as JSON."""
    asked, plot = request, request.plot
    preflight.scoring(asked.names, asked.run_id, asked.real, asked.fake, asked.weights, asked.tracking_uri)
    preflight.scoring_elsewhere(asked.run_id, asked.on, asked.root)
    if plot is not None:
        require_writable(plot.parent)
    if request.run_id is not None:
        scored = _score_run(request, request.run_id)
    else:
        scored = _score_folders(request, Path(str(request.real)), Path(str(request.fake)))
    if plot is not None:
        _write_plot(scored, plot)
    if request.as_json:
        return [json.dumps(as_dict(scored), indent=2)]
    return table(scored) + ([f"wrote {plot}"] if plot else [])


def table(scored: held.ScoredImages) -> list[str]:
    """A line a score: value, interval, what real against real gives."""
    width = max(len(score.name) for score in scored.evaluation.scores)
    lines = [f"{'score':{width}} {'value':>12} {'95 % interval':>26} {'real vs real':>12}"]
    for score in scored.evaluation.scores:
        interval = f"[{score.interval[0]:.4g}, {score.interval[1]:.4g}]" if score.interval else ""
        if not interval and score.std is not None:
            interval = f"± {score.std:.3g}"
        floor = f"{score.floor:.4g}" if score.floor is not None else ""
        lines.append(f"{score.name:{width}} {score.value:12.4g} {interval:>26} {floor:>12}")
    lines.append(f"protocol {scored.protocol.describe()}")
    return lines + [f"warning: {warning}" for warning in scored.evaluation.warnings]


def as_dict(scored: held.ScoredImages) -> dict[str, Any]:
    """The scores as JSON can hold them; what is not finite is null."""
    rows = []
    for score in scored.evaluation.scores:
        protocol = score.protocol or scored.protocol
        row = dataclasses.asdict(score) | {"protocol": protocol.identity}
        row["value"] = score.value if math.isfinite(score.value) else None
        rows.append(row)
    return {
        "scores": rows,
        "protocol": {"identity": scored.protocol.identity, **scored.protocol.known},
        "warnings": list(scored.evaluation.warnings),
    }


def _score_run(request: ScoreRequest, run_id: str) -> held.ScoredImages:
    store, split, options = runs.open_store(request.tracking_uri), request.split, request.evaluation
    record = store.get(run_id)
    elsewhere = None
    if request.on is not None:
        root = str(request.root) if request.root is not None else None
        elsewhere = validated(DatasetConfig, {"name": request.on, "root": root}, "--on")
    evaluator = promote.split_evaluator(store, record, split, elsewhere, scores=request.names, **options)
    scored = evaluator(generators.load(run_id, store).translate)
    if request.on is not None and split == "test" and not options:
        promote.log_scores_elsewhere(store, record, scored, request.on)
    elif split == "test" and not options:
        promote.log_test_scores(store, record, scored)
    return scored


def _score_folders(request: ScoreRequest, real: Path, fake: Path) -> held.ScoredImages:
    config = validated(EvaluationConfig, {"scores": request.names, **request.evaluation}, "options")
    sides = {"--real": _images_in(real), "--fake": _images_in(fake)}
    n = config.num_images or min(map(len, sides.values()))
    for option, found in sides.items():
        if len(found) < max(n, 2):
            raise DataError(
                f"{option} {real if option == '--real' else fake}: holds {len(found)} images, expected {max(n, 2)}"
            )
    chosen = {option: _choose(found, n, request.seed) for option, found in sides.items()}
    side_px = _common_side(chosen["--real"])
    translator_preflight.check_scores(
        config, Given(n, side_px, False, config.extractor, config.num_clusters), "two folders"
    )
    real_images, fake_images = (_load(paths, side_px) for paths in chosen.values())
    sha256s = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in chosen["--real"])
    digest = hashlib.sha256("\n".join([*sorted(sha256s), f"{side_px} px"]).encode()).hexdigest()
    images = held.HeldOut("all", np.empty((0,)), real_images, sha256s, digest)
    store = runs.open_store(request.tracking_uri) if config.extractor.startswith(EXTRACTOR) else None
    extractor = held.build_extractor(config, store, side_px)
    return held.Evaluator(images, extractor, config, seed=request.seed).score(fake_images)


def _images_in(folder: Path) -> list[Path]:
    """The images below a folder; what else lies there is said, hidden files apart."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    passed_over = Counter[str]()
    found = [folder / path for path in walk_images(folder, "", left_out=passed_over)]
    for line in left_out_lines(left_out_facts(passed_over)):
        logger.warning("%s: %s", folder, line)
    return found


def _choose(paths: list[Path], n: int, seed: int) -> list[Path]:
    if len(paths) == n:
        return paths
    kept = np.random.default_rng(seed).choice(len(paths), n, replace=False)
    return [paths[i] for i in sorted(kept)]


def _common_side(paths: list[Path]) -> int:
    """The median shorter side: images of many sizes are compared as squares of one size."""
    return int(np.median([min(image_size(path)) for path in paths]))


def _load(paths: list[Path], side_px: int) -> np.ndarray:
    def square(path: Path) -> np.ndarray:
        image = Image.fromarray(load_rgb(path))
        return np.asarray(image.resize((side_px, side_px), Image.Resampling.BICUBIC))

    return np.stack([square(path) for path in paths])


def _write_plot(scored: held.ScoredImages, path: Path) -> None:
    curve = scored.evaluation.prd
    if curve is None:
        raise ConfigError("--plot draws the PRD curve; add prd to --scores")
    named = {"fake": (curve.precision.tolist(), curve.recall.tolist())}
    if path.suffix == ".png":
        write_bytes(path, plots.prd_picture(named, "png"))
    elif path.suffix == ".svg":
        write_bytes(path, plots.prd_picture(named, "svg"))
    elif path.suffix == ".html":
        plots.write_html(plots.prd_curves(named), path)
    else:
        raise ConfigError(f"--plot {path}: expected a name that ends in .html, .png or .svg")
