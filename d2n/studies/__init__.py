"""Studies: an Optuna search that many workers share and that survives the death of any of them."""

from d2n.studies.definition import StudyConfig, StudyDefinition
from d2n.studies.loading import load_study
from d2n.studies.storage import storage_url
from d2n.studies.study import OpenStudy, open_study
from d2n.studies.worker import ClaimedTrial, LeaseLostError, Outcome, TrialRunner, WorkSummary, work

__all__ = [
    "ClaimedTrial",
    "LeaseLostError",
    "OpenStudy",
    "Outcome",
    "StudyConfig",
    "StudyDefinition",
    "TrialRunner",
    "WorkSummary",
    "load_study",
    "open_study",
    "storage_url",
    "work",
]
