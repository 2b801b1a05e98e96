"""The jobs that were queued for a study: their states, and taking them out of their queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from d2n.errors import StudyError
from d2n.workflows.search.jobs import Jobs, JobState, of
from d2n.workflows.search.launchers import LAUNCHERS

if TYPE_CHECKING:
    import optuna

_MOST = 20  # job lines of a status


def lines(study: optuna.Study) -> list[str]:
    """What is queued and what runs, for people; nothing of jobs that have ended."""
    told: list[str] = []
    for jobs in _of(study):
        try:
            states = LAUNCHERS[jobs.on].states(jobs)
        except StudyError as error:
            told.append(f"  {jobs.on} job {jobs.id} ({jobs.count} workers): {error}")
            continue
        told += [_line(jobs, state) for state in states[:_MOST]]
        if len(states) > _MOST:
            told.append(f"  {jobs.on} job {jobs.id}: {len(states) - _MOST} more")
    return told


def cancel(study: optuna.Study, running: bool) -> list[str]:
    """Take what is queued out of its queue, and where ``running`` end what runs; what was done, for people."""
    told = []
    for jobs in _of(study):
        try:
            said = LAUNCHERS[jobs.on].cancel(jobs, running)
        except StudyError as error:
            said = str(error)
        if said:
            told.append(f"  {jobs.on} job {jobs.id}: {said}")
    return told


def _of(study: optuna.Study) -> list[Jobs]:
    """Of launchers that this version has."""
    return [jobs for jobs in of(study.user_attrs) if jobs.on in LAUNCHERS]


def _line(jobs: Jobs, state: JobState) -> str:
    parts = [f"  {jobs.on} job {state.id}: {state.state.lower()}"]
    parts += [f"on {state.node}"] if state.node else []
    parts += [f"({state.why})"] if state.why else []
    return " ".join(parts) + (f", log {state.log}" if state.log else "")
