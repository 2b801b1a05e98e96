"""A study's figures and tables, on its parent run and in a folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2n.studies import report
from d2n.studies.leases import LeaseTable
from d2n.studies.report import TrialRow
from d2n.studies.study import DEFINITION, best_trials
from d2n.tracking import names, notes
from d2n.tracking.records import StudyRecord
from d2n.tracking.runs import Store
from d2n.workflows.search.telling import values_text
from d2n.workflows.search.trial_scores import short

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)
GROWTH = 1.25  # figures are made anew when a quarter more trials ended: their cost a trial stays flat


def figures(study: optuna.Study, rows: list[TrialRow]) -> dict[str, Any]:
    """Every figure of a study by its name; PED-ANOVA importances and the Pareto front where they exist."""
    from d2n import plots

    stored = study.user_attrs.get(DEFINITION, {})
    objectives = stored.get("objectives", [{"score": "objective", "direction": "minimize"}])
    name, direction = objectives[0]["score"], objectives[0]["direction"]
    space = stored.get("space", {})
    log_dims = [short(knob, space) for knob, dimension in space.items() if dimension.get("log")]
    points = [_point(row, space) for row in rows]
    best = best_trials(study) if len(objectives) == 1 else []
    leader = next((row for row in rows if best and row.number == best[0].number), None)
    made = {
        "history": plots.optimization_history(
            points,
            name=name,
            direction=direction,
            floor=leader.floor if leader else None,
            noise=leader.std if leader else None,
        ),
        "parallel_coordinates": plots.parallel_coordinates(
            points, name=name, direction=direction, log_dims=log_dims
        ),
        "slices": plots.slices(points, name=name, log_dims=log_dims),
        "intermediate_values": plots.intermediate_values(points, name=name, x="step"),
        "timeline": plots.timeline(points),
    }
    if weights := report.importances(study):
        made["importances"] = plots.importances(
            {short(knob, space): weight for knob, weight in weights.items()}, name=name
        )
    if len(objectives) == 2:
        made["pareto_front"] = plots.pareto_figure(
            points,
            names=[one["score"] for one in objectives],
            directions=[one["direction"] for one in objectives],
        )
    return made


def refresh(
    store: Store, study: optuna.Study, leases: LeaseTable, run_id: str, *, force: bool = False
) -> bool:
    """Write figures, table and summary to the parent run when enough trials ended since the last time."""
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    if not leases.claim_summary(study.study_name, ended, GROWTH) and not force:
        return False
    rows = report.rows(study, leases)
    parent = store.get(run_id)
    run = store.append_to(run_id)  # a step of its metrics is logged once
    run.log_text(page(study.study_name, figures(study, rows)), "plots/study.html")
    state = report.status(study, leases)
    run.log_table(report.columns(rows, state.objectives), "tables/trials.json")
    run.log_text(csv_text(report.columns(rows, state.objectives)), "tables/trials.csv")
    run.log_text(json.dumps(_summary(state), indent=2), "summary.json")
    run.set_tags(_counts(state, parent.tags))
    if state.best:
        found = dict(zip(state.objectives, state.best[0].values, strict=False))
        StudyRecord.best(found).write(run, step=ended)
    notes.write(store, parent, _note(state, parent.experiment_id))
    return True


def page(title: str, made: dict[str, Any]) -> str:
    """All figures on one page that needs no network."""
    from d2n.plots.style import small_page

    return small_page(title, {f"figure-{name}": figure for name, figure in made.items()})


def csv_text(columns: dict[str, list[Any]]) -> str:
    """A table as CSV."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def write(folder: Path, study: optuna.Study, leases: LeaseTable) -> list[Path]:
    """The trials (CSV), the status (JSON) and each figure (HTML) into a folder."""
    from d2n.plots.style import write_html, write_text

    rows = report.rows(study, leases)
    state = report.status(study, leases)
    written = [
        write_text(folder / "trials.csv", csv_text(report.columns(rows, state.objectives))),
        write_text(folder / "summary.json", json.dumps(_summary(state), indent=2)),
    ]
    return written + [
        write_html(figure, folder / f"{name}.html") for name, figure in figures(study, rows).items()
    ]


def _summary(state: report.Status) -> dict[str, Any]:
    return {
        "study": state.name,
        "dataset": state.dataset,
        "trials": dict(state.counts),
        "hours": round(state.hours, 4),
        "best": [
            {
                "trial": row.number,
                "values": dict(zip(state.objectives, row.values, strict=False)),
                "std": row.std,
                "floor": row.floor,
                "settings": dict(row.settings),
                "run_id": row.run_id,
                "gpu_hours": round(row.gpu_hours, 4),
            }
            for row in state.best
        ],
        "lead": state.lead,
        "cost": state.cost,
    }


def _counts(state: report.Status, former: Mapping[str, str]) -> dict[str, int]:
    """Trials by state as tags; 0 for a state that had trials when the tags were written last."""
    gone = {tag: 0 for tag in former if tag.startswith(names.TRIALS)}
    return gone | {f"{names.TRIALS}{key.lower()}": count for key, count in state.counts.items()}


def _note(state: report.Status, experiment_id: str) -> str:
    counts = ", ".join(f"{count} {key.lower()}" for key, count in state.counts.items())
    leaders = [
        notes.leader(row.number, values_text(state, row), experiment_id, row.run_id)
        for row in state.best[:10]
    ]
    said = ". ".join(text for text in (state.lead, state.cost) if text)
    return notes.of_study(state.name, counts or "no trials yet", leaders, said)


def _point(row: TrialRow, space: Mapping[str, Any]) -> Any:
    from d2n import plots

    spans = (plots.Span(row.worker, row.start, row.end, row.attempt),) if row.start and row.worker else ()
    return plots.TrialPoint(
        number=row.number,
        state=row.state,
        values=row.values,
        params={short(knob, space): value for knob, value in row.settings.items()},
        std=row.std,
        intermediate=row.intermediate,
        spans=spans,
    )
