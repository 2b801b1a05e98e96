"""``d2n translate``: photographs to night under their own names; what is done is skipped, and known to be done."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack

import numpy as np
import torch
from tqdm import tqdm

from d2n.config import TranslationExperiment, build_experiment
from d2n.datasets.batches import shrunk
from d2n.datasets.metadata import Metadata, encode_rgb, read_metadata
from d2n.devices import require_device, resolve_device
from d2n.errors import ConfigError, DataError, ImageError
from d2n.files.reading import file_sha256
from d2n.files.writing import require_writable, write_bytes
from d2n.pixels import decode_rgb, read
from d2n.tracking import runs
from d2n.translators import checkpoint
from d2n.translators import import_weights as importing
from d2n.translators.translate import translate_image
from d2n.workflows import evaluation as held
from d2n.workflows import generators
from d2n.workflows.translate.places import Job, Plan, plan, shown
from d2n.workflows.translate.record import Maker, Record

logger = logging.getLogger(__name__)
MOST_REASONS = 5  # printed of the images that were skipped


class Knobs(TypedDict):
    """How to translate; the command line's options of the same names."""

    batch_size: int
    max_pixels: int  # larger images go through in strips
    device: str
    on_bad_image: str  # fail, skip
    tracking_uri: str | None
    progress: bool
    shorter_side_px: NotRequired[int | None]  # larger photographs are made smaller first
    overwrite: NotRequired[bool]


@dataclass(frozen=True)
class _Photograph:
    job: Job
    image: np.ndarray  # (H, W, 3) uint8, upright
    sha256: str
    metadata: Metadata


@dataclass
class _Outcome:
    made: int = 0
    bad: list[str] = field(default_factory=list)
    odd_exif: int = 0


def translate_command(model: str, source: Path, target: Path, **knobs: Unpack[Knobs]) -> list[str]:
    """Translate every image below ``source`` into ``target``, or the one file to the one file.

    The folder remembers which model made its nights (workflows/translate/record.py): the same model goes on where it
    was and makes anew what changed since; another one, or a file that no model made, is refused unless ``overwrite``.
    """
    require_device(knobs["device"])
    planned = plan(source, target)
    require_writable(planned.folder)
    overwrite = knobs.get("overwrite", False)
    record = Record(planned.folder, anew=overwrite)
    store = None if Path(model).exists() else runs.open_store(knobs["tracking_uri"])
    generator = generators.load(model, store, str(resolve_device(knobs["device"])))
    maker = Maker(generator.sha256, knobs.get("shorter_side_px"), generator.origin)
    lines = _written_over(planned, record, maker) if overwrite else []
    left = _left(planned, record, maker)
    outcome = _Outcome()
    with tqdm(total=len(left), unit="image", disable=None if knobs["progress"] else True) as bar:
        for batch in _by_size(_photographs(left, knobs, outcome), knobs["batch_size"]):
            nights = _translated(generator, batch, knobs["max_pixels"])
            _write(batch, nights, record, maker)
            outcome.made += len(batch)
            bar.update(len(batch))
    if record.is_crowded():
        write_bytes(record.path, record.in_short())
    there = len(planned.jobs) - len(left)
    return [*_told(outcome, there, target, maker), *planned.left_out, *lines]


def import_weights(
    file: Path,
    out: Path,
    *,
    method: str | None = None,
    overrides: tuple[str, ...] = (),
    decoder: Path | None = None,
    domain: int | None = None,
) -> list[str]:
    """A generator of the public reference codes as a folder that ``d2n translate`` takes.

    What the weights tell (kind of network, blocks or depth, channels, norm, dropout) is read from them, and the
    method, where none is named. Arguments as of import_weights.import_generator.
    """
    require_writable(out)
    method = method or importing.method_of(file)
    experiment = build_experiment(
        {"preset": "reference", "translator": {"method": method}}, overrides, str(file)
    )
    if not isinstance(experiment, TranslationExperiment):
        raise ConfigError("import-weights takes the knobs of a translation experiment")
    generator, config = importing.import_generator(
        file, experiment.translator, decoder=decoder, domain=domain
    )
    checkpoint.save_generator(out, generator, config)
    return [
        f"wrote {out}, a {config.generator} of {config.method}; use it: d2n translate {out} IN_DIR OUT_DIR"
    ]


def _written_over(planned: Plan, record: Record, maker: Maker) -> list[str]:
    there = [job.name for job in planned.jobs if job.out.exists()]
    staying = record.write_over(there, maker, forget_others=planned.is_folder)
    return [f"{staying} nights of another model stay there: no photograph here is theirs"] if staying else []


def _left(planned: Plan, record: Record, maker: Maker) -> list[Job]:
    """What is still to be made; DataError where a night is there that is another model's, or nobody's."""
    names = None if planned.is_folder else {job.name for job in planned.jobs}
    other, left = record.other_maker(maker, names), []
    for job in planned.jobs:
        source = file_sha256(job.source) if job.out.exists() and job.source.is_file() else ""
        state = record.state(job.name, maker, source)
        if state == "foreign":
            raise DataError(
                f"{shown(job.out)}: is there, and is not what translate wrote; move it away, name another place, or "
                f"write over it by --overwrite"
            )
        if state == "other model" or other is not None:
            raise DataError(
                f"{shown(planned.folder)}: holds nights by {other}, not by {maker}; name another place, or make them "
                "anew by --overwrite"
            )
        if state != "done":
            left.append(job)
    return left


def _photographs(left: list[Job], knobs: Knobs, outcome: _Outcome) -> Iterator[_Photograph]:
    for job in left:
        try:
            photograph = _photograph(job, knobs.get("shorter_side_px"))
        except ImageError as error:
            if knobs["on_bad_image"] == "fail":
                raise
            logger.info("%s", error)
            outcome.bad.append(str(error).encode("utf-8", "backslashreplace").decode())
            continue
        outcome.odd_exif += photograph.metadata.is_odd
        yield photograph


def _photograph(job: Job, shorter_side_px: int | None) -> _Photograph:
    content = read(job.source)
    image = np.asarray(decode_rgb(content, str(job.source), shorter_side_px))
    if shorter_side_px is not None:
        image = shrunk(image, shorter_side_px)
    metadata = read_metadata(content, width=image.shape[1], height=image.shape[0])
    return _Photograph(job, image, hashlib.sha256(content).hexdigest(), metadata)


def _translated(
    generator: generators.Generator, batch: list[_Photograph], max_pixels: int
) -> np.ndarray | list[np.ndarray]:
    """The nights of a batch of one size; beyond the bound they are made one by one, in strips where need be."""
    images = [photograph.image for photograph in batch]
    height, width = images[0].shape[:2]
    try:
        if height * width * len(images) <= max_pixels:
            return held.to_night(generator.translate, np.stack(images), len(images))
        return [translate_image(generator.module, image, generator.stride, max_pixels) for image in images]
    except torch.OutOfMemoryError as error:
        raise ImageError(
            f"{batch[0].job.source}: {width} x {height} pixels do not fit into the device's memory; lower --max-pixels "
            "or --batch-size, make it smaller by --shorter-side-px, or take --device cpu"
        ) from error
    except ImageError as error:
        raise ImageError(f"{batch[0].job.source}: {error}") from error


def _write(
    batch: list[_Photograph], nights: np.ndarray | list[np.ndarray], record: Record, maker: Maker
) -> None:
    for photograph, night in zip(batch, nights, strict=True):
        content = encode_rgb(night, photograph.job.out, photograph.metadata)
        record.add(photograph.job.name, maker, photograph.sha256, hashlib.sha256(content).hexdigest())
        write_bytes(photograph.job.out, content)


def _told(outcome: _Outcome, there: int, target: Path, maker: Maker) -> list[str]:
    images = "image" if outcome.made == 1 else "images"
    lines = [f"{outcome.made} {images} by night in {shown(target)}, made by {maker.origin}"]
    if there:
        lines.append(f"{there} were there already")
    if outcome.bad:
        lines.append(f"{len(outcome.bad)} could not be read and were skipped")
        lines += [f"  {reason}" for reason in outcome.bad[:MOST_REASONS]]
    if len(outcome.bad) > MOST_REASONS:
        lines.append(f"  and {len(outcome.bad) - MOST_REASONS} more (d2n --verbose names them)")
    if outcome.odd_exif:
        lines.append(f"{outcome.odd_exif} have EXIF data that is damaged and was left out")
    return lines


def _by_size(photographs: Iterator[_Photograph], batch_size: int) -> Iterator[list[_Photograph]]:
    """Runs of images of one size, in order, at most batch_size long; those before a bad image come out first."""
    batch: list[_Photograph] = []
    try:
        for photograph in photographs:
            batch.append(photograph)
            if len(batch) > 1 and batch[-1].image.shape != batch[0].image.shape:
                yield batch[:-1]
                batch = batch[-1:]
            if len(batch) == batch_size:
                yield batch
                batch = []
    except ImageError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
