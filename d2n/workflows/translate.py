"""``d2n translate``: a folder of day photographs to night, names kept, what is done skipped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from d2n.config import TranslationExperiment, build_experiment
from d2n.datasets.images import IMAGE_SUFFIXES, load_rgb, save_rgb
from d2n.devices import require_device
from d2n.errors import ConfigError, DataError, ImageError
from d2n.files.writing import require_writable
from d2n.tracking import runs
from d2n.translators import checkpoint
from d2n.translators import import_weights as importing
from d2n.translators.translate import translate_image
from d2n.workflows import evaluation as held
from d2n.workflows import generators

logger = logging.getLogger(__name__)


def translate_command(
    model: str,
    source: Path,
    target: Path,
    *,
    batch_size: int,
    max_pixels: int,
    device: str,
    on_bad_image: str,
    tracking_uri: str | None,
    progress: bool,
) -> list[str]:
    """Translate every image below ``source`` (or the one file) into ``target``."""
    require_device(device)
    photographs = _photographs(source)
    store = None if Path(model).exists() else runs.open_store(tracking_uri)
    generator = generators.load(model, store, held.device_for(device))
    todo = [(path, _target(path, source, target)) for path in photographs]
    left = [(path, out) for path, out in todo if not out.exists()]
    done = 0
    with tqdm(total=len(left), unit="image", disable=None if progress else True) as bar:
        for batch in _by_size(left, batch_size, on_bad_image):
            for (out, _), night in zip(batch, _translated(generator, batch, max_pixels), strict=True):
                out.parent.mkdir(parents=True, exist_ok=True)
                save_rgb(night, out)
            done += len(batch)
            bar.update(len(batch))
    skipped = len(left) - done
    lines = [f"{done} images by night in {target}, made by {generator.origin}"]
    if len(todo) > len(left):
        lines.append(f"{len(todo) - len(left)} were there already")
    if skipped:
        lines.append(f"{skipped} could not be read and were skipped")
    return lines


def import_weights(file: Path, out: Path, *, method: str, overrides: tuple[str, ...]) -> list[str]:
    """A generator of the public reference code as a folder that ``d2n translate`` takes.

    What the weights tell (kind of network, blocks or depth, channels, norm, dropout) is read from them.
    """
    require_writable(out)
    experiment = build_experiment(
        {"preset": "reference", "translator": {"method": method}}, overrides, str(file)
    )
    if not isinstance(experiment, TranslationExperiment):
        raise ConfigError("import-weights takes the knobs of a translation experiment")
    generator, config = importing.import_generator(file, experiment.translator)
    checkpoint.save_generator(out, generator, config)
    return [f"wrote {out}; use it: d2n translate {out} IN_DIR OUT_DIR"]


def _photographs(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    found = sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{source}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _target(path: Path, source: Path, target: Path) -> Path:
    return target / (path.name if source.is_file() else path.relative_to(source))


def _translated(
    generator: generators.Generator, batch: list[tuple[Path, np.ndarray]], max_pixels: int
) -> np.ndarray | list[np.ndarray]:
    """The night images of a batch of one size; those beyond the bound go one by one, in tiles."""
    first = batch[0][1]
    if first.shape[0] * first.shape[1] * len(batch) <= max_pixels:
        return held.to_night(generator.translate, np.stack([image for _, image in batch]), len(batch))
    return [translate_image(generator.module, image, generator.stride, max_pixels) for _, image in batch]


def _by_size(
    todo: list[tuple[Path, Path]], batch_size: int, on_bad_image: str
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """Runs of images of one size, in order, at most batch_size long."""
    batch: list[tuple[Path, np.ndarray]] = []
    shape = None
    for path, out in todo:
        try:
            image = load_rgb(path)
        except ImageError as error:
            if on_bad_image == "fail":
                raise
            logger.warning("%s", error)
            continue
        if batch and (image.shape != shape or len(batch) == batch_size):
            yield batch
            batch = []
        shape = image.shape
        batch.append((out, image))
    if batch:
        yield batch
