"""Sections about the generators: their scores on both splits, their PRD curves by network, what they translate."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from d2n import plots
from d2n.core import Score
from d2n.scores import columns
from d2n.workflows.report import figures as charts
from d2n.workflows.report import grid
from d2n.workflows.report import page as html
from d2n.workflows.report.artifacts import read_prd
from d2n.workflows.report.book import Book
from d2n.workflows.report.comparison import by_main_score, main_names
from d2n.workflows.report.reading import score_base
from d2n.workflows.report.rows import Generator
from d2n.workflows.report.tables import Cell, Table
from d2n.workflows.report.wording import generator_label, score_text, short

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

MAX_SHEETS = 12  # generators whose pictures and curves are shown
CHAMPION = "★ champion"


def generators_section(
    book: Book, generators: Sequence[Generator], used: set[str], champions: set[str], left_out: int = 0
) -> str:
    """Scores of the generators on both splits, a table a pair of protocols; the champion is marked."""
    if not generators:
        return html.note("No scored generator yet; make one with `d2n train experiments/<name>.yaml`.")
    parts = (
        [html.note(f"{left_out} weaker generators of the same protocols are left out.")] if left_out else []
    )
    grouped = by_protocols(generators)
    if len(grouped) > 1:
        parts.append(
            html.warning(
                f"{len(grouped)} protocols: a table each. Scores of different protocols are not comparable; `d2n score "
                "RUN_ID` scores a run again."
            )
        )
    for number, members in enumerate(grouped, 1):
        parts += [html.note(text) for text in protocol_texts(members)]
        caption = (
            f"Scores of the generators{f', protocol {number} of {len(grouped)}' if len(grouped) > 1 else ''}"
        )
        parts.append(_table(book, caption, sorted(members, key=by_main_score), used, champions))
    return "\n".join(parts)


def by_protocols(generators: Sequence[Generator]) -> list[list[Generator]]:
    """Those whose scores may stand in one table: one protocol on each split.

    A run without scores on one of the splits stands with those whose other protocol is its own.
    """
    pairs = Counter((g.identity("val"), g.identity("test")) for g in generators)
    whole = [pair for pair, _ in pairs.most_common() if all(pair)]
    grouped: dict[tuple[str, str], list[Generator]] = {}
    for g in generators:
        own = g.identity("val"), g.identity("test")
        home = next(
            (p for p in whole if all(mine in ("", its) for mine, its in zip(own, p, strict=True))), own
        )
        grouped.setdefault(home, []).append(g)
    return [grouped[pair] for pair in sorted(grouped)]


def prd_section(
    book: Book, store: Store, generators: Sequence[Generator], used: set[str], champions: set[str]
) -> str:
    """PRD curves, a figure a network with all of its seeds, of those that an arm used first."""
    made = []
    for members in networks(_ordered(generators, used, champions))[:MAX_SHEETS]:
        curves = {}
        for generator in members:
            curve = read_prd(store, generator)
            if curve is not None:
                seed = f", seed {generator.seed}" if generator.seed and len(members) > 1 else ""
                curves[f"{generator_label(generator)}{seed}"] = curve
        if not curves:
            continue
        first = members[0]
        protocols = [g.protocol for g in members if g.protocol]
        title = generator_label(first) if len(members) == 1 else f"{first.method}, {first.dataset}"
        fig = plots.prd_curves(curves, protocols=protocols, title=title)
        caption = f"PRD of {title} on its own data ({first.split} split), {_seeds(len(curves))}. {_caption(members)}"
        made.append(book.figures.chart(fig, f"prd {title}", caption, height_px=400, is_square=True))
    return charts.side_by_side(made) or html.note("No PRD curve yet; `d2n score RUN_ID` makes one.")


def samples_section(
    book: Book, store: Store, generators: Sequence[Generator], used: set[str], champions: set[str]
) -> str:
    """The same day images by every generator, of those that an arm used first."""
    shown = _ordered(generators, used, champions)[:MAX_SHEETS]
    labels = [
        f"{generator_label(g)}{f' {CHAMPION}' if g.model_id and g.model_id in champions else ''}"
        for g in shown
    ]
    return grid.grids(store, shown, labels, book.figures)


def networks(generators: Sequence[Generator]) -> list[list[Generator]]:
    """Runs of one network that differ by their seed alone, in one protocol; in the order of their first."""
    grouped: dict[tuple[str, str], list[Generator]] = {}
    for generator in generators:
        key = generator.setting or generator.run_id, generator.group
        grouped.setdefault(key, []).append(generator)
    return list(grouped.values())


def _ordered(generators: Sequence[Generator], used: set[str], champions: set[str]) -> list[Generator]:
    """The champion first, then those that an arm used, then by score."""
    return sorted(
        generators,
        key=lambda g: (not (g.model_id and g.model_id in champions), g.run_id not in used, *by_main_score(g)),
    )


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _caption(members: Sequence[Generator]) -> str:
    """The leading score of the network: its mean over seeds; the deviation where there are two."""
    found = [names for names in (main_names([g]) for g in members) if names]
    if not found:
        return ""
    name = found[0][0]
    values = [g.scores[name].value for g in members if name in g.scores]
    if len(values) < 2:
        return f"{short(name).upper()} {values[0]:.4g}."
    return (
        f"{short(name).upper()} {statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g} over seeds."
    )


def protocol_texts(members: Sequence[Generator]) -> list[str]:
    """A sentence a split that some of them have scores on."""
    texts = []
    for split, title in (("val", "Validation"), ("test", "Test")):
        known = [g for g in members if split in g.by_split]
        if known:
            protocol = known[0].protocols.get(split)
            texts.append(f"{title}: protocol {protocol.describe() if protocol else 'not recorded'}.")
    return texts


def _table(
    book: Book, caption: str, members: Sequence[Generator], used: set[str], champions: set[str]
) -> str:
    splits = [split for split in ("val", "test") if any(split in g.by_split for g in members)]
    shown = [
        (split, name)
        for split in splits
        for name in _score_names([g.by_split.get(split, {}) for g in members])
    ]
    header = ["run", "method", "trained on", *(f"{split} {short(name)}" for split, name in shown), "used"]
    body = []
    for g in members:
        marks = [CHAMPION] if g.model_id and g.model_id in champions else []
        marks += ["by an arm"] if g.run_id in used else []
        scores = [_score_cell(g, split, name) for split, name in shown]
        run = book.run(g.experiment_id, g.run_id, f"{g.name} {g.run_id[:8]}")
        body.append([run, g.method, g.dataset, *scores, ", ".join(marks) or None])
    kinds = ["champion" if g.model_id and g.model_id in champions else "" for g in members]
    return book.table(
        Table("generators", caption, header, body, text_columns=(0, 1, 2, len(header) - 1), row_classes=kinds)
    )


def _score_names(found: Sequence[Mapping[str, Score]]) -> list[str]:
    """The main scores first, then those of places, which say whether a night is of its day."""
    names = sorted({name for one in found for name in one})
    main = [name for base in columns() for name in names if score_base(name) == base]
    return [*main, *(name for name in names if name.startswith("place/") and name not in main)]


def _score_cell(generator: Generator, split: str, name: str) -> Cell | None:
    score = generator.by_split.get(split, {}).get(name)
    return None if score is None else Cell(score_text(score))
