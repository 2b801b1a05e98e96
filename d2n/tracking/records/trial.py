"""A run of a study's trial, or of one seed of it: whose it is, what was searched, what it found."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d2n.tracking import names
from d2n.tracking.records import reading, scores
from d2n.tracking.records.entries import Entries

if TYPE_CHECKING:
    from d2n.tracking.runs import RunRecord

_SEARCH, _TWIN = "search", "_log10"


@dataclass(frozen=True)
class StudyRecord:
    """The run above a study's trials."""

    study: str
    study_uid: str
    dataset: str

    @property
    def identity(self) -> dict[str, str]:
        """The tags that only this study's run has."""
        return {
            names.KIND: "study",
            names.STUDY: self.study,
            names.STUDY_UID: self.study_uid,
            names.DATASET: self.dataset,
        }

    @staticmethod
    def begun(yaml: str, study: Mapping[str, Any], experiment: Mapping[str, Any]) -> Entries:
        """The study's YAML as it was written, and what it and its experiment came to."""
        return Entries(
            texts={
                "config/study.yaml": yaml,
                "config/study.json": json.dumps(study, indent=2),
                names.CONFIG_JSON: json.dumps(experiment, indent=2),
            }
        )

    @staticmethod
    def best(values: Mapping[str, float]) -> Entries:
        """What its best trial reached, by objective; the step is the number of trials that ended."""
        return Entries(metrics={names.best(name): value for name, value in values.items()})


@dataclass(frozen=True)
class TrialRecord:
    """A trial's run, read back; '' stands for what it does not say."""

    study: str
    study_uid: str
    dataset: str
    number: int
    worker: str = ""
    state: str = ""  # Optuna's, once the trial has ended
    seed: str = ""  # of a run of one seed below a trial with several
    fingerprint: str = ""
    reused_run: str = ""
    searched: Mapping[str, str] = field(default_factory=dict)  # the settings, as params are: text
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # score, score_std, score_floor

    @classmethod
    def read(cls, record: RunRecord) -> TrialRecord:
        """What the run says; UnreadableError where its number was edited by hand."""
        tags = record.tags
        logged: dict[str, Any] = {**record.metrics, **record.params}
        searched = {name: str(value) for name, value in scores.of_kind(logged, _SEARCH).items()}
        return cls(
            study=tags.get(names.STUDY, ""),
            study_uid=tags.get(names.STUDY_UID, ""),
            dataset=tags.get(names.DATASET, ""),
            number=reading.trial_number(record),
            worker=tags.get(names.WORKER, ""),
            state=tags.get(names.TRIAL_STATE, ""),
            seed=tags.get(names.SEED_OF_TRIAL, ""),
            fingerprint=tags.get(names.FINGERPRINT, ""),
            reused_run=tags.get(names.REUSED_RUN, ""),
            searched={name: value for name, value in searched.items() if not name.endswith(_TWIN)},
            values={
                kind: scores.of_kind(record.metrics, kind) for kind in ("score", "score_std", "score_floor")
            },
        )

    @staticmethod
    def is_one(record: RunRecord) -> bool:
        """Whether a run is a trial's, and not one of the runs below a trial that train one seed each."""
        tags = record.tags
        is_named = names.STUDY in tags and names.TRIAL in tags
        return is_named and any(key.startswith(f"{_SEARCH}/") for key in (*record.params, *record.metrics))

    @staticmethod
    def title(record: RunRecord) -> str:
        """What lines about its training begin with: ``trial 3 of pix2pix_toycity``; '' for a run of no study."""
        return TrialRecord.title_by(record.tags)

    @staticmethod
    def title_by(tags: Mapping[str, str]) -> str:
        """The same by the run's tags alone."""
        if names.STUDY not in tags or names.TRIAL not in tags:
            return ""
        seed = f", seed {tags[names.SEED_OF_TRIAL]}" if names.SEED_OF_TRIAL in tags else ""
        return f"trial {tags[names.TRIAL]} of {tags[names.STUDY]}{seed}"

    @property
    def identity(self) -> dict[str, str]:
        """The tags that only this trial's runs have."""
        return {
            names.STUDY: self.study,
            names.STUDY_UID: self.study_uid,
            names.TRIAL: str(self.number),
            names.DATASET: self.dataset,
        }

    def begun(self, settings: Mapping[str, Any], twins: Mapping[str, float]) -> Entries:
        """A new trial's run: its settings as params, and the log10 of logarithmic ones as metrics."""
        return Entries(
            params={names.search(name): value for name, value in settings.items()},
            metrics={names.search(f"{name}{_TWIN}"): value for name, value in twins.items()},
            tags={**self.identity, names.WORKER: self.worker, names.KIND: "trial"},
        )

    def begun_seed(self, seed: int) -> Entries:
        """The run of one seed below the trial's."""
        return Entries(tags={**self.identity, names.SEED: str(seed), names.SEED_OF_TRIAL: str(seed)})

    @staticmethod
    def taken_up(worker: str) -> Entries:
        """Who works on it now."""
        return Entries(tags={names.WORKER: worker})

    @staticmethod
    def seated(job: str, node: str, log: str) -> Entries:
        """The cluster's job that works on it, the node and the log; nothing of a worker on a machine of one's own."""
        return Entries(tags={names.JOB: job, names.NODE: node, names.LOG: log}) if job else Entries()

    @staticmethod
    def training(fingerprint: str) -> Entries:
        """What makes its training the same as another's."""
        return Entries(tags={names.FINGERPRINT: fingerprint})

    @staticmethod
    def found(values: Mapping[str, Mapping[str, float]]) -> Entries:
        """Scores, deviations and floors that are not of one training: means over seeds, or another run's."""
        return Entries(
            metrics={f"{kind}/{name}": value for kind, one in values.items() for name, value in one.items()}
        )

    @staticmethod
    def reused(
        run: RunRecord, values: Mapping[str, Mapping[str, float]], shown: Collection[str] | None = None
    ) -> Entries:
        """An identical run's params, of which ``shown`` ones in the pages, its scores, and which run it was."""
        params = {key: value for key, value in run.params.items() if not key.startswith(f"{_SEARCH}/")}
        tags = {names.REUSED_RUN: run.run_id}
        return Entries(params=params, metrics=TrialRecord.found(values).metrics, tags=tags, shown=shown)

    @staticmethod
    def ended(state: str) -> Entries:
        """The state that the study gave it."""
        return Entries(tags={names.TRIAL_STATE: state})
