"""The sections of the report as HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from d2n import plots
from d2n.core import Score
from d2n.scores import SCORES, leading
from d2n.workflows.report import page as html
from d2n.workflows.report import rows
from d2n.workflows.report.comparison import (
    Block,
    Correlation,
    by_main_score,
    correlations,
    direction,
    main_names,
)
from d2n.workflows.report.files import lineage, study_values
from d2n.workflows.report.rows import Arm, Generator, Study

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

MAX_SHEETS = 12  # generators whose pictures and curves are shown


def meanings() -> list[tuple[str, ...]]:
    """What a score can tell of which translator, after chapter 4 of the thesis; those that tell the same in one row.

    Formulas are in docs/protocol.md.
    """
    told: dict[tuple[str, ...], list[str]] = {}
    for kind in SCORES.values():
        if kind.tells:
            told.setdefault((kind.of_paired, kind.of_unpaired, kind.tells), []).append(kind.name)
    found = [(", ".join(names), *said) for said, names in told.items()]
    return [*found, ("mAP", "yes", "yes", "the purpose itself; all the others only stand for it")]


def arms_section(blocks: Sequence[Block]) -> str:
    """mAP of every arm beside its baseline's, a table and a figure a block."""
    if not blocks:
        return html.note(
            "No finished retrieval run yet; make one with `d2n retrieve experiments/<name>.yaml`."
        )
    parts = []
    if len(blocks) > 1:
        parts.append(
            html.warning(
                f"{len(blocks)} tables: runs of different settings, and scores of different protocols, are never "
                "compared. A number of one table says nothing about a number of another."
            )
        )
    for number, block in enumerate(blocks):
        parts += _block_parts(block, number)
    return "\n".join(parts)


def generators_section(generators: Sequence[Generator], used: set[str], left_out: int = 0) -> str:
    """Scores of the generators, a table a protocol; those that an arm used are marked."""
    if not generators:
        return html.note("No scored generator yet; make one with `d2n train experiments/<name>.yaml`.")
    groups = sorted({g.group for g in generators})
    parts = (
        [html.note(f"{left_out} weaker generators of the same protocols are left out.")] if left_out else []
    )
    if len(groups) > 1:
        parts.append(
            html.warning(
                f"{len(groups)} protocols: a table each. Scores of different protocols are not comparable; `d2n score "
                "RUN_ID` scores a run again."
            )
        )
    for group in groups:
        members = sorted((g for g in generators if g.group == group), key=by_main_score)
        protocol = members[0].protocol
        parts.append(html.note(f"Protocol {protocol.describe() if protocol else group}."))
        parts.append(_generators_table(members, used))
    return "\n".join(parts)


def prd_section(store: Store, generators: Sequence[Generator], used: set[str]) -> str:
    """PRD curves, a figure a protocol, of those that an arm used first."""
    parts = []
    for number, group in enumerate(sorted({g.group for g in generators})):
        members = sorted(
            (g for g in generators if g.group == group),
            key=lambda g: (g.run_id not in used, *by_main_score(g)),
        )
        curves, protocols = {}, []
        for generator in members[:MAX_SHEETS]:
            curve = rows.read_prd(store, generator)
            if curve is not None:
                curves[_generator_label(generator)] = curve
                protocols += [generator.protocol] if generator.protocol else []
        if curves:
            parts.append(html.note(f"Protocol {protocols[0].describe() if protocols else group}."))
            parts.append(plots.to_html(plots.prd_curves(curves, protocols=protocols), f"prd-{number}"))
    return "\n".join(parts) or html.note("No PRD curve yet; `d2n score RUN_ID` makes one.")


def samples_section(store: Store, generators: Sequence[Generator], used: set[str]) -> str:
    """Sample sheets inside the page, of those that an arm used first."""
    order = sorted(generators, key=lambda g: (g.run_id not in used, *by_main_score(g)))
    parts = []
    for generator in order[:MAX_SHEETS]:
        png = rows.read_sample_sheet(store, generator)
        if png is not None:
            uri = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            parts.append(html.picture(uri, _generator_label(generator)))
    return "\n".join(parts) or html.note("No sample sheet was logged.")


def studies_section(studies: Sequence[Study]) -> str:
    """Trials by state, the best of each study, and how it was found."""
    if not studies:
        return html.note("No study yet; `d2n search optuna_studies/<name>.yaml` runs one.")
    header = ["study", "data set", "score", "trials", "complete", "pruned", "failed", "best", "best trial"]
    body, figures = [], []
    for number, study in enumerate(studies):
        body.append([html.cell(value) for value in study_values(study)])
        if study.protocols > 1:
            figures.append(
                html.warning(f"{study.name}: trials of {study.protocols} protocols; no best among them.")
            )
        elif study.score:
            aim = direction(study.score)
            fig = plots.optimization_history(study.trials, name=study.score, direction=aim)
            figures += [html.subheading(study.name), plots.to_html(fig, f"study-{number}", 380)]
    return "\n".join([html.table(header, body, text_columns=(0, 1, 2)), *figures])


def correlation_section(blocks: Sequence[Block]) -> str:
    """Which score goes with mAP, with intervals; only within a block."""
    parts = [
        html.paragraph(
            "Spearman's rank correlation over the generators that an arm used, turned so that plus means: a better "
            "score goes with a better mAP. The interval is a 95 % bootstrap over generators."
        )
    ]
    for number, block in enumerate(blocks):
        found = correlations(block)
        if not found:
            continue
        parts.append(html.subheading(f"{block.dataset}, protocol {block.group}"))
        body = [[html.cell(c.score), html.cell(c.benchmark), html.cell(c.result.describe())] for c in found]
        parts.append(html.table(["score", "benchmark", "rank correlation"], body, text_columns=(0, 1, 2)))
        parts += [
            plots.to_html(fig, f"scatter-{number}-{i}", 420) for i, fig in enumerate(_scatters(block, found))
        ]
    if len(parts) == 1:
        parts.append(html.note("No arm with a scored generator yet: nothing to correlate."))
    return "\n".join(parts)


def lineage_section(arms: Sequence[Arm]) -> str:
    """From each row of the comparison back to its runs, data and commits."""
    if not arms:
        return html.note("No arm yet.")
    header = [
        "arm",
        "retrieval run",
        "generator",
        "translation run",
        "trial",
        "study",
        "data digests",
        "commits",
    ]
    body = [[html.cell(value) for value in lineage(arm).values()] for arm in arms]
    return html.table(header, body, text_columns=tuple(range(len(header))))


def meaning_section() -> str:
    """Which score says what of which translator."""
    body = [[html.cell(value) for value in line] for line in meanings()]
    header = ["score", "pix2pix", "CycleGAN, CUT", "what it tells"]
    return html.table(header, body, text_columns=(0, 1, 2, 3), wrap=True) + html.note(
        "After chapter 4 of the thesis. A FID in another feature space than the published one carries the space in "
        "its name and compares with no published number."
    )


def _block_parts(block: Block, number: int) -> list[str]:
    parts = [html.subheading(f"{block.dataset}, settings {block.settings}")]
    if block.group:
        parts.append(html.note(f"Generator scores on the {block.split} split, protocol {block.protocol}."))
    parts.append(_arms_table(block))
    parts.append(
        html.note(
            "mAP in percent: mean ± deviation over seeds; beside it the difference with the baseline of the same "
            "settings ± its standard error, in bold where it exceeds two. FID and KID: 95 % interval or deviation, "
            "and what real images score against real ones."
        )
    )
    if not any(arm.is_baseline for arm in block.arms):
        parts.append(html.warning("No baseline of these settings: run it with night.augmentation: none."))
    arms = [arm.label for arm in block.arms]
    series = {name: [_mean_and_std(arm, name) for arm in block.arms] for name in block.benchmarks}
    parts.append(plots.to_html(plots.map_bars(arms, series), f"map-{number}", 420))
    return parts


def _mean_and_std(arm: Arm, benchmark: str) -> tuple[float, float | None] | None:
    value = arm.maps.get(benchmark)
    return None if value is None else (value.mean, value.std)


def _arms_table(block: Block) -> str:
    score_names = main_names([arm.generator for arm in block.arms if arm.generator])
    header = ["embedding / augmentation", "method", "generator"]
    for name in block.benchmarks:
        header += [f"mAP {name}", "difference"]
    if len(block.benchmarks) > 1:
        header.append("mean mAP")
    header += [_short(name) for name in score_names]
    body = [_arm_cells(arm, block, score_names) for arm in block.arms]
    kinds = ["baseline" if arm.is_baseline else "" for arm in block.arms]
    return html.table(header, body, text_columns=(0, 1, 2), row_classes=kinds)


def _arm_cells(arm: Arm, block: Block, score_names: Sequence[str]) -> list[str]:
    generator = arm.generator
    registered = f"{arm.generator_name} v{arm.generator_version}" if arm.generator_name else None
    cells = [html.cell(arm.label), html.cell(generator.method if generator else None), html.cell(registered)]
    baseline = rows.baseline_of(arm, block.arms)
    for name in block.benchmarks:
        value = arm.maps.get(name)
        cells.append(html.cell(None if value is None else _mean_text(value.mean, value.std)))
        cells.append(_difference_cell(rows.difference(arm, baseline, name)))
    if len(block.benchmarks) > 1:
        complete = [arm.maps[name].mean for name in block.benchmarks if name in arm.maps]
        whole = len(complete) == len(block.benchmarks)
        cells.append(html.cell(f"{sum(complete) / len(complete):.2f}" if whole else None))
    cells += [
        html.cell(_score_text(generator.scores.get(name)) if generator else None) for name in score_names
    ]
    return cells


def _short(score_name: str) -> str:
    """A score's name without its feature space, which the protocol above the table tells; FID keeps it in short."""
    base, _, space = score_name.partition(".")
    return f"{base} ({space.removeprefix('retrieval-')})" if space and base == leading() else base


def _difference_cell(difference: rows.Difference | None) -> str:
    if difference is None:
        return html.cell(None)
    text = html.cell(_signed_text(difference.value, difference.standard_error))
    return f"<b>{text}</b>" if difference.is_noise is False else text


def _generators_table(members: Sequence[Generator], used: set[str]) -> str:
    score_names = main_names(members)
    header = ["run", "method", "trained on", "split", *map(_short, score_names), "used by an arm"]
    body = [
        [
            html.cell(f"{g.name} {g.run_id[:8]}"),
            html.cell(g.method),
            html.cell(g.dataset),
            html.cell(g.split),
            *(html.cell(_score_text(g.scores.get(name))) for name in score_names),
            html.cell("yes" if g.run_id in used else None),
        ]
        for g in members
    ]
    return html.table(header, body, text_columns=(0, 1, 2, 3))


def _scatters(block: Block, found: Sequence[Correlation]) -> list[Any]:
    """The first column's score, FID, against each benchmark."""
    figures = []
    for item in found:
        both = [
            (a, g)
            for a in block.arms
            if (g := a.generator) and item.score in g.scores and item.benchmark in a.maps
        ]
        if rows.score_base(item.score) == leading() and len(both) >= 2:
            figures.append(
                plots.score_against_map(
                    [g.scores[item.score].value for _, g in both],
                    [a.maps[item.benchmark].mean for a, _ in both],
                    [a.label for a, _ in both],
                    score_name=item.score,
                    map_name=f"mAP {item.benchmark}",
                    correlation=item.result,
                    protocols=[g.protocol for _, g in both if g.protocol],
                )
            )
    return figures


def _generator_label(generator: Generator) -> str:
    return f"{generator.method}, {generator.dataset}, {generator.run_id[:8]}"


def _score_text(score: Score | None) -> str | None:
    if score is None:
        return None
    text = f"{score.value:.4g}"
    if score.interval is not None:
        text += f" [{score.interval[0]:.4g}, {score.interval[1]:.4g}]"
    elif score.std is not None:
        text += f" ± {score.std:.2g}"
    return text + (f", floor {score.floor:.3g}" if score.floor is not None else "")


def _mean_text(mean: float, std: float | None) -> str:
    return f"{mean:.2f}" + (f" ± {std:.2f}" if std is not None else "")


def _signed_text(value: float, error: float | None) -> str:
    return f"{value:+.2f}" + (f" ± {error:.2f}" if error is not None else "")
