"""Sections about the generators: their scores on both splits, their PRD curves by network, what they translate."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from d2n import plots
from d2n.core import Score, ScoreProtocol
from d2n.scores import columns
from d2n.workflows.report import figures as charts
from d2n.workflows.report import grid
from d2n.workflows.report import page as html
from d2n.workflows.report.artifacts import read_prd
from d2n.workflows.report.book import Book
from d2n.workflows.report.comparison import by_main_score
from d2n.workflows.report.reading import score_base
from d2n.workflows.report.rows import Generator
from d2n.workflows.report.tables import Cell, Table
from d2n.workflows.report.wording import generator_label, score_text, short

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

_NO_CURVE = "No PRD curve yet; `d2n score RUN_ID` makes one."
_ON_OTHERS = (
    "On another data set than its own: `d2n score RUN_ID --on rsfm` adds a figure beside each of these."
)
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
    """PRD curves, a figure a network with all of its seeds, of those that an arm used first.

    On its own data, and beside it on each other data set that it was scored on: the thesis's figure 5.1.
    """
    made = []
    for members in networks(_ordered(generators, used, champions))[:MAX_SHEETS]:
        made += _prd_figures(book, store, members)
    note = "" if any(g.elsewhere for g in generators) else html.note(_ON_OTHERS)
    return charts.side_by_side(made) + note if made else html.note(_NO_CURVE)


def _prd_figures(book: Book, store: Store, members: Sequence[Generator]) -> list[str]:
    """On the network's own data, then on each other data set."""
    first = members[0]
    title = generator_label(first) if len(members) == 1 else f"{first.method}, {first.dataset}"
    own = [g.protocol for g in members if g.protocol]
    values = [{name: score.value for name, score in g.scores.items()} for g in members]
    where = f"on its own data ({first.split} split)"
    made = _prd_figure(book, _curves(store, members), own, (title, where), values)
    for dataset in sorted({name for g in members for name in g.elsewhere}):
        known = [g for g in members if dataset in g.elsewhere]
        for identity in dict.fromkeys(_identity(g, dataset) for g in known):
            alike = [g for g in known if _identity(g, dataset) == identity]
            told = [g.elsewhere[dataset] for g in alike]
            protocols = [one.protocol for one in told if one.protocol]
            names = title, f"on {_title_of(dataset)}"
            curves = _curves(store, alike, dataset)
            made += _prd_figure(book, curves, protocols, names, [one.scores for one in told])
    return made


def _prd_figure(
    book: Book,
    curves: Mapping[str, tuple[list[float], list[float]]],
    protocols: Sequence[ScoreProtocol],
    names: tuple[str, str],
    values: Sequence[Mapping[str, float]],
) -> list[str]:
    """One figure with its caption; none where there is no curve."""
    if not curves:
        return []
    title, where = names
    fig = plots.prd_curves(curves, protocols=protocols, title=title)
    caption = f"PRD of {title} {where}, {_seeds(len(curves))}. {_caption(values)}".rstrip()
    name = f"prd {title}" if where.startswith("on its own") else f"prd {title} {where}"
    return [book.figures.chart(fig, name, caption, height_px=400, is_square=True)]


def _curves(
    store: Store, members: Sequence[Generator], dataset: str | None = None
) -> dict[str, tuple[list[float], list[float]]]:
    found = {}
    for generator in members:
        curve = read_prd(store, generator, dataset)
        if curve is not None:
            seed = f", seed {generator.seed}" if generator.seed and len(members) > 1 else ""
            found[f"{generator_label(generator)}{seed}"] = curve
    return found


def _identity(generator: Generator, dataset: str) -> str:
    protocol = generator.elsewhere[dataset].protocol
    return protocol.identity if protocol else ""


def _title_of(dataset: str) -> str:
    """The published name of a set; the name itself of others."""
    from d2n.datasets import SETS

    return SETS[dataset].title if dataset in SETS else dataset


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


def _caption(scores: Sequence[Mapping[str, float]]) -> str:
    """The leading score of the network: its mean over seeds; the deviation where there are two."""
    name = _leading({name for one in scores for name in one})
    if name is None:
        return ""
    values = [one[name] for one in scores if name in one]
    if len(values) < 2:
        return f"{short(name).upper()} {values[0]:.4g}."
    return (
        f"{short(name).upper()} {statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g} over seeds."
    )


def _leading(names: Collection[str]) -> str | None:
    """The first of the report's columns that is there: FID, in whichever feature space."""
    return next((name for base in columns() for name in sorted(names) if score_base(name) == base), None)


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
