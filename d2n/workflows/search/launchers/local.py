"""Workers on this machine: one in this process, several in processes of their own."""

from __future__ import annotations

import os
import socket

from d2n.tracking import runs
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.search import several
from d2n.workflows.search.jobs import Jobs, JobState
from d2n.workflows.search.launchers.row import Launcher, Placement, nothing
from d2n.workflows.search.start import SearchRequest, run_search
from d2n.workflows.search.telling import summary, values_text
from d2n.workflows.search.worker import Seat


def _launch(request: SearchRequest, _: Placement, kind: ExperimentKind | None) -> list[str]:
    with several.processes() as is_first:
        if not is_first:
            store = runs.open_store(request.tracking_uri)
            several.follow(request.work_root or store.work_root)
            return []
        result = run_search(request, kind)
    leaders = ", ".join(
        f"trial {row.number} ({values_text(result.status, row)})" for row in result.status.best[:10]
    )
    return [
        *summary(result.status),
        f"run {result.run_id}: d2n ui, then {result.url}",
        f"{result.reason}; best: {leaders or 'no complete trial'}",
    ]


def _seat(logs: str) -> Seat:
    return Seat(f"worker-{os.getpid()}", socket.gethostname(), "")


def _states(_: Jobs) -> list[JobState]:
    return []


def _cancel(_: Jobs, running: bool) -> str:
    return ""


ROW = Launcher("local", "this machine", frozenset(), _launch, _seat, _states, _cancel, nothing)
