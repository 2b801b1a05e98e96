"""``d2n report``: the comparison with and without night augmentation, from the tracked runs, as one page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from d2n import __version__, secrets
from d2n.files.writing import require_writable
from d2n.plots.style import write_text
from d2n.workflows.report import networks, page, rows, searches, sections
from d2n.workflows.report.artifacts import with_queries, with_uncertainty
from d2n.workflows.report.book import Book
from d2n.workflows.report.comparison import by_main_score, make_blocks
from d2n.workflows.report.figures import Figures
from d2n.workflows.report.files import as_csv, as_json
from d2n.workflows.report.links import Place, champions_of, place_of
from d2n.workflows.report.reading import Runs
from d2n.workflows.report.rows import Arm, Generator

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

REPORT_FILE, CSV_FILE, JSON_FILE = "report.html", "report.csv", "report.json"
MAX_GENERATORS = 20  # of one protocol
TITLE = "Day-to-night translation as augmentation for image retrieval"


def report_command(
    out: Path, *, dataset: str | None, tracking_uri: str | None, has_latex: bool = False
) -> Path:
    """Write the report as the command line asks; the page's path comes back."""
    from d2n.tracking import runs

    return report(runs.open_store(tracking_uri), out, dataset, has_latex=has_latex)


def report(store: Store, out: Path, dataset: str | None = None, *, has_latex: bool = False) -> Path:
    """Write report.html (self-contained), report.csv, report.json and figures/ into ``out``; the page's path is given.

    With ``dataset`` only its retrieval runs, generators and studies are shown; a generator trained on another data
    set still appears beside the arm that used it. Scores of different protocols are never in one table, figure or
    correlation. ``has_latex`` writes every table into tables/ too. Raises D2NError where the store has nothing to
    show or ``out`` cannot be written.
    """
    require_writable(out)
    known = Runs(store)
    everything = rows.read_generators(known)
    arms = [with_queries(store, arm) for arm in rows.read_arms(known, everything, dataset)]
    used = {arm.generator.run_id for arm in arms if arm.generator}
    relevant = [g for g in everything if dataset in (None, g.dataset) or g.run_id in used]
    rows.require_runs(relevant, arms, dataset)
    champions = champions_of(store, {g.dataset for g in relevant})
    generators = [with_uncertainty(store, g) for g in _shown(relevant, used, champions)]
    arms = [_with_detail(arm, generators) for arm in arms]
    blocks, studies = make_blocks(arms), rows.read_studies(known, dataset)
    book = Book(Figures(out), place_of(store))
    left_out = len(relevant) - len(generators)
    contents = [
        ("With and without night augmentation", sections.arms_section(book, blocks, champions)),
        ("Generators", networks.generators_section(book, generators, used, champions, left_out)),
        (
            "Precision and recall of the generators (PRD)",
            networks.prd_section(book, store, generators, used, champions),
        ),
        ("Translations", networks.samples_section(book, store, generators, used, champions)),
        ("Studies", searches.studies_section(book, studies)),
        ("Which score predicts mAP?", sections.correlation_section(book, blocks)),
        ("Where each row comes from", sections.lineage_section(book, arms)),
        ("Which score means what for which translator", sections.meaning_section(book)),
    ]
    lead = f"Data set {dataset}." if dataset else "All data sets of the tracking store."
    write_text(out / CSV_FILE, secrets.scrub_urls(as_csv(blocks)))
    write_text(
        out / JSON_FILE,
        json.dumps(secrets.scrub_values(as_json(blocks, generators, studies)), indent=2) + "\n",
    )
    if has_latex:
        book.write_latex(out)
    return write_text(out / REPORT_FILE, page.page(TITLE, lead, contents, facts=_facts(book.place)))


def _facts(place: Place) -> list[tuple[str, str]]:
    """When and of what the report was made, and what its links open."""
    pages = f"the pages of {place.ui}" if place.is_server else f"{place.ui}, where `d2n ui` serves this store"
    today = datetime.now(UTC).date().isoformat()
    facts = [("Made on", today), ("d2n", __version__)]
    return [*facts, ("Store", place.store), ("Links open", pages)] if place.store else facts


def _shown(generators: Sequence[Generator], used: set[str], champions: set[str]) -> list[Generator]:
    """Those that an arm used, champions, and the best of each protocol: each costs the download of its score table."""
    shown: list[Generator] = []
    for group in sorted({g.group for g in generators}):
        members = sorted((g for g in generators if g.group == group), key=by_main_score)
        shown += members[:MAX_GENERATORS]
        shown += [g for g in members[MAX_GENERATORS:] if g.run_id in used or g.model_id in champions]
    return shown


def _with_detail(arm: Arm, generators: Sequence[Generator]) -> Arm:
    if arm.generator is None:
        return arm
    detailed = {g.run_id: g for g in generators}
    return dataclasses.replace(arm, generator=detailed[arm.generator.run_id])
