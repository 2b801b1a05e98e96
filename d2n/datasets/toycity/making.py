"""The toy city: a rendered day and night world of streets, the embedded default data set.

Everything comes from one seed. Every scene, view and photo has random streams of its own, so that images do
not depend on the number of processes nor on the order in which they are rendered.
What the splits hold: plan. How a street looks: scene, facade, view and light.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import multiprocessing
import shutil
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from d2n.datasets.index import ImageRow, Index, index_path, load_index, save_index
from d2n.datasets.toycity.light import photograph_day, photograph_night
from d2n.datasets.toycity.plan import CONDITIONS, SPLITS, Job, Shot, benchmark, day_side, oracle_job, plan
from d2n.datasets.toycity.scene import paint_scene
from d2n.datasets.toycity.view import IMAGE_SIZE_PX, View, frame
from d2n.datasets.toycity.weather import PHOTOGRAPHS
from d2n.errors import DataError
from d2n.files.json import read_json_object
from d2n.files.refusals import why
from d2n.files.writing import write_bytes

logger = logging.getLogger(__name__)

RENDERER = 1  # counts up whenever the same seed gives other images
_FOLDERS = (*SPLITS, "oracle")
_NOTE = "toycity-unfinished.json"
_REPLACE = "give another folder with --root, or replace this one with --rebuild"
_PNG_END = b"IEND\xaeB`\x82"
_POOL_FROM = 200  # photos; fewer are rendered before a pool of processes has started
_SCENE, _VIEW, _DAY, _NIGHT = range(4)  # random streams; those of the conditions follow


class Further(TypedDict, total=False):
    """Further keywords of make."""

    oracle: bool  # render the true nights of the split retrieval too
    rebuild: bool  # replace another city in the same folder
    conditions: Iterable[str]  # of dusk and rain


def make(
    root: str | Path,
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 2,
    progress: bool = False,
    **further: Unpack[Further],
) -> Index:
    """Render the toy city into ``root``: PNG photos of 64 x 64 px, the index, benchmark_{val,test}.json.

    ``scale`` shrinks the number of scenes in every split, for quick runs. ``workers`` processes share the
    scenes (a script that asks for more than one guards its entry with ``if __name__ == "__main__"``). A
    finished set of the same seed and scale is returned at once; an interrupted one is gone on with. Raises
    DataError where ``root`` holds another toy city (``rebuild`` replaces it) or files of others, and where it
    cannot be written. ``oracle``: see make_oracle. ``conditions`` of dusk and rain are rendered besides; photos by
    day and by night are the same with them as without, and a city that has them serves who asks for none.
    """
    root = Path(root)
    rule = _or_larger(root, _rule(seed, scale, workers, further.get("conditions", ())))
    jobs = plan(scale, rule.get("conditions", ()))
    index = _finished(root, rule, jobs, further.get("rebuild", False))
    if index is None:
        _begin(root, rule)
        rows = _render(root, seed, jobs, workers, progress)
        index = _close(root, rule, jobs, rows)
        logger.info("toy city of %d photos in %s", len(rows), root)
    if further.get("oracle"):
        make_oracle(root, workers, progress)
    return index


def make_oracle(root: str | Path, workers: int = 2, progress: bool = False) -> dict[str, Path]:
    """True night photos of the split ``retrieval``: a day photo's path in the index to its night photo's path.

    The keys are relative, the values absolute. They bound from above what a translator can do as
    augmentation, and are no part of the index. Rendered into ``root/oracle`` on the first call. Raises
    DataError where ``root`` holds no finished toy city.
    """
    root = Path(root)
    path = index_path(root, "toycity")
    if not path.is_file():
        raise DataError(f"{root}: no finished toy city here; make it with `d2n data make toycity`")
    rule = load_index(path).rule
    _check_same({**rule, "renderer": RENDERER}, rule, root)
    by_day = [job for job in plan(rule["scale"]) if job.split == "retrieval"]
    by_night = [oracle_job(job) for job in by_day]
    _render(root, rule["seed"], by_night, workers, progress)
    shots = [
        (d, n) for i, j in zip(by_day, by_night, strict=True) for d, n in zip(i.shots, j.shots, strict=True)
    ]
    return {day.path: (root / night.path).absolute() for day, night in shots}


def photograph(seed: int, job: Job) -> Iterator[tuple[Shot, NDArray[np.uint8]]]:
    """The photos of a scene in the job's order, (64, 64, 3) uint8 each; the scene is painted once."""
    place = (seed, _FOLDERS.index(job.split), job.number)
    scene = paint_scene(_stream(*place, _SCENE))
    for shot in job.shots:
        view = frame(scene, _stream(*place, _VIEW, shot.view))
        yield shot, _taken(view, shot, place)


def _taken(view: View, shot: Shot, place: tuple[int, ...]) -> NDArray[np.uint8]:
    """The photo of a view in the shot's condition, from the random stream of that condition."""
    if shot.domain == "day":
        return photograph_day(view, _stream(*place, _DAY, shot.view))
    if shot.domain == "night":
        return photograph_night(view, _stream(*place, _NIGHT, shot.view))
    stream = _NIGHT + 1 + CONDITIONS.index(shot.domain)
    return PHOTOGRAPHS[shot.domain](view, _stream(*place, stream, shot.view))


def _stream(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def _rule(seed: int, scale: float, workers: int, conditions: Iterable[str]) -> dict[str, Any]:
    if seed < 0:
        raise DataError(f"toycity: seed {seed}, expected 0 or more")
    if not 0 < scale <= 20:
        raise DataError(f"toycity: scale {scale}, expected more than 0 and at most 20 (1 is 700 scenes)")
    if workers < 1:
        raise DataError(f"toycity: {workers} workers, expected 1 or more")
    asked = set(conditions)
    for condition in sorted(asked - set(CONDITIONS)):
        raise DataError(f"toycity: condition {condition!r:.60}, expected some of {', '.join(CONDITIONS)}")
    further = {"conditions": [name for name in CONDITIONS if name in asked]} if asked else {}
    return {"renderer": RENDERER, "scale": float(scale), "seed": int(seed), **further}


def _finished(root: Path, rule: dict[str, Any], jobs: Sequence[Job], rebuild: bool) -> Index | None:
    """The finished set in ``root``, None where one is to be made there; DataError where none may be."""
    path = index_path(root, "toycity")
    if not path.is_file():
        if root.is_file() or (not (root / _NOTE).is_file() and root.is_dir() and _strangers(root)):
            raise DataError(f"{root}: holds other files and no toy city; give an empty or a new folder")
        return None
    try:
        index = load_index(path)
    except DataError as error:
        if rebuild:
            return None
        raise DataError(f"{error}; {_REPLACE}") from error
    if rebuild and dict(index.rule) != rule:
        return None
    _check_same(rule, index.rule, root)
    return index if all((root / name).is_file() for name in _files(jobs)) else None


def _or_larger(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The rule of the finished city in ``root`` if it is the one asked for with more conditions; else what is asked."""
    found = _indexed_rule(index_path(root, "toycity"))
    known = found.get("conditions") if isinstance(found, dict) else None
    if not isinstance(known, list) or any(name not in CONDITIONS for name in known):
        return asked
    is_larger = set(asked.get("conditions", ())) <= set(known)
    return found if is_larger and _base(found) == _base(asked) else asked


def _base(rule: Any) -> Any:
    """What photos by day and by night depend on."""
    if not isinstance(rule, Mapping):
        return rule
    return {key: value for key, value in rule.items() if key != "conditions"}


def _files(jobs: Sequence[Job]) -> list[str]:
    return ["benchmark_val.json", "benchmark_test.json", *(shot.path for job in jobs for shot in job.shots)]


def _strangers(root: Path) -> bool:
    return any(not entry.name.startswith((".", "README")) for entry in root.iterdir())


def _check_same(rule: Any, found: Any, root: Path) -> None:
    if dict(rule) != dict(found):
        raise DataError(
            f"{root}: holds the toy city of {_words(found)}, asked for {_words(rule)}; {_REPLACE}"
        )


def _words(rule: Any) -> str:
    further = f", conditions {' and '.join(rule['conditions'])}" if rule.get("conditions") else ""
    return ", ".join(f"{key} {rule.get(key)}" for key in ("seed", "scale", "renderer")) + further


def _begin(root: Path, rule: dict[str, Any]) -> None:
    """Note that the set is unfinished, and under which rule; photos of any other rule are removed."""
    index, note = index_path(root, "toycity"), root / _NOTE
    known = _noted_rule(note) if note.is_file() else _indexed_rule(index)
    try:
        write_bytes(note, json.dumps({"rule": rule, "photos_of": known}).encode())
        index.unlink(missing_ok=True)
        for folder in _FOLDERS if _base(known) != _base(rule) else ():
            if (root / folder).is_dir():
                shutil.rmtree(root / folder)
        write_bytes(note, json.dumps({"rule": rule, "photos_of": rule}).encode())
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({why(error, root)}); give another folder") from error


def _noted_rule(note: Path) -> Any:
    """The rule of the photos that an interrupted call left; None where the note cannot be read."""
    try:
        return read_json_object(note)["photos_of"]
    except (DataError, KeyError):
        return None


def _indexed_rule(index: Path) -> Any:
    try:
        return dict(load_index(index).rule)
    except DataError:
        return None


def _render(root: Path, seed: int, jobs: Sequence[Job], workers: int, progress: bool) -> list[ImageRow]:
    """Take all photos; the rows in the jobs' order."""
    photos = sum(len(job.shots) for job in jobs)
    work = partial(_take, str(root), seed)
    rows: list[ImageRow] = []
    with tqdm(total=photos, desc="toy city", unit="photo", disable=None if progress else True) as bar:
        try:
            for taken in _map(work, jobs, workers if photos >= _POOL_FROM else 1):
                rows.extend(taken)
                bar.update(len(taken))
        except OSError as error:
            raise DataError(
                f"{root}: cannot be written ({why(error, root)}); make room, or give another folder"
            ) from error
    return rows


def _map(work: Any, jobs: Sequence[Job], workers: int) -> Iterator[list[ImageRow]]:
    if workers == 1:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("forkserver")  # a fork of a process with threads may hang
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(workers, context, _ignore_interrupts) as pool:
        try:
            yield from pool.map(work, jobs, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _take(root: str, seed: int, job: Job) -> list[ImageRow]:
    """Write the photos of a scene, unless an earlier call has; their rows."""
    contents = [_whole(Path(root, shot.path)) for shot in job.shots]
    if not all(contents):
        contents = [_png(Image.fromarray(photo)) for _, photo in photograph(seed, job)]
        for shot, content in zip(job.shots, contents, strict=True):
            write_bytes(Path(root, shot.path), content)
    scene = f"{job.split}-{job.number:04d}"
    size = (IMAGE_SIZE_PX, IMAGE_SIZE_PX)
    return [
        ImageRow(shot.path, shot.domain, scene, job.split, *size, hashlib.sha256(content).hexdigest())
        if shot.domain in ("day", "night")
        else ImageRow(
            shot.path, "", scene, job.split, *size, hashlib.sha256(content).hexdigest(), shot.domain
        )
        for shot, content in zip(job.shots, contents, strict=True)
    ]


def _whole(path: Path) -> bytes:
    """The bytes of a PNG written to its end; b"" where there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content if content.endswith(_PNG_END) else b""


def _png(photo: Image.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _close(root: Path, rule: dict[str, Any], jobs: Sequence[Job], rows: list[ImageRow]) -> Index:
    """Write the benchmarks, then the index, which makes the set a finished one."""
    for split in ("val", "test"):
        text = json.dumps(benchmark([job for job in jobs if job.split == split]), indent=1)
        write_bytes(root / f"benchmark_{split}.json", text.encode())
    number = {row.path: i for i, row in enumerate(rows)}
    sides = [(day_side(shot), shot.path) for job in jobs for shot in job.shots]
    pairs = [(number[day], number[night]) for day, night in sides if day is not None]
    index = Index("toycity", root, rule, tuple(rows), tuple(pairs))
    save_index(index, root)
    (root / _NOTE).unlink()
    return index
