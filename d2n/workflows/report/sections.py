"""Sections about the comparison: mAP with and without night, which score goes with it, where each row comes from."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from d2n import plots
from d2n.scores import SCORES, leading
from d2n.workflows.report import lineage as lineage_graph
from d2n.workflows.report import page as html
from d2n.workflows.report import rows
from d2n.workflows.report.book import Book
from d2n.workflows.report.comparison import Block, Correlation, correlations, main_names
from d2n.workflows.report.files import lineage
from d2n.workflows.report.networks import CHAMPION
from d2n.workflows.report.rows import Arm
from d2n.workflows.report.tables import Cell, Table
from d2n.workflows.report.wording import mean_text, score_text, short, signed_text

_LEAST = 2  # generators that a correlation is computed of


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


def arms_section(book: Book, blocks: Sequence[Block], champions: set[str]) -> str:
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
    for block in blocks:
        parts += _block_parts(book, block, champions)
    return "\n".join(parts)


def correlation_section(book: Book, blocks: Sequence[Block]) -> str:
    """Which score goes with mAP, with intervals; only within a block, and never over one point."""
    parts = [
        html.paragraph(
            "Spearman's rank correlation over the generators that an arm used, turned so that plus means: a better "
            "score goes with a better mAP. The interval is a 95 % bootstrap over generators."
        )
    ]
    for block in blocks:
        found = [one for one in correlations(block) if one.result.num_points >= _LEAST]
        if not found:
            continue
        caption = f"Rank correlation of scores and mAP: {block.dataset}, protocol {block.group}"
        body = [[c.score, c.benchmark, c.result.describe()] for c in found]
        header = ["score", "benchmark", "rank correlation"]
        parts.append(book.table(Table("correlation", caption, header, body, text_columns=(0, 1, 2))))
        parts += _scatters(book, block, found)
    if len(parts) == 1:
        return html.note(
            f"Fewer than {_LEAST} arms with a scored generator in one comparison: nothing to correlate."
        )
    return "\n".join(parts)


def lineage_section(book: Book, arms: Sequence[Arm]) -> str:
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
    body = [_lineage_cells(book, arm) for arm in arms]
    table = Table("lineage", "From each arm to its data", header, body, text_columns=range(len(header)))
    return lineage_graph.picture(book, arms) + book.table(table)


def meaning_section(book: Book) -> str:
    """Which score says what of which translator."""
    header = ["score", "pix2pix", "CycleGAN, CUT", "what it tells"]
    table = Table(
        "meanings", "What a score can tell", header, meanings(), text_columns=(0, 1, 2, 3), wrap=True
    )
    return book.table(table) + html.note(
        "After chapter 4 of the thesis. A FID in another feature space than the published one carries the space in "
        "its name and compares with no published number."
    )


def _block_parts(book: Book, block: Block, champions: set[str]) -> list[str]:
    title = f"{block.dataset}, settings {block.settings}"
    parts = [html.subheading(title)]
    if block.group:
        parts.append(html.note(f"Generator scores on the {block.split} split, protocol {block.protocol}."))
    parts.append(_arms_table(book, block, champions))
    parts.append(
        html.note(
            "mAP in percent: mean ± deviation over seeds, where there are several; below it the difference with the "
            "baseline of the same settings ± its standard error, in bold where it exceeds two, and in brackets what "
            "other queries would make of it (95 %, paired). Mean mAP: the mean of "
            "all benchmarks of the row. Scores: 95 % interval or deviation, and what real images score against real "
            "ones (floor)."
        )
    )
    if not any(arm.is_baseline for arm in block.arms):
        parts.append(html.warning("No baseline of these settings: run it with night.augmentation: none."))
    arms = [arm.label for arm in block.arms]
    series = {name: [_mean_and_std(arm, name) for arm in block.arms] for name in block.benchmarks}
    caption = f"mAP of every arm: {title}. Whiskers: one deviation over seeds, where there are several."
    parts.append(book.figures.chart(plots.map_bars(arms, series), f"map {block.dataset}", caption))
    return parts


def _mean_and_std(arm: Arm, benchmark: str) -> tuple[float, float | None] | None:
    value = arm.maps.get(benchmark)
    return None if value is None else (value.mean, value.std)


def _arms_table(book: Book, block: Block, champions: set[str]) -> str:
    score_names = main_names([arm.generator for arm in block.arms if arm.generator])
    score_names += _place_names(block)
    header = ["embedding / augmentation", "generator", *(f"mAP {name}" for name in block.benchmarks)]
    if len(block.benchmarks) > 1:
        header.append("mean mAP")
    header += [*map(short, score_names), "seeds"]
    body = [_arm_cells(book, arm, block, score_names, champions) for arm in block.arms]
    kinds = [
        "baseline" if arm.is_baseline else "champion" if _is_champion(arm, champions) else ""
        for arm in block.arms
    ]
    caption = f"mAP with and without night augmentation: {block.dataset}"
    return book.table(Table("comparison", caption, header, body, text_columns=(0, 1), row_classes=kinds))


def _place_names(block: Block) -> list[str]:
    """Scores of places, which say whether a night is of its day."""
    return sorted(
        {n for arm in block.arms if arm.generator for n in arm.generator.scores if n.startswith("place/")}
    )


def _is_champion(arm: Arm, champions: set[str]) -> bool:
    return arm.generator is not None and arm.generator.model_id in champions


def _arm_cells(
    book: Book, arm: Arm, block: Block, score_names: Sequence[str], champions: set[str]
) -> list[Cell | str | None]:
    generator = arm.generator
    label = f"{arm.label} {CHAMPION}" if _is_champion(arm, champions) else arm.label
    registered = None
    if arm.generator_name:
        name, version = arm.generator_name, arm.generator_version
        link = book.place.model(name, version) if arm.experiment_id else ""
        registered = Cell(arm.registered, link)
    cells: list[Cell | str | None] = [book.run(arm.experiment_id, arm.run_id, label), registered]
    baseline = rows.baseline_of(arm, block.arms)
    cells += [_map_cell(arm, baseline, name) for name in block.benchmarks]
    if len(block.benchmarks) > 1:
        complete = [arm.maps[name].mean for name in block.benchmarks if name in arm.maps]
        whole = len(complete) == len(block.benchmarks)
        cells.append(f"{statistics.fmean(complete):.2f}" if whole else None)
    cells += [score_text(generator.scores.get(name)) if generator else None for name in score_names]
    seeds = sorted({value.num_seeds for value in arm.maps.values()})
    return [*cells, ", ".join(map(str, seeds)) or None]


def _map_cell(arm: Arm, baseline: Arm | None, benchmark: str) -> Cell | None:
    value = arm.maps.get(benchmark)
    if value is None:
        return None
    text = mean_text(value.mean, value.std)
    found = rows.difference(arm, baseline, benchmark)
    if found is None:
        return Cell(text)
    below = signed_text(found.value, found.standard_error)
    if found.interval is not None:
        below = f"{below} [{found.interval[0]:+.1f}, {found.interval[1]:+.1f}]"
    return Cell(text, below=below, is_below_bold=found.is_noise is False)


def _lineage_cells(book: Book, arm: Arm) -> list[Cell | str | None]:
    told = lineage(arm)
    g = arm.generator
    linked = {
        "retrieval_run": book.run(arm.experiment_id, arm.run_id, told["retrieval_run"]),
        "translation_run": book.run(g.experiment_id, g.run_id, g.run_id) if g else None,
    }
    return [linked.get(key, value) for key, value in told.items()]


def _scatters(book: Book, block: Block, found: Sequence[Correlation]) -> list[str]:
    """The first column's score, FID, against each benchmark."""
    made = []
    for item in found:
        both = [
            (a, g)
            for a in block.arms
            if (g := a.generator) and item.score in g.scores and item.benchmark in a.maps
        ]
        if rows.score_base(item.score) == leading():
            fig = plots.score_against_map(
                [g.scores[item.score].value for _, g in both],
                [a.maps[item.benchmark].mean for a, _ in both],
                [a.label for a, _ in both],
                score_name=item.score,
                map_name=f"mAP {item.benchmark}",
                correlation=item.result,
                protocols=[g.protocol for _, g in both if g.protocol],
            )
            caption = f"mAP {item.benchmark} against {short(item.score)}. Spearman {item.result.describe()}."
            made.append(book.figures.chart(fig, f"{item.score} {item.benchmark}", caption))
    return made
