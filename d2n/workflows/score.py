"""``d2n score``: all scores of a generator, or of two folders of images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from d2n import plots
from d2n.config import EvaluationConfig, validated
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
_PROTOCOL_OPTIONS = ("extractor", "weights", "resize", "num_images")


def score_command(
    *,
    run_id: str | None,
    real: Path | None,
    fake: Path | None,
    names: tuple[str, ...],
    split: Literal["val", "test"],
    as_json: bool,
    plot: Path | None,
    tracking_uri: str | None,
    seed: int,
    progress: bool,
    **protocol_options: Any,
) -> list[str]:
    """Score, and say it as a table or as JSON."""
    preflight.scoring(names, run_id, real, fake, protocol_options.get("weights"), tracking_uri)
    if plot is not None:
        require_writable(plot.parent)
    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in protocol_options.items()
        if value is not None
    }
    if run_id is not None:
        scored = _score_run(run_id, names, split, tracking_uri, options)
    else:
        scored = _score_folders(Path(str(real)), Path(str(fake)), names, seed, tracking_uri, options)
    if plot is not None:
        _write_plot(scored, plot)
    if as_json:
        return [json.dumps(as_dict(scored), indent=2)]
    return table(scored) + ([f"wrote {plot}"] if plot else [])


def table(scored: held.ScoredImages) -> list[str]:
    """A line a score: value, interval, what real against real gives."""
    width = max(len(score.name) for score in scored.evaluation.scores)
    lines = [f"{'score':{width}} {'value':>12} {'95 % interval':>26} {'real vs real':>12}"]
    for score in scored.evaluation.scores:
        interval = f"[{score.interval[0]:.5g}, {score.interval[1]:.5g}]" if score.interval else ""
        if not interval and score.std is not None:
            interval = f"± {score.std:.3g}"
        floor = f"{score.floor:.5g}" if score.floor is not None else ""
        lines.append(f"{score.name:{width}} {score.value:12.6g} {interval:>26} {floor:>12}")
    lines.append(f"protocol {scored.protocol.describe()}")
    return lines + [f"warning: {warning}" for warning in scored.evaluation.warnings]


def as_dict(scored: held.ScoredImages) -> dict[str, Any]:
    """The scores as JSON can hold them; what is not finite is null."""
    rows = []
    for score in scored.evaluation.scores:
        row = dataclasses.asdict(score) | {"protocol": scored.protocol.identity}
        row["value"] = score.value if math.isfinite(score.value) else None
        rows.append(row)
    return {
        "scores": rows,
        "protocol": {"identity": scored.protocol.identity, **dataclasses.asdict(scored.protocol)},
        "warnings": list(scored.evaluation.warnings),
    }


def _score_run(
    run_id: str,
    names: tuple[str, ...],
    split: Literal["val", "test"],
    tracking_uri: str | None,
    options: dict[str, Any],
) -> held.ScoredImages:
    store = runs.open_store(tracking_uri)
    record = store.get(run_id)
    evaluator = promote.split_evaluator(store, record, split, scores=names, **options)
    scored = evaluator(generators.load(run_id, store).translate)
    if split == "test" and not options:
        promote.log_test_scores(store, record, scored)
    return scored


def _score_folders(
    real: Path,
    fake: Path,
    names: tuple[str, ...],
    seed: int,
    tracking_uri: str | None,
    options: dict[str, Any],
) -> held.ScoredImages:
    config = validated(EvaluationConfig, {"scores": names, **options}, "options")
    sides = {"--real": _images_in(real), "--fake": _images_in(fake)}
    n = config.num_images or min(map(len, sides.values()))
    for option, found in sides.items():
        if len(found) < max(n, 2):
            raise DataError(
                f"{option} {real if option == '--real' else fake}: holds {len(found)} images, expected {max(n, 2)}"
            )
    chosen = {option: _choose(found, n, seed) for option, found in sides.items()}
    side_px = _common_side(chosen["--real"])
    translator_preflight.check_scores(
        config, Given(n, side_px, False, config.extractor, config.num_clusters), "two folders"
    )
    real_images, fake_images = (_load(paths, side_px) for paths in chosen.values())
    sha256s = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in chosen["--real"])
    digest = hashlib.sha256("\n".join([*sorted(sha256s), f"{side_px} px"]).encode()).hexdigest()
    images = held.HeldOut("all", np.empty((0,)), real_images, sha256s, digest)
    store = runs.open_store(tracking_uri) if config.extractor.startswith(EXTRACTOR) else None
    extractor = held.build_extractor(config, store, side_px)
    return held.Evaluator(images, extractor, config, seed=seed).score(fake_images)


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
        write_bytes(path, plots.prd_png(named))
    elif path.suffix == ".html":
        plots.write_html(plots.prd_curves(named), path)
    else:
        raise ConfigError(f"--plot {path}: expected a name that ends in .html or .png")
