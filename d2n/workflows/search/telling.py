"""A study's status in lines for people."""

from __future__ import annotations

from typing import Any

from d2n.studies import report


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
    lines += [f"  {text}" for text in (state.lead, state.cost, state.left) if text]
    for lease, is_alive in state.working:
        seen = "" if is_alive else "; its worker is gone: the next claim resumes it"
        lines.append(f"  trial {lease.trial}, attempt {lease.attempt}: {lease.worker}{seen}")
    return [*lines, "  stopped: `d2n search` goes on"] if state.stop else lines


def values_text(state: report.Status, row: report.TrialRow) -> str:
    """A trial's objectives by name, in a few words."""
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(state.objectives, row.values, strict=False))


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
