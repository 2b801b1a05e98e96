"""What each kind of run is in MLflow, to and from its params, metrics, tags and artifacts: a record each.

A record writes `Entries`; read back, what someone edited by hand is an UnreadableError that says why.
"""

from d2n.tracking.records.elsewhere import Elsewhere
from d2n.tracking.records.entries import Entries
from d2n.tracking.records.reading import (
    BestScore,
    UnreadableError,
    best_score,
    protocol,
    require_best_score,
    require_knobs,
    require_protocol,
    trial_number,
)
from d2n.tracking.records.retrieval import MapRecord, RetrievalRecord
from d2n.tracking.records.scores import of_kind
from d2n.tracking.records.translation import TranslationRecord
from d2n.tracking.records.trial import StudyRecord, TrialRecord

__all__ = [
    "BestScore",
    "Elsewhere",
    "Entries",
    "MapRecord",
    "RetrievalRecord",
    "StudyRecord",
    "TranslationRecord",
    "TrialRecord",
    "UnreadableError",
    "best_score",
    "of_kind",
    "protocol",
    "require_best_score",
    "require_knobs",
    "require_protocol",
    "trial_number",
]
