"""``d2n search`` where it is asked to run: here, or on a cluster; and what a cluster's nodes are asked to do."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from d2n import __version__
from d2n.errors import StudyError
from d2n.files.writing import require_writable
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.search.launchers import Placement, launcher
from d2n.workflows.search.launchers.row import refuse_foreign
from d2n.workflows.search.start import SearchRequest, prepared, run_search

logger = logging.getLogger(__name__)


def search(
    request: SearchRequest,
    kind: ExperimentKind | None = None,
    *,
    on: str = "local",
    placement: Placement | None = None,
) -> list[str]:
    """Start or continue the study, here or on a cluster; lines for people. ``kind`` as of ``run_search``."""
    row, asked = launcher(on), placement or Placement()
    refuse_foreign(row, asked)
    if request.pin_cores and on != "local":
        raise StudyError(f"--pin-cores means nothing to --on {on}, which gives a job its cores; leave it out")
    return row.launch(request, asked, kind)


@contextlib.contextmanager
def turn(on: str, logs: str) -> Iterator[None]:
    """A job's turn on a node: left by a signal, its trial is given back, and the job gets its next turn if it shall."""
    row = launcher(on)
    seat = row.seat(logs)
    try:
        yield
    except KeyboardInterrupt:
        row.interrupted(seat)
        raise


def run_worker(request: SearchRequest, on: str, logs: str, kind: ExperimentKind | None = None) -> list[str]:
    """On a node, in its turn: work on the study until it has enough."""
    seat = launcher(on).seat(logs)
    logger.info("%s on %s works on %s", seat.job, seat.node, request.path)
    result = run_search(dataclasses.replace(request, seat=seat), kind)
    return [f"{seat.job}: {result.reason}"]


def run_probe(
    request: SearchRequest, logs: str, version_asked: str, kind: ExperimentKind | None = None
) -> list[str]:
    """On a node, before any worker is queued: what it lacks is refused in one line, what it has is told."""
    if version_asked != __version__:
        raise StudyError(
            f"this node has d2n {__version__} ({sys.executable}), the workers were asked for by d2n {version_asked}: "
            "one study takes one version"
        )
    for folder in (Path(logs), *([request.work_root] if request.work_root else [])):
        require_writable(folder)
    began = time.monotonic()
    ready = prepared(request, kind)
    ready.store.get(ready.run_id)
    took_s = time.monotonic() - began
    skew_s = ready.study.leases.skew_s()
    return [
        f"d2n {__version__} reaches {ready.study.name} and its runs ({took_s:.1f} s); "
        f"this node's clock is {skew_s:+.1f} s from the database's"
    ]
