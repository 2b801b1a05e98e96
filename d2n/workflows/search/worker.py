"""One worker of a study: what it is asked, and its life from the first claim to the last."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n import studies
from d2n.signals import deferred, raise_unheard
from d2n.studies.study import RUN_ID
from d2n.tracking import runs
from d2n.workflows.kinds import ExperimentKind, kind_of
from d2n.workflows.search import carrying, figures, several
from d2n.workflows.search.arm import as_it_is, with_arm
from d2n.workflows.search.trial import TrialRuns


@dataclass(frozen=True)
class Seat:
    """Where a worker runs: the job that a cluster gave it, its node, its log; all '' on a machine of one's own."""

    job: str = ""
    node: str = ""
    log: str = ""


@dataclass(frozen=True)
class WorkerRequest:
    """Everything that a worker process needs to take part in a study."""

    path: Path
    tracking_uri: str
    study_storage: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    max_claims: int | None = None  # of the study, over all workers
    work_root: Path | None = None
    kind: ExperimentKind | None = None  # None: the row of the study's experiment
    num_threads: int = 0  # 0: as the machine offers
    progress: bool = False  # a worker in a process of its own tells its evaluations
    gpus: Sequence[str] = ()  # workers in processes take turns: each sees one alone
    pins: Sequence[
        Sequence[int]
    ] = ()  # cores of each worker in a process of its own; (): wherever they are free
    seat: Seat = field(default_factory=Seat)
    carry: bool = False  # checkpoints go through the artifact store


def work(
    request: WorkerRequest, study: studies.OpenStudy | None = None, *, name: str = "", progress: bool = False
) -> Generator[str, None, None]:
    """One worker of a study that exists. Yields "" after each of its trials, and at last why it ended."""
    if study is None:
        study = studies.open_study(studies.load_study(request.path, request.overrides), request.study_storage)
    store = runs.open_store(request.tracking_uri)
    run_id = str(study.attr(RUN_ID))
    definition, wrap = study.definition, carrying.carrying if request.carry else as_it_is
    runner = TrialRuns(
        study=study,
        store=store,
        parent_run_id=run_id,
        work_root=request.work_root or store.work_root,
        kind=with_arm(
            wrap(several.leading(request.kind or kind_of(definition.experiment))), definition.arm, wrap
        ),
        progress=progress or request.progress,
        carry=request.carry,
        seat=(request.seat.job, request.seat.node, request.seat.log),
    )
    for standing in studies.work(
        study, runner, name=name or request.seat.job, max_claims=request.max_claims, undisturbed=deferred
    ):
        if not standing.reason:
            raise_unheard()
            figures.refresh(store, study.optuna, study.leases, run_id)
        yield standing.reason
