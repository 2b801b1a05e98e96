"""``d2n search``: starts or continues a study with one or several workers, and tells how it stands."""

from d2n.workflows.search.launchers import Placement
from d2n.workflows.search.placing import run_probe, run_worker, search, turn
from d2n.workflows.search.standing import export, status, stop
from d2n.workflows.search.start import SearchRequest, SearchResult, parent_run, run_search
from d2n.workflows.search.telling import summary
from d2n.workflows.search.worker import WorkerRequest, work

__all__ = [
    "Placement",
    "SearchRequest",
    "SearchResult",
    "WorkerRequest",
    "export",
    "parent_run",
    "run_probe",
    "run_search",
    "run_worker",
    "search",
    "status",
    "stop",
    "summary",
    "turn",
    "work",
]
