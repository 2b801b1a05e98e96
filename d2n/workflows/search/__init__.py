"""``d2n search``: starts or continues a study with one or several workers, and tells how it stands."""

from d2n.workflows.search.standing import export, status, stop, summary
from d2n.workflows.search.start import SearchRequest, SearchResult, parent_run, run_search, search
from d2n.workflows.search.worker import WorkerRequest, work

__all__ = [
    "SearchRequest",
    "SearchResult",
    "WorkerRequest",
    "export",
    "parent_run",
    "run_search",
    "search",
    "status",
    "stop",
    "summary",
    "work",
]
