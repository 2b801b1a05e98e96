"""The commands that a cluster runs for a study: a worker, and the probe that goes before; lists of arguments.

URLs with passwords stand in the environment of a job, never among its arguments.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from d2n import __version__
from d2n.workflows.search.start import Prepared, SearchRequest


@dataclass(frozen=True)
class Work:
    """What the workers of one launch share."""

    ready: Prepared
    request: SearchRequest
    on: str
    logs: Path
    workers_per_gpu: int | None = None  # where the request says nothing of workers


def worker(work: Work) -> list[str]:
    """A worker's command."""
    request, asked = work.request, work.ready.asked
    command = [*_program(work), "-v", "search", "worker", *_study(work)]
    if asked.max_claims is not None:
        command += ["--max-claims", str(asked.max_claims)]
    each = request.workers_per_gpu or (work.workers_per_gpu if request.workers is None else None)
    if each is not None:
        command += ["--workers-per-gpu", str(each)]
    if request.carry is not None:
        command.append("--carry" if request.carry else "--no-carry")
    if request.workers is not None:
        command += ["--workers", str(request.workers)]
    return command


def probe(work: Work) -> list[str]:
    """The command that finds out whether a node has what the workers need."""
    return [*_program(work), "-v", "search", "probe", *_study(work), "--version-asked", __version__]


def environment(work: Work, cpus: int | None) -> dict[str, str]:
    """Where the study and its runs are, passwords and all; and how many threads a worker has."""
    asked = work.ready.asked
    given = {"D2N_STUDY_STORAGE": asked.study_storage, "MLFLOW_TRACKING_URI": asked.tracking_uri}
    given["PYTHONUNBUFFERED"] = "1"  # the log is read while it grows
    if cpus is not None:
        given["OMP_NUM_THREADS"] = str(max(1, cpus // (work.request.workers or 1)))
    return given


def _program(work: Work) -> list[str]:
    return list(work.request.program) or [sys.executable, "-m", "d2n"]


def _study(work: Work) -> list[str]:
    asked = work.ready.asked
    root = Path(asked.work_root or work.ready.store.work_root).absolute()
    settings = [("--set", f"{knob}={_written(value)}") for knob, value in asked.overrides.items()]
    return [
        os.fspath(Path(work.ready.study.definition.source).absolute()),
        *("--on", work.on, "--logs", os.fspath(work.logs), "--work-root", os.fspath(root)),
        *(part for pair in settings for part in pair),
    ]


def _written(value: object) -> str:
    """As ``--set`` reads it: YAML, of which JSON is a part."""
    return json.dumps(value, default=lambda one: dict(one) if isinstance(one, Mapping) else list(one))
