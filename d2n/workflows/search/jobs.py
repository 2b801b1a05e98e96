"""What was queued for a study on clusters: stored with the study, so that whoever asks finds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from d2n import studies
from d2n.studies.study import JOBS


@dataclass(frozen=True)
class Jobs:
    """What was queued for a study at one time; it is stored with the study."""

    on: str
    id: str
    count: int
    logs: str  # a folder


@dataclass(frozen=True)
class JobState:
    """One job of several: PENDING, RUNNING or another word of its cluster; '' is what it does not have."""

    id: str
    state: str
    node: str = ""
    why: str = ""
    log: str = ""


def record(study: studies.OpenStudy, jobs: Jobs) -> None:
    """Store with the study what was queued for it."""
    with study.leases.exclusive(study.name):
        known: list[Any] = list(study.attr(JOBS) or [])
        study.optuna.set_user_attr(JOBS, [*known, dataclasses.asdict(jobs)])


def of(attrs: Mapping[str, Any]) -> list[Jobs]:
    """What was queued for a study, in that order; by the study's attributes."""
    return [Jobs(**one) for one in attrs.get(JOBS, [])]
