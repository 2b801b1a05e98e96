"""Which photograph becomes which file, and where that would go wrong; nothing is opened here."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from d2n.datasets.images import IMAGE_SUFFIXES
from d2n.datasets.listing import left_out_facts, left_out_lines, walk_images
from d2n.errors import DataError


@dataclass(frozen=True)
class Job:
    """One photograph and its night; ``name`` is the night's place below the folder that remembers it."""

    source: Path
    out: Path
    name: str


@dataclass(frozen=True)
class Plan:
    """All that one command is to make."""

    jobs: tuple[Job, ...]
    folder: Path  # remembers what was made by which model
    is_folder: bool  # a folder of nights belongs to one model; single files beside each other need not
    left_out: tuple[str, ...] = ()  # lines on what lies among the photographs and is not read


def plan(source: Path, target: Path) -> Plan:
    """Every image below ``source`` under its name in ``target``, or one image to one file.

    DataError where there is nothing to read, or where nights would lie among what is read.
    """
    if source.is_dir():
        return _folder(source, target)
    if not source.exists():
        raise DataError(f"{shown(source)}: no such file or folder")
    return _single(source, target)


def shown(path: Path) -> str:
    """A path as text that can be printed, whatever bytes its names have."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _folder(source: Path, target: Path) -> Plan:
    if target.exists() and not target.is_dir():
        raise DataError(
            f"{shown(target)}: is a file and {shown(source)} a folder; name a folder for the nights"
        )
    if _is_inside(target, source):
        raise DataError(
            f"{shown(target)}: lies in {shown(source)}, so the next run would take the nights for photographs; "
            "name a folder elsewhere, beside it for instance"
        )
    passed_over = Counter[str]()
    names = walk_images(source, "", left_out=passed_over)
    left_out = tuple(left_out_lines(left_out_facts(passed_over)))
    if not names:
        why = "".join(f"; {line}" for line in left_out)
        raise DataError(f"{shown(source)}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}){why}")
    for folder in sorted({Path(target, name).parent for name in names}):
        if _is_inside(folder, source):
            raise DataError(
                f"{shown(folder)}: nights would be written there, among the photographs of {shown(source)}; "
                "name another folder for the nights"
            )
    jobs = tuple(Job(source / name, target / name, name) for name in names)
    _refuse_collisions(jobs)
    return Plan(jobs, target, True, left_out)


def _single(source: Path, target: Path) -> Plan:
    into = target.is_dir() or not target.suffix
    out = target / source.name if into else target
    if out.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(
            f"{shown(out)}: a night ends in one of {', '.join(IMAGE_SUFFIXES)}; name it so, or name a folder"
        )
    if out.exists() and out.samefile(source):
        raise DataError(f"{shown(out)}: is the photograph itself; name another file for its night")
    return Plan((Job(source, out, out.name),), out.parent, into)


def _refuse_collisions(jobs: tuple[Job, ...]) -> None:
    """Names are kept, so only links in the target, or a disk that takes two names for one, bring two together."""
    taken: dict[object, Job] = {}
    for job in jobs:
        there = job.out.stat() if job.out.exists() else None
        key = (there.st_dev, there.st_ino) if there else os.path.realpath(job.out)
        first = taken.setdefault(key, job)
        if first is not job:
            raise DataError(
                f"{shown(first.source)} and {shown(job.source)} would become one file, {shown(job.out)}; translate one "
                "into another folder"
            )


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` is the folder or lies below it, links followed, whether or not it is there yet."""
    real = Path(os.path.realpath(path))
    return any(place.exists() and place.samefile(folder) for place in (real, *real.parents))
