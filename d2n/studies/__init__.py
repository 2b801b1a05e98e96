"""Studies: an Optuna search that many workers share and that survives the death of any of them.

Names are imported when they are first used: reading a study's YAML needs neither optuna nor a database.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "definition": ("StudyConfig", "StudyDefinition"),
    "loading": ("load_study",),
    "storage": ("storage_url",),
    "study": ("OpenStudy", "open_study"),
    "worker": ("ClaimedTrial", "LeaseLostError", "Outcome", "TrialRunner", "WorkSummary", "work"),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, known in _HOMES.items() if name in known), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
