"""The toy city's plan: which scenes and photos every split holds, in which roles; no image is touched.

Splits share no scene: ``retrieval`` (day views by scene), ``train`` (day and night views of different
standpoints, and aligned pairs), ``val`` and ``test`` (database, distractors, day and night queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SPLITS = ("retrieval", "train", "val", "test")
_SCENES = {"retrieval": 300, "train": 250, "val": 50, "test": 100}  # at scale 1
_DISTRACTORS = 4  # scenes with one view each, for every scene of val and test
CONDITIONS = ("dusk", "rain")  # that may be rendered besides day and night
_FURTHER_VIEWS = 8  # the first view that no photo by day or night of training has
RETRIEVAL_VIEWS = 6  # day views of every scene of the split retrieval


@dataclass(frozen=True)
class Shot:
    """One photo to take."""

    view: int
    domain: str  # day or night, or a further condition
    path: str  # relative to the root
    role: str  # training, pair, database, distractor, query, oracle, condition


@dataclass(frozen=True)
class Job:
    """The photos of one scene."""

    split: str
    number: int
    shots: tuple[Shot, ...]


def plan(scale: float = 1.0, conditions: Sequence[str] = ()) -> list[Job]:
    """Every scene of every split and its photos, at ``scale``; the same whatever the seed.

    Photos of ``conditions`` come behind those by day and by night, which stay what and where they are.
    """
    jobs = [job for split in SPLITS for job in _plan_split(split, _count(_SCENES[split], scale))]
    return [replace(job, shots=job.shots + _further_shots(job, conditions)) for job in jobs]


def oracle_job(job: Job) -> Job:
    """The same scene and views as a job of the split retrieval, by night, in a folder of their own."""
    shots = tuple(Shot(s.view, "night", f"oracle/{Path(s.path).name}", "oracle") for s in job.shots)
    return Job(job.split, job.number, shots)


def day_side(shot: Shot) -> str | None:
    """Path of the day photo that a night shot is aligned with; None of every other shot."""
    if shot.domain == "night" and shot.role in ("pair", "query", "distractor"):
        return shot.path.replace("/night/", "/day/")
    return None


def benchmark(jobs: Sequence[Job]) -> dict[str, Any]:
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
    benchmark = [Job(split, n, _place_shots(split, n)) for n in range(scenes)]
    more = range(scenes, scenes * (1 + _DISTRACTORS))
    return benchmark + [Job(split, n, _both(split, n, 0, "distractor")) for n in more]


def _retrieval_shots(n: int) -> tuple[Shot, ...]:
    return tuple(_shot("retrieval", n, view, "day", "training") for view in range(RETRIEVAL_VIEWS))


def _training_shots(n: int) -> tuple[Shot, ...]:
    """3 day and 3 night views of six standpoints; and 8 aligned pairs in 5 scenes, 400 in 250."""
    day = tuple(_shot("train", n, view, "day", "training") for view in range(3))
    night = tuple(_shot("train", n, view, "night", "training") for view in range(3, 6))
    pairs = range(6, 7 if n % 5 < 2 else 8)
    return day + night + tuple(shot for view in pairs for shot in _both("train", n, view, "pair"))


def _place_shots(split: str, n: int) -> tuple[Shot, ...]:
    """4 database views by day, and 2 query views each by day and by night."""
    database = tuple(_shot(split, n, view, "day", "database") for view in range(4))
    return database + _both(split, n, 4, "query") + _both(split, n, 5, "query")


def _both(split: str, n: int, view: int, role: str) -> tuple[Shot, ...]:
    return tuple(_shot(split, n, view, domain, role) for domain in ("day", "night"))


def _further_shots(job: Job, conditions: Sequence[str]) -> tuple[Shot, ...]:
    """Of each condition: in train three standpoints of its own a scene, in val and test those of the night photos."""
    if job.split == "retrieval":
        return ()
    by_night = [shot.view for shot in job.shots if shot.domain == "night"]
    found = []
    for condition in conditions:
        first = _FURTHER_VIEWS + 3 * CONDITIONS.index(condition)
        views = range(first, first + 3) if job.split == "train" else by_night
        found += [_shot(job.split, job.number, view, condition, "condition") for view in views]
    return tuple(found)


def _shot(split: str, n: int, view: int, domain: str, role: str) -> Shot:
    return Shot(view, domain, f"{split}/{domain}/{n:04d}_{view}.png", role)
