"""Places to run a study's workers, a row each."""

from __future__ import annotations

from collections.abc import Mapping

from d2n.config import nearest
from d2n.errors import StudyError
from d2n.workflows.search.launchers import kubernetes, local, slurm
from d2n.workflows.search.launchers.row import Launcher, Placement

__all__ = ["LAUNCHERS", "Launcher", "Placement", "launcher"]

LAUNCHERS: Mapping[str, Launcher] = {row.name: row for row in (local.ROW, slurm.ROW, kubernetes.ROW)}


def launcher(name: str) -> Launcher:
    """The row of that name; StudyError with the nearest where there is none."""
    if name not in LAUNCHERS:
        raise StudyError(f"--on {name!r}{nearest(name, LAUNCHERS)}; expected {', '.join(LAUNCHERS)}")
    return LAUNCHERS[name]
