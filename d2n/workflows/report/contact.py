"""The contact sheet: the same held-out photographs by every run at every step, in one page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d2n import __version__, secrets
from d2n.core import Score
from d2n.errors import D2NError
from d2n.files.scratch import scratch
from d2n.files.writing import require_writable
from d2n.plots.style import write_text
from d2n.scores import columns
from d2n.tracking import names
from d2n.workflows.report import page, rows, sheets
from d2n.workflows.report.comparison import sign
from d2n.workflows.report.links import place_of
from d2n.workflows.report.networks import by_protocols, protocol_texts
from d2n.workflows.report.reading import score_base
from d2n.workflows.report.rows import Generator
from d2n.workflows.report.sheets import Picture, Sheet
from d2n.workflows.report.wording import short

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
CONTACT_FILE = "contact-sheet.html"
THUMBNAIL_PX = 64
MAX_IMAGES = 8
MAX_STEPS = 12  # of a run: the first, the last, and others evenly between


@dataclass(frozen=True)
class Strip:
    """A run's pictures: a row a step, a column an image, as one sprite sheet."""

    label: str
    network: str  # the same for all seeds of a network
    link: str
    steps: tuple[int, ...]
    scores: Mapping[tuple[str, str], float]  # by split and name
    sprite: bytes  # WebP


@dataclass(frozen=True)
class Panel:
    """Runs that may be sorted together: the same day images, one protocol."""

    title: str
    scores: tuple[tuple[str, str], ...]  # split and name
    day: bytes  # WebP, one row
    num_images: int
    strips: tuple[Strip, ...]


def contact_command(out: Path, *, dataset: str | None, tracking_uri: str | None) -> Path:
    """Write the contact sheet as the command line asks; the page's path comes back."""
    from d2n.tracking import runs

    return contact_sheet(runs.open_store(tracking_uri), out, dataset)


def contact_sheet(store: Store, out: Path, dataset: str | None = None) -> Path:
    """Write contact-sheet.html into ``out``: every scored run of the data set, or of all; the page's path.

    Runs with other day images or of another protocol stand in a panel of their own. D2NError where no run has
    sample images, or ``out`` cannot be written.
    """
    require_writable(out)
    place = place_of(store)
    generators = rows.read_generators(store, dataset)
    shown = {generator.run_id: _series(store, generator) for generator in generators}
    grouped: dict[str, list[Generator]] = {}
    for generator in generators:
        if shown[generator.run_id]:
            first = next(iter(shown[generator.run_id].values())).day[0]
            grouped.setdefault(hashlib.sha256(first.tobytes()).hexdigest(), []).append(generator)
    if not grouped:
        of = f" of {dataset}" if dataset else ""
        raise D2NError(
            f"no scored run{of} has sample images; make one with `d2n train experiments/<name>.yaml` and "
            "evaluation.num_samples above 0"
        )
    panels = [
        _panel(
            [(g, shown[g.run_id]) for g in members], [place.run(g.experiment_id, g.run_id) for g in members]
        )
        for same_images in grouped.values()
        for members in by_protocols(same_images)
    ]
    return write_text(out / CONTACT_FILE, contact_page(panels, place.store))


def contact_page(panels: Sequence[Panel], store: str = "") -> str:
    """The page of these panels."""
    data = json.dumps(secrets.scrub_values([_as_data(panel) for panel in panels]))
    count = sum(len(panel.strips) for panel in panels)
    lead = (
        f"{count} run{'s' if count != 1 else ''}, the same held-out photographs by night. d2n {__version__}"
    )
    template = page.template("contact.html")
    return template.render(
        lead=f"{lead}, {store}." if store else f"{lead}.",
        style=page.style(),
        data=data.replace("<", "\\u003c"),  # no name ends the script
    )


def sprite(rows_of_pictures: Iterable[Sequence[Picture]]) -> bytes:
    """Rows of pictures as one WebP of thumbnails without gaps."""
    lines = [np.concatenate([_thumbnail(one) for one in row], axis=1) for row in rows_of_pictures]
    return sheets.encode(np.concatenate(lines, axis=0), "webp", quality=80, method=2)


def _series(store: Store, generator: Generator) -> dict[int, Sheet]:
    """A run's sheets by step, as many as are shown; a sheet that is none is left out by name."""
    paths = store.image_paths(generator.run_id, names.SAMPLES)
    known = sorted(step for step in paths if step > 0)  # at step 0 a run shows the day images alone
    chosen = known
    if len(known) > MAX_STEPS:
        chosen = [known[round(i * (len(known) - 1) / (MAX_STEPS - 1))] for i in range(MAX_STEPS)]
    found = {}
    for step in chosen:
        try:
            with scratch("report") as folder:
                content = store.artifact(generator.run_id, paths[step], folder).read_bytes()
            sheet = sheets.take_apart(content, generator.side_px)
        except D2NError as error:
            logger.warning("left out: step %s of run %s: %s", step, generator.run_id, error)
            continue
        if sheet.night:
            found[step] = sheet
    return found


def _panel(members: Sequence[tuple[Generator, dict[int, Sheet]]], links: Sequence[str]) -> Panel:
    count = min(MAX_IMAGES, *(len(sheet.day) for _, series in members for sheet in series.values()))
    first, series = members[0]
    generators = [generator for generator, _ in members]
    told = "; ".join(text.rstrip(".") for text in protocol_texts(generators))
    return Panel(
        title=f"{first.dataset}. {told}",
        scores=tuple(
            (split, name)
            for split in ("val", "test")
            for name in _directed([g.by_split.get(split, {}) for g in generators])
        ),
        day=sprite([next(iter(series.values())).day[:count]]),
        num_images=count,
        strips=tuple(
            Strip(
                label=_label(generator),
                network=generator.setting or generator.run_id,
                link=link,
                steps=tuple(found),
                scores={
                    (split, name): score.value
                    for split, found_there in generator.by_split.items()
                    for name, score in found_there.items()
                },
                sprite=sprite([sheet.night[:count] for sheet in found.values()]),
            )
            for (generator, found), link in zip(members, links, strict=True)
        ),
    )


def _directed(found: Sequence[Mapping[str, Score]]) -> list[str]:
    """Names of scores that can be sorted by: those of the report's columns first."""
    known = sorted({name for one in found for name in one if sign(name)})
    first = [name for base in columns() for name in known if score_base(name) == base]
    return [*first, *(name for name in known if name not in first)]


def _label(generator: Generator) -> str:
    trial = f", trial {generator.trial} of {generator.study}" if generator.study else ""
    seed = f", seed {generator.seed}" if generator.seed else ""
    return f"{generator.method}{trial}{seed}, {generator.run_id[:8]}"


def _thumbnail(picture: Picture) -> Picture:
    from PIL import Image

    if picture.shape[0] == THUMBNAIL_PX:
        return picture
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def _as_data(panel: Panel) -> dict[str, Any]:
    """A panel as the page's script reads it."""
    return {
        "title": panel.title,
        "day": _text(panel.day),
        "images": panel.num_images,
        "scores": [
            {"name": f"{split}/{name}", "label": f"{split} {short(name)}", "sign": sign(name)}
            for split, name in panel.scores
        ],
        "runs": [
            {
                "label": strip.label,
                "network": strip.network,
                "link": strip.link,
                "steps": list(strip.steps),
                "scores": {
                    f"{split}/{name}": float(f"{value:.4g}") for (split, name), value in strip.scores.items()
                },
                "sprite": _text(strip.sprite),
            }
            for strip in panel.strips
        ],
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
