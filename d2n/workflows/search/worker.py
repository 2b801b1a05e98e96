"""One worker of a study: what it is asked, and its life from the first claim to the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from d2n import config, studies
from d2n.studies.study import RUN_ID
from d2n.tracking import runs
from d2n.tracking.signals import deferred, raise_unheard
from d2n.workflows.search import figures
from d2n.workflows.search.trial import Training, TrialRuns, train_trial


@dataclass(frozen=True)
class SearchRequest:
    """Everything that a worker process needs to take part in a study."""

    path: Path
    tracking_uri: str
    study_storage: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    max_claims: int | None = None  # of the study, over all workers
    work_root: Path | None = None
    training: Training = train_trial
    data_digest: Callable[[config.TranslationExperiment], str] | None = None  # None: the index's
    num_threads: int = 0  # 0: as the machine offers
    progress: bool = False  # workers in processes of their own tell their evaluations


def work(
    request: SearchRequest,
    study: studies.OpenStudy | None = None,
    *,
    name: str = "",
    on_ended: Callable[[], None] = lambda: None,
    progress: bool = False,
) -> str:
    """One worker of a study that exists; why it ended."""
    if study is None:
        study = studies.open_study(studies.load_study(request.path, request.overrides), request.study_storage)
    taken = study
    store = runs.open_store(request.tracking_uri)
    run_id = str(study.attr(RUN_ID))

    def ended() -> None:
        raise_unheard()
        figures.refresh(store, taken.optuna, taken.leases, run_id)
        on_ended()

    runner = TrialRuns(
        study=study,
        store=store,
        parent_run_id=run_id,
        work_root=request.work_root or store.work_root,
        training=request.training,
        progress=progress or request.progress,
        on_ended=ended,
        data_digest=(request.data_digest or _data_digest) if study.definition.config.reuse else None,
    )
    return studies.work(study, runner, name=name, max_claims=request.max_claims, undisturbed=deferred).reason


def _data_digest(experiment: config.TranslationExperiment) -> str:
    from d2n.workflows import evaluation

    data = experiment.dataset
    return str(evaluation.open_dataset(data).info().digest)
