"""Figures 5.2 and 5.3 of the thesis as one: the same day images in columns, a row for each generator."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from d2n.errors import D2NError
from d2n.tracking import names
from d2n.workflows.report import page as html
from d2n.workflows.report import sheets
from d2n.workflows.report.artifacts import read_sheet
from d2n.workflows.report.figures import Figures
from d2n.workflows.report.rows import Generator
from d2n.workflows.report.sheets import Picture, Sheet

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)
MAX_COLUMNS = 8
_LABEL_PX = 190  # room for a row's name in the file beside the page
_PLAIN_SIDE = 96  # pixels from which an image is not kept without loss in the page


@dataclass(frozen=True)
class Row:
    """A named row of pictures."""

    label: str
    pictures: tuple[Picture, ...]


def grids(store: Store, generators: Sequence[Generator], labels: Sequence[str], figures: Figures) -> str:
    """A grid for each set of day images; a sheet that cannot be taken apart is shown whole, or left out by name."""
    grouped: dict[str, list[tuple[str, Generator, Sheet]]] = {}
    parts: list[str] = []
    for generator, label in zip(generators, labels, strict=True):
        content = read_sheet(store, generator.run_id)
        if content is None:
            continue
        try:
            sheet = sheets.take_apart(content, generator.side_px, num_rows=2)
        except D2NError as error:
            logger.info("sheet of run %s: %s", generator.run_id, error)
            parts += _whole(generator.run_id, label, content)
            continue
        if sheet.day:
            key = hashlib.sha256(sheet.day[0].tobytes()).hexdigest()
            grouped.setdefault(key, []).append((label, generator, sheet))
    made = [_grid(store, members, figures) for members in grouped.values()]
    return "\n".join([*made, *parts]) or html.note("No sample sheet was logged.")


def _grid(store: Store, members: Sequence[tuple[str, Generator, Sheet]], figures: Figures) -> str:
    count = min(MAX_COLUMNS, *(len(sheet.day) for _, _, sheet in members))
    dataset = members[0][1].dataset
    rows = [Row("day", members[0][2].day[:count])]
    rows += [Row(label, sheet.night[:count]) for label, _, sheet in members]
    real = _real_nights(store, [generator for _, generator, _ in members], count)
    rows += [Row("real night", real)] if real else []
    caption = (
        f"Translation of {count} held-out day images of {dataset}: the same image in a column, "
        f"a generator in a row{', the real night below' if real else ''}."
    )
    file = figures.image(f"translations {dataset}", sheets.encode(_drawn(rows)))
    header = "".join(f'<th scope="col">{i + 1}</th>' for i in range(count))
    body = "".join(_html_row(row) for row in rows)
    table = f'<table><thead><tr><th scope="col">image</th>{header}</tr></thead><tbody>{body}</tbody></table>'
    label = html.escape(caption)
    return (
        f'<figure class="grid"><div class="wide" role="region" tabindex="0" aria-label="{label}">{table}</div>'
        f'<figcaption>{label} <a href="{file}">PNG</a></figcaption></figure>'
    )


def _real_nights(store: Store, generators: Sequence[Generator], count: int) -> tuple[Picture, ...]:
    """The photographs of the same places by night, of the first run that logged them."""
    for generator in generators:
        content = read_sheet(store, generator.run_id, names.REAL_NIGHT_SHEET)
        if content is not None:
            try:
                return sheets.take_apart(content, generator.side_px, num_rows=1).day[:count]
            except D2NError as error:
                logger.warning("left out: the real nights of run %s: %s", generator.run_id, error)
    return ()


def _html_row(row: Row) -> str:
    cells = "".join(
        f"<td>{html.image(data_uri(picture), f'{row.label}, image {i + 1}')}</td>"
        for i, picture in enumerate(row.pictures)
    )
    return f'<tr><th scope="row">{html.escape(row.label)}</th>{cells}</tr>'


def data_uri(picture: Picture) -> str:
    """A picture inside the page: as it is where it is small, else almost."""
    options = {"lossless": True} if len(picture) <= _PLAIN_SIDE else {"quality": 90}
    content = sheets.encode(picture, "webp", **options)
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _whole(run_id: str, label: str, content: bytes) -> list[str]:
    """The sheet as it is; nothing, and its name, where it is no image."""
    try:
        sheets.read_rgb(content)
    except D2NError as error:
        logger.warning("left out: the sample sheet of run %s: %s", run_id, error)
        return []
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return [html.figure(html.image(uri, f"day above fake night of {label}"), label)]


def _drawn(rows: Sequence[Row]) -> Picture:
    """The rows with their names as one image."""
    from PIL import Image, ImageDraw, ImageFont

    side, count = len(rows[0].pictures[0]), len(rows[0].pictures)
    step = side + sheets.GAP
    canvas = np.full((len(rows) * step - sheets.GAP, _LABEL_PX + count * step, 3), 255, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row.pictures):
            left = _LABEL_PX + x * step
            canvas[y * step : y * step + side, left : left + side] = picture
    image = Image.fromarray(canvas)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for y, row in enumerate(rows):
        for line, text in enumerate(_lines(row.label)[: max(1, side // 14)]):
            draw.text((2, y * step + 2 + 14 * line), text, fill=(34, 37, 43), font=font)
    return np.asarray(image)


def _lines(text: str, width: int = 30) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
