"""The toy city: a rendered day and night world of streets, the embedded default data set.

Everything comes from one seed. Every scene, view and photo has random streams of its own, so that images do
not depend on the number of processes nor on the order in which they are rendered.

Splits share no scene: ``retrieval`` (day views by scene), ``train`` (day and night views of different
standpoints, and aligned pairs), ``val`` and ``test`` (database, distractors, day and night queries).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from d2n.datasets.images import write_atomically
from d2n.datasets.index import ImageRow, Index, index_path, load_index, save_index
from d2n.datasets.toycity_light import photograph_day, photograph_night
from d2n.datasets.toycity_scene import paint_scene
from d2n.datasets.toycity_view import IMAGE_SIZE_PX, frame
from d2n.errors import DataError

logger = logging.getLogger(__name__)

RENDERER = 1  # counts up whenever the same seed gives other images
SPLITS = ("retrieval", "train", "val", "test")
_SCENES = {"retrieval": 300, "train": 250, "val": 50, "test": 100}  # at scale 1
_DISTRACTORS = 4  # scenes with one view each, for every scene of val and test
_FOLDERS = (*SPLITS, "oracle")
_NOTE = "toycity-unfinished.json"
_PNG_END = b"IEND\xaeB`\x82"
_POOL_FROM = 200  # photos; fewer are rendered before a pool of processes has started
_SCENE, _VIEW, _DAY, _NIGHT = range(4)  # random streams


@dataclass(frozen=True)
class Shot:
    """One photo to take."""

    view: int
    domain: str  # day or night
    path: str  # relative to the root
    role: str  # training, pair, database, distractor, query, oracle


@dataclass(frozen=True)
class Job:
    """The photos of one scene."""

    split: str
    number: int
    shots: tuple[Shot, ...]


def make(
    root: str | Path,
    seed: int = 0,
    scale: float = 1.0,
    workers: int = 2,
    progress: bool = False,
    *,
    oracle: bool = False,
    rebuild: bool = False,
) -> Index:
    """Render the toy city into ``root``: PNG photos of 64 x 64 px, the index, benchmark_val.json, benchmark_test.json.

    ``scale`` shrinks the number of scenes in every split, for quick runs. ``workers`` processes share the scenes
    (a script that asks for more than one guards its entry with ``if __name__ == "__main__"``). A finished set of
    the same seed and scale is returned at once; an interrupted one is gone on with. Raises DataError where ``root``
    holds another toy city (``rebuild`` replaces it) or files of others. ``oracle``: see make_oracle.
    """
    root = Path(root)
    rule = _rule(seed, scale, workers)
    jobs = plan(scale)
    index = _finished(root, rule, jobs, rebuild)
    if index is None:
        _begin(root, rule)
        rows = _render(root, seed, jobs, workers, progress)
        index = _close(root, rule, jobs, rows)
        logger.info("toy city of %d photos in %s", len(rows), root)
    if oracle:
        make_oracle(root, workers, progress)
    return index


def make_oracle(root: str | Path, workers: int = 2, progress: bool = False) -> dict[str, Path]:
    """True night photos of the split ``retrieval``: day photo's path in the index to the night photo's absolute path.

    They bound from above what a translator can do as augmentation, and are no part of the index. Rendered into
    ``root/oracle`` on the first call. Raises DataError where ``root`` holds no finished toy city.
    """
    root = Path(root)
    path = index_path(root, "toycity")
    if not path.is_file():
        raise DataError(f"{root}: no finished toy city here; make it with `d2n data make toycity`")
    rule = load_index(path).rule
    _check_same({**rule, "renderer": RENDERER}, rule, root)
    jobs = [_oracle_job(job) for job in plan(rule["scale"]) if job.split == "retrieval"]
    _render(root, rule["seed"], jobs, workers, progress)
    return {_oracle_source(shot.path): (root / shot.path).absolute() for job in jobs for shot in job.shots}


def make_sheet(root: str | Path, path: str | Path, columns: int = 6, rows: int = 2, zoom: int = 2) -> None:
    """A sheet of aligned day and night photos of the test split, night under day, as a PNG at ``path``."""
    index = load_index(index_path(root, "toycity"))
    pairs = index.select_pairs("test")[: columns * rows]
    tiles = [np.vstack([np.asarray(Image.open(index.path(row))) for row in pair]) for pair in pairs]
    if len(tiles) < columns * rows:
        raise DataError(f"{root}: {len(tiles)} test pairs, the sheet shows {columns * rows}; ask for fewer")
    sheet = np.vstack([np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)])
    height, width = sheet.shape[:2]
    image = Image.fromarray(sheet).resize((width * zoom, height * zoom), Image.Resampling.BICUBIC)
    write_atomically(Path(path), _png(np.asarray(image)))


def plan(scale: float = 1.0) -> list[Job]:
    """Every scene of every split and its photos, at ``scale``; the same whatever the seed."""
    return [job for split in SPLITS for job in _plan_split(split, _count(_SCENES[split], scale))]


def photograph(seed: int, job: Job) -> Iterator[tuple[Shot, NDArray[np.uint8]]]:
    """The photos of a scene in the job's order, (64, 64, 3) uint8 each; the scene is painted once."""
    place = (seed, _FOLDERS.index(job.split), job.number)
    scene = paint_scene(_stream(*place, _SCENE))
    for shot in job.shots:
        view = frame(scene, _stream(*place, _VIEW, shot.view))
        take, stream = (photograph_day, _DAY) if shot.domain == "day" else (photograph_night, _NIGHT)
        yield shot, take(view, _stream(*place, stream, shot.view))


def _count(scenes: int, scale: float) -> int:
    return max(round(scenes * scale), 8 if scenes > 100 else 4)


def _plan_split(split: str, scenes: int) -> list[Job]:
    if split == "retrieval":
        return [
            Job(split, n, tuple(_shot(split, n, v, "day", "training") for v in range(6)))
            for n in range(scenes)
        ]
    if split == "train":
        return [Job(split, n, _training_shots(n)) for n in range(scenes)]
    benchmark = [Job(split, n, _benchmark_shots(split, n)) for n in range(scenes)]
    more = range(scenes, scenes * (1 + _DISTRACTORS))
    return benchmark + [Job(split, n, _both(split, n, 0, "distractor")) for n in more]


def _training_shots(n: int) -> tuple[Shot, ...]:
    """3 day and 3 night views of six standpoints; and 8 aligned pairs in 5 scenes, 400 in 250."""
    day = tuple(_shot("train", n, view, "day", "training") for view in range(3))
    night = tuple(_shot("train", n, view, "night", "training") for view in range(3, 6))
    pairs = range(6, 7 if n % 5 < 2 else 8)
    return day + night + tuple(shot for view in pairs for shot in _both("train", n, view, "pair"))


def _benchmark_shots(split: str, n: int) -> tuple[Shot, ...]:
    """4 database views by day, and 2 query views each by day and by night."""
    database = tuple(_shot(split, n, view, "day", "database") for view in range(4))
    return database + _both(split, n, 4, "query") + _both(split, n, 5, "query")


def _both(split: str, n: int, view: int, role: str) -> tuple[Shot, ...]:
    return tuple(_shot(split, n, view, domain, role) for domain in ("day", "night"))


def _shot(split: str, n: int, view: int, domain: str, role: str) -> Shot:
    return Shot(view, domain, f"{split}/{domain}/{n:04d}_{view}.png", role)


def _oracle_job(job: Job) -> Job:
    shots = tuple(Shot(s.view, "night", f"oracle/{Path(s.path).name}", "oracle") for s in job.shots)
    return Job(job.split, job.number, shots)


def _oracle_source(path: str) -> str:
    return f"retrieval/day/{Path(path).name}"


def _stream(*numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))


def _rule(seed: int, scale: float, workers: int) -> dict[str, Any]:
    if seed < 0:
        raise DataError(f"toycity: seed {seed}, expected 0 or more")
    if not 0 < scale <= 20:
        raise DataError(f"toycity: scale {scale}, expected more than 0 and at most 20 (1 is 700 scenes)")
    if workers < 1:
        raise DataError(f"toycity: {workers} workers, expected 1 or more")
    return {"renderer": RENDERER, "scale": float(scale), "seed": int(seed)}


def _finished(root: Path, rule: dict[str, Any], jobs: Sequence[Job], rebuild: bool) -> Index | None:
    """The finished set in ``root``, None where one is to be made there; DataError where none may be."""
    path, note = index_path(root, "toycity"), root / _NOTE
    if not path.is_file():
        if root.is_file() or (not note.is_file() and root.is_dir() and _strangers(root)):
            raise DataError(f"{root}: holds other files and no toy city; give an empty or a new folder")
        return None
    index = _load_or_none(path, rebuild)
    if index is not None and (not rebuild or dict(index.rule) == rule):
        _check_same(rule, index.rule, root)
        if all((root / name).is_file() for name in _files(jobs)):
            return index
    path.unlink()  # from here on the set is unfinished, whatever happens
    return None


def _load_or_none(path: Path, rebuild: bool) -> Index | None:
    try:
        return load_index(path)
    except DataError:
        if rebuild:
            return None
        raise


def _files(jobs: Sequence[Job]) -> list[str]:
    return ["benchmark_val.json", "benchmark_test.json", *(shot.path for job in jobs for shot in job.shots)]


def _strangers(root: Path) -> bool:
    return any(not entry.name.startswith((".", "README")) for entry in root.iterdir())


def _check_same(rule: Any, found: Any, root: Path) -> None:
    if dict(rule) != dict(found):
        raise DataError(
            f"{root}: holds the toy city of {_words(found)}, asked for {_words(rule)}; "
            "give another folder, or rebuild this one"
        )


def _words(rule: Any) -> str:
    return ", ".join(f"{key} {rule.get(key)}" for key in ("seed", "scale", "renderer"))


def _begin(root: Path, rule: dict[str, Any]) -> None:
    """Note that the set is unfinished and under which rule; photos of another rule are removed."""
    note = root / _NOTE
    text = json.dumps(rule, sort_keys=True).encode()
    if not note.is_file() or note.read_bytes() != text:
        for folder in _FOLDERS:
            shutil.rmtree(root / folder, ignore_errors=True)
    try:
        write_atomically(note, text)
    except OSError as error:
        raise DataError(f"{root}: cannot be written ({error.strerror}); give another folder") from error


def _render(root: Path, seed: int, jobs: Sequence[Job], workers: int, progress: bool) -> list[ImageRow]:
    """Take all photos; the rows in the jobs' order."""
    photos = sum(len(job.shots) for job in jobs)
    work = partial(_take, str(root), seed)
    rows: list[ImageRow] = []
    with tqdm(total=photos, desc="toy city", unit="photo", disable=None if progress else True) as bar:
        for taken in _map(work, jobs, workers if photos >= _POOL_FROM else 1):
            rows.extend(taken)
            bar.update(len(taken))
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
    found = [_whole(Path(root, shot.path)) for shot in job.shots]
    if any(content is None for content in found):
        found = []
        for shot, photo in photograph(seed, job):
            found.append(_png(photo))
            write_atomically(Path(root, shot.path), found[-1])
    scene = f"{job.split}-{job.number:04d}"
    return [
        ImageRow(shot.path, shot.domain, scene, job.split, IMAGE_SIZE_PX, IMAGE_SIZE_PX, _sha256(content))
        for shot, content in zip(job.shots, found, strict=True)
    ]


def _whole(path: Path) -> bytes | None:
    """The bytes of a PNG written to its end; None where there is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return content if content.endswith(_PNG_END) else None


def _png(photo: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def _sha256(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def _close(root: Path, rule: dict[str, Any], jobs: Sequence[Job], rows: list[ImageRow]) -> Index:
    """Write the benchmarks, then the index, which makes the set a finished one."""
    for split in ("val", "test"):
        text = json.dumps(_benchmark([job for job in jobs if job.split == split]), indent=1)
        write_atomically(root / f"benchmark_{split}.json", text.encode())
    number = {row.path: i for i, row in enumerate(rows)}
    pairs = [
        (number[shot.path.replace("/night/", "/day/")], number[shot.path])
        for job in jobs
        for shot in job.shots
        if shot.domain == "night" and shot.role != "training"
    ]
    index = Index("toycity", root, rule, tuple(rows), tuple(pairs))
    save_index(index, root)
    (root / _NOTE).unlink()
    return index


def _benchmark(jobs: Sequence[Job]) -> dict[str, Any]:
    """Paths of the database and of the queries, and for each query the database images of its scene."""
    database = [(job.number, shot.path) for job in jobs for shot in job.shots if _in_database(shot)]
    by_scene: dict[int, list[int]] = {}
    for i, (number, _) in enumerate(database):
        by_scene.setdefault(number, []).append(i)
    queries: dict[str, list[str]] = {"day": [], "night": []}
    truth: dict[str, list[dict[str, list[int]]]] = {"day": [], "night": []}
    for job in jobs:
        for shot in (shot for shot in job.shots if shot.role == "query"):
            queries[shot.domain].append(shot.path)
            truth[shot.domain].append({"ok": by_scene[job.number], "junk": []})
    return {"database": [path for _, path in database], "queries": queries, "ground_truth": truth}


def _in_database(shot: Shot) -> bool:
    return shot.role == "database" or (shot.role == "distractor" and shot.domain == "day")
