"""``d2n report``: the comparison with and without night augmentation, from the tracked runs, as one page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from d2n import secrets
from d2n.files.writing import require_writable
from d2n.plots.style import write_text
from d2n.workflows.report import page, rows, sections
from d2n.workflows.report.comparison import by_main_score, make_blocks
from d2n.workflows.report.files import as_csv, as_json
from d2n.workflows.report.rows import Arm, Generator

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

REPORT_FILE, CSV_FILE, JSON_FILE = "report.html", "report.csv", "report.json"
MAX_GENERATORS = 20  # of one protocol
TITLE = "Day-to-night translation as augmentation for image retrieval"


def report_command(out: Path, *, dataset: str | None, tracking_uri: str | None) -> Path:
    """Write the report as the command line asks; the page's path comes back."""
    from d2n.tracking import runs

    return report(runs.open_store(tracking_uri), out, dataset)


def report(store: Store, out: Path, dataset: str | None = None) -> Path:
    """Write report.html (self-contained), report.csv and report.json into ``out``; the page's path comes back.

    With ``dataset`` only its retrieval runs, generators and studies are shown; a generator trained on another data
    set still appears beside the arm that used it. Scores of different protocols are never in one table, figure or
    correlation. Raises D2NError where the store has nothing to show or ``out`` cannot be written.
    """
    require_writable(out)
    everything = rows.read_generators(store)
    arms = rows.read_arms(store, everything, dataset)
    used = {arm.generator.run_id for arm in arms if arm.generator}
    relevant = [g for g in everything if dataset in (None, g.dataset) or g.run_id in used]
    rows.require_runs(relevant, arms, dataset)
    generators = [rows.with_uncertainty(store, g) for g in _shown(relevant, used)]
    arms = [_with_detail(arm, generators) for arm in arms]
    blocks, studies = make_blocks(arms), rows.read_studies(store, dataset)
    contents = [
        ("With and without night augmentation", sections.arms_section(blocks)),
        ("Generators", sections.generators_section(generators, used, len(relevant) - len(generators))),
        ("Precision and recall of the generators (PRD)", sections.prd_section(store, generators, used)),
        ("Samples: day above, fake night below", sections.samples_section(store, generators, used)),
        ("Studies", sections.studies_section(studies)),
        ("Which score predicts mAP?", sections.correlation_section(blocks)),
        ("Where each row comes from", sections.lineage_section(arms)),
        ("Which score means what for which translator", sections.meaning_section()),
    ]
    lead = f"Data set {dataset}." if dataset else "All data sets of the tracking store."
    write_text(out / CSV_FILE, secrets.scrub_urls(as_csv(blocks)))
    write_text(
        out / JSON_FILE,
        json.dumps(secrets.scrub_values(as_json(blocks, generators, studies)), indent=2) + "\n",
    )
    return write_text(out / REPORT_FILE, page.page(TITLE, lead, contents))


def _shown(generators: Sequence[Generator], used: set[str]) -> list[Generator]:
    """Those that an arm used, and the best of each protocol: each costs the download of its score table."""
    shown: list[Generator] = []
    for group in sorted({g.group for g in generators}):
        members = sorted((g for g in generators if g.group == group), key=by_main_score)
        shown += members[:MAX_GENERATORS]
        shown += [g for g in members[MAX_GENERATORS:] if g.run_id in used]
    return shown


def _with_detail(arm: Arm, generators: Sequence[Generator]) -> Arm:
    if arm.generator is None:
        return arm
    detailed = {g.run_id: g for g in generators}
    return dataclasses.replace(arm, generator=detailed[arm.generator.run_id])
