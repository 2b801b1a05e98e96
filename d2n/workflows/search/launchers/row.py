"""What a place to run workers is: a row, what it is asked, and what it says of its jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from d2n.errors import StudyError
from d2n.workflows.kinds import ExperimentKind
from d2n.workflows.search.jobs import Jobs, JobState
from d2n.workflows.search.start import SearchRequest
from d2n.workflows.search.worker import Seat


@dataclass(frozen=True)
class Placement:
    """Where workers shall run, how many, how long and with what; None: as the cluster has it."""

    jobs: int = 1
    time_s: int | None = None
    partition: str | None = None
    gpus: int = 0  # of each job
    cpus: int | None = None
    memory: str | None = None  # as 32G
    grace_s: int = 300  # between the signal and the end of a job
    queue_options: Mapping[str, str] = field(
        default_factory=dict
    )  # further ones of the cluster's own command
    image: str | None = None
    secret: str | None = None
    data_claim: str | None = None
    namespace: str | None = None
    out: Path | None = None
    apply: bool = False


@dataclass(frozen=True)
class Launcher:
    """A place to run workers. It queues them and is not needed afterwards: the study holds itself."""

    name: str
    meaning: str
    takes: frozenset[str]
    """Fields of Placement that mean something there."""
    launch: Callable[[SearchRequest, Placement, ExperimentKind | None], list[str]]
    """Refuses, in one line, what cannot work there; else queues workers. Lines for people."""
    seat: Callable[[str], Seat]
    """In a worker: the job that it is; given the folder of the logs."""
    states: Callable[[Jobs], list[JobState]]
    """What has not ended. StudyError where the cluster does not answer."""
    cancel: Callable[[Jobs, bool], str]
    """Take jobs out of the queue, the running ones too where True. What was done, in words."""
    interrupted: Callable[[Seat], None]
    """In a worker that a signal ended, once its trial is given back: see that the job comes again if it shall."""


def refuse_foreign(row: Launcher, placement: Placement) -> None:
    """StudyError for an option that means nothing there."""
    plain = Placement()
    for one in dataclasses.fields(placement):
        if one.name not in row.takes and getattr(placement, one.name) != getattr(plain, one.name):
            raise StudyError(
                f"--{OPTIONS.get(one.name, one.name)} means nothing to --on {row.name}, which takes "
                f"{', '.join(sorted(f'--{OPTIONS.get(name, name)}' for name in row.takes)) or 'none of these'}"
            )


OPTIONS: Mapping[str, str] = {
    "time_s": "time",
    "grace_s": "grace",
    "queue_options": "queue-option",
    "data_claim": "data-claim",
}  # fields whose option has another name


def nothing(_: Seat) -> None:
    """Nobody has to be told."""
