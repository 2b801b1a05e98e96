"""How a study stands, for people: its status, the wish to stop it, its tables and figures in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from d2n import studies
from d2n.errors import StudyError
from d2n.files.writing import require_writable
from d2n.studies import report
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import is_absent, open_optuna, shown
from d2n.studies.study import load_optuna, study_names
from d2n.workflows.search import figures


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
        lines += summary(report.status(load_optuna(url, name), leases))
    return lines


def stop(study: str, *, tracking_uri: str | None = None, study_storage: str | None = None) -> list[str]:
    """Let the running trials end and start no more; the same search goes on later."""
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    load_optuna(url, study)
    leases.set_stop(study, "after")
    held = leases.open(study)
    return [
        f"{study}: {len(held)} running trials will end, no more are started; the same `d2n search` goes on"
    ]


def export(
    study: str, out: Path, *, tracking_uri: str | None = None, study_storage: str | None = None
) -> list[str]:
    """The trials (CSV), the summary (JSON) and the figures (HTML) into a folder."""
    require_writable(out)
    url = studies.storage_url(study_storage)
    leases = _existing_leases(url)
    return [f"wrote {path}" for path in figures.write(out, load_optuna(url, study), leases)]


def summary(state: report.Status) -> list[str]:
    """A study's status for people."""
    counts = ", ".join(f"{state.counts[key]} {key.lower()}" for key in report.STATES if key in state.counts)
    lines = [
        f"study {state.name} on {state.dataset}: {counts or 'no trials yet'}; {state.hours:.2f} h of trials"
    ]
    for row in state.best[:10]:
        values = values_text(state, row)
        noise = f" +- {row.std:.2g}" if row.std is not None and len(state.objectives) == 1 else ""
        floor = f", real against real {row.floor:.4g}" if row.floor is not None else ""
        settings = ", ".join(f"{knob}={_brief(value)}" for knob, value in row.settings.items())
        lines.append(f"  best: trial {row.number}: {values}{noise}{floor} with {settings} (run {row.run_id})")
    lines += [f"  {text}" for text in (state.lead, state.left) if text]
    for lease, is_alive in state.working:
        seen = "" if is_alive else "; its worker is gone: the next claim resumes it"
        lines.append(f"  trial {lease.trial}, attempt {lease.attempt}: {lease.worker}{seen}")
    return [*lines, "  stopped: `d2n search` goes on"] if state.stop else lines


def values_text(state: report.Status, row: report.TrialRow) -> str:
    """A trial's objectives by name, in a few words."""
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(state.objectives, row.values, strict=False))


def _existing_leases(url: str) -> LeaseTable:
    if is_absent(url):
        raise StudyError(f"no studies yet: {shown(url)} does not exist; `d2n search FILE` starts one")
    return LeaseTable(url)


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
