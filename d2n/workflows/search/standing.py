"""How a study stands, for people: its status, the wish to stop it, its tables and figures in a folder."""

from __future__ import annotations

from pathlib import Path

from d2n import studies
from d2n.errors import StudyError
from d2n.files.writing import require_writable
from d2n.studies import report
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import is_absent, open_optuna, shown
from d2n.studies.study import load_optuna, study_names
from d2n.workflows.search import figures, queued
from d2n.workflows.search.telling import summary


def status(
    study: str | None = None, *, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """Lines about one study, or about every study of the storage."""
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    found = [study] if study else study_names(open_optuna(url))
    if not found:
        return [f"no studies in {shown(url)}; `d2n search FILE` starts one"]
    lines: list[str] = []
    for name in found:
        stored = load_optuna(url, name)
        lines += [*summary(report.status(stored, leases)), *queued.lines(stored)]
    return lines


def stop(
    study: str, *, now: bool = False, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """Let the running trials end, or ``now`` give them back, and start no more; the same search goes on later.

    Jobs that wait in a cluster's queue are cancelled, and ``now`` those that run.
    """
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    stored = load_optuna(url, study)
    leases.set_stop(study, "now" if now else "after")
    held = leases.open(study)
    ends = "are given back" if now else "will end"
    told = f"{study}: {len(held)} running trials {ends}, no more are started; the same `d2n search` goes on"
    return [told, *queued.cancel(stored, running=now)]


def export(
    study: str, out: Path, *, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """The trials (CSV), the summary (JSON) and the figures (HTML) into a folder."""
    require_writable(out)
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    return [f"wrote {path}" for path in figures.write(out, load_optuna(url, study), leases)]


def _existing_leases(url: str) -> LeaseTable:
    if is_absent(url):
        raise StudyError(f"no studies yet: {shown(url)} does not exist; `d2n search FILE` starts one")
    return LeaseTable(url)
