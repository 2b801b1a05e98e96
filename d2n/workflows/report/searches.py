"""The section about studies: every trial in one table, how the search went, what mattered, what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from d2n import plots
from d2n.studies.cost import Spent, gain
from d2n.studies.report import importances_of
from d2n.workflows.report import figures as charts
from d2n.workflows.report import page as html
from d2n.workflows.report.book import Book
from d2n.workflows.report.comparison import best_trial, direction
from d2n.workflows.report.files import study_values
from d2n.workflows.report.studies import Study
from d2n.workflows.report.tables import Cell, Table
from d2n.workflows.report.wording import hours_text, short

_LEAST = 2  # trials with a value that a figure is drawn of


def studies_section(book: Book, studies: Sequence[Study]) -> str:
    """Trials by state, the best of each study, its cost, and how it was found."""
    if not studies:
        return html.note("No study yet; `d2n search optuna_studies/<name>.yaml` runs one.")
    header = ["study", "data set", "score", "trials", "complete", "pruned", "failed", "best", "best trial"]
    has_energy = any(study.energy_wh is not None for study in studies)
    body = [
        [
            *map(_text, study_values(study)),
            hours_text(study.hours),
            _gain(study),
            _count(study.images),
            *([_energy(study.energy_wh)] if has_energy else []),
        ]
        for study in studies
    ]
    costs = ["time", "gain an hour", "images", *(["energy"] if has_energy else [])]
    table = Table("studies", "Every study", [*header, *costs], body, text_columns=(0, 1, 2))
    remark = html.note(
        "Time: from the start to the end of each trial, all workers together. Gain an hour: how much better the best "
        "trial is than the first, by the time of all trials up to it. Images: day photographs that the trials trained "
        "on, repeated ones counted again."
        + (" Energy: of the whole GPUs and processors meanwhile, where they tell it." if has_energy else "")
    )
    parts = [book.table(table), remark]
    for study in studies:
        parts += _parts(book, study)
    return "\n".join(parts)


def _parts(book: Book, study: Study) -> list[str]:
    parts = [html.subheading(study.name)]
    if study.protocols > 1:
        parts.append(
            html.warning(f"{study.name}: trials of {study.protocols} protocols; no best among them.")
        )
    elif study.score:
        parts.append(charts.side_by_side(_charts(book, study)))
    return [*parts, _trials(book, study)]


def _charts(book: Book, study: Study) -> list[str]:
    """History, importances and parallel coordinates; none of a single trial."""
    valued = [trial for trial in study.trials if trial.values]
    if len(valued) < _LEAST:
        return []
    name, aim = study.score, direction(study.score)
    history = plots.optimization_history(study.trials, name=name, direction=aim)
    made = [
        book.figures.chart(
            history,
            f"history {study.name}",
            f"{study.name}: {short(name)} of every trial, and the best so far.",
        )
    ]
    parallel = plots.parallel_coordinates(study.trials, name=name, direction=aim, log_dims=study.log_dims)
    made.append(
        book.figures.chart(
            parallel,
            f"parallel {study.name}",
            f"{study.name}: settings of every trial with a value; the best are the brightest.",
        )
    )
    weights = importances_of(
        [(trial.params, trial.values[0]) for trial in valued if trial.state == "COMPLETE"],
        aim,
        study.log_dims,
    )
    if weights:
        caption = f"{study.name}: how much each setting matters for being among the best trials (PED-ANOVA)."
        fig = plots.importances(weights, name=name)
        made.append(book.figures.chart(fig, f"importances {study.name}", caption))
    return made


def _trials(book: Book, study: Study) -> str:
    """Every trial of the study in one table, folded where it is long."""
    knobs = list(dict.fromkeys(key for trial in study.trials for key in trial.params))
    has_seeds = any(row.num_seeds > 1 for row in study.rows)
    header = ["trial", "state", short(study.score) or "score", *knobs]
    has_energy = study.energy_wh is not None
    header += [*(["seeds"] if has_seeds else []), "time", "images", *(["energy"] if has_energy else [])]
    best = best_trial(study)
    body = []
    for row in study.rows:
        point = row.point
        cells: list[Cell | str | None] = [
            book.run(row.experiment_id, row.run_id, str(point.number)),
            point.state.lower(),
            _value_text(point),
            *(_setting_text(point.params.get(key)) for key in knobs),
        ]
        cells += [str(row.num_seeds)] if has_seeds else []
        cells += [hours_text(row.hours), _count(row.images)]
        body.append([*cells, *([_energy(row.energy_wh)] if has_energy else [])])
    kinds = ["champion" if best is not None and row.point.number == best.number else "" for row in study.rows]
    caption = f"Trials of {study.name}"
    table = book.table(
        Table(f"trials {study.name}", caption, header, body, text_columns=(0, 1), row_classes=kinds)
    )
    summary = html.escape(f"All {len(study.rows)} trials" if len(study.rows) > 1 else "The trial")
    is_open = " open" if len(study.rows) <= 12 else ""
    return f"<details{is_open}><summary>{summary}</summary>{table}</details>"


def _value_text(point: plots.TrialPoint) -> str | None:
    if not point.values:
        return None
    return f"{point.values[0]:.4g}" + (f" ± {point.std:.2g}" if point.std else "")


def _setting_text(value: object) -> str | None:
    return f"{value:.4g}" if isinstance(value, float) else None if value is None else str(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _gain(study: Study) -> str | None:
    """What an hour of trials made the score better."""
    if best_trial(study) is None:
        return None
    spent = [
        Spent(row.point.number, row.point.values[0] if _counts(row.point) else None, row.hours or 0.0)
        for row in study.rows
    ]
    found = gain(spent, direction(study.score))
    each = None if found is None else found.an_hour
    return None if each is None else f"{each:.3g}"


def _counts(point: plots.TrialPoint) -> bool:
    return point.state == "COMPLETE" and bool(point.values)


def _energy(watt_hours: float | None) -> str | None:
    if watt_hours is None:
        return None
    return f"{watt_hours / 1000:.4g} kWh" if watt_hours >= 1000 else f"{watt_hours:.4g} Wh"


def _count(images: int | None) -> str | None:
    return None if images is None else f"{images:,}".replace(",", " ")
