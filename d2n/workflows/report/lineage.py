"""The report's picture of where the arms come from: data, study, translation run, version, retrieval run."""

from __future__ import annotations

from collections.abc import Sequence

from d2n import plots
from d2n.plots import Arrow, Box
from d2n.workflows.report import page as html
from d2n.workflows.report.book import Book
from d2n.workflows.report.rows import Arm

MAX_ARMS = 16  # more arrows than one follows


def picture(book: Book, arms: Sequence[Arm]) -> str:
    """What each arm was made from, left to right, as SVG; '' without arms. A file of one thing's: `d2n lineage`."""
    if not arms:
        return ""
    shown = sorted(arms, key=lambda arm: (not arm.is_baseline, arm.generator is None))[:MAX_ARMS]
    boxes: dict[str, Box] = {}
    arrows: list[Arrow] = []
    for arm in shown:
        _add(book, arm, boxes, arrows)
    svg = plots.lineage(boxes, list(dict.fromkeys(arrows)), "")
    caption = f"From data to mAP, left to right: {len(shown)} of {len(arms)} arms."
    return (
        f'<figure><div class="chart" role="group" tabindex="0" aria-label="{html.escape(caption)} The table below '
        f'says the same.">{svg}</div><figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def _add(book: Book, arm: Arm, boxes: dict[str, Box], arrows: list[Arrow]) -> None:
    """The boxes and arrows of one arm; what others have already stays."""
    run = f"run {arm.run_id}"
    boxes[run] = Box(arm.label, "retrieval run", book.place.run(arm.experiment_id, arm.run_id))
    data, g = _data(boxes, arm.dataset, arm.dataset_digest), arm.generator
    if g is None or (g.dataset, g.dataset_digest) != (arm.dataset, arm.dataset_digest):
        arrows.append(Arrow(run, data, "trained on"))  # else its generator's arrow leads there
    if arm.generator_name:
        version = f"version {arm.generator_name} {arm.generator_version}"
        link = book.place.model(arm.generator_name, arm.generator_version) if arm.experiment_id else ""
        boxes[version] = Box(f"{arm.generator_name} v{arm.generator_version}", "registered generator", link)
        arrows.append(Arrow(run, version, "its nights"))
    elif g is not None:
        version = run
    if g is None:
        return
    translation = f"run {g.run_id}"
    boxes[translation] = Box(
        f"{g.method}, {g.run_id[:8]}", "translation run", book.place.run(g.experiment_id, g.run_id)
    )
    arrows.append(Arrow(version, translation, "trained by"))
    arrows.append(Arrow(translation, _data(boxes, g.dataset, g.dataset_digest), "trained on"))
    if g.study:
        study = f"study {g.study}"
        boxes.setdefault(study, Box(g.study, "study"))
        arrows.append(Arrow(translation, study, f"trial {g.trial}" if g.trial else "part of"))


def _data(boxes: dict[str, Box], dataset: str, digest: str) -> str:
    key = f"data {dataset} {digest}"
    boxes.setdefault(key, Box(f"{dataset} {digest[:12]}", "data"))
    return key
