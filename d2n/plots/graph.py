"""A lineage as a picture: what was made from what, from left to right, as SVG that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from d2n.plots.style import COLORS, FONT, GREY

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LONGEST = 250, 44, 90, 18, 36


@dataclass(frozen=True)
class Box:
    """One thing, with what kind it is and where its page is."""

    label: str
    kind: str
    url: str = ""


@dataclass(frozen=True)
class Arrow:
    """``source`` was made with ``target``."""

    source: str
    target: str
    role: str


def lineage(boxes: Mapping[str, Box], arrows: Sequence[Arrow], root: str) -> str:
    """An SVG of boxes in columns; what a box was made from stands left of it."""
    columns = _columns(boxes, arrows)
    places = _places(columns)
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + 2 * _GAP_Y
    width = (max(columns.values(), default=0) + 1) * (_WIDTH + _GAP_X)
    kinds = sorted({box.kind for box in boxes.values()})
    colors = {kind: COLORS[number % len(COLORS)] for number, kind in enumerate(kinds)}
    parts = [_arrow(arrow, places) for arrow in arrows]
    parts += [_box(box, places[key], colors[box.kind], key == root) for key, box in boxes.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{html.escape(FONT)}" font-size="12">{"".join(parts)}</svg>\n'
    )


def _columns(boxes: Mapping[str, Box], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Box → how many steps what it was made from goes back; a circle ends after as many rounds as there are boxes."""
    column = dict.fromkeys(boxes, 0)
    for _ in boxes:
        before = dict(column)
        for arrow in arrows:
            column[arrow.source] = max(column[arrow.source], min(column[arrow.target] + 1, len(boxes) - 1))
        if column == before:
            break
    return column


def _places(columns: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    rows: dict[int, int] = {}
    places = {}
    for key, column in columns.items():
        row = rows.get(column, 0)
        rows[column] = row + 1
        places[key] = (column * (_WIDTH + _GAP_X) + _GAP_X // 2, row * (_HEIGHT + _GAP_Y) + _GAP_Y)
    return places


def _box(box: Box, place: tuple[int, int], color: str, is_root: bool) -> str:
    x, y = place
    label = box.label if len(box.label) <= _LONGEST else f"{box.label[: _LONGEST - 1]}…"
    drawn = (
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="white" stroke="{color}" '
        f'stroke-width="{3 if is_root else 1.5}"/><text x="{x + 10}" y="{y + 17}" fill="{GREY}">'
        f'{html.escape(box.kind)}</text><text x="{x + 10}" y="{y + 34}">{html.escape(label)}</text>'
        f"<title>{html.escape(box.label)}</title>"
    )
    return f'<a href="{html.escape(box.url)}"><g>{drawn}</g></a>' if box.url else f"<g>{drawn}</g>"


def _arrow(arrow: Arrow, places: Mapping[str, tuple[int, int]]) -> str:
    (x0, y0), (x1, y1) = places[arrow.target], places[arrow.source]
    start, end = x0 + _WIDTH, x1
    top, bottom = y0 + _HEIGHT // 2, y1 + _HEIGHT // 2
    half = (start + end) // 2
    return (
        f'<path d="M{start} {top} C{half} {top} {half} {bottom} {end} {bottom}" fill="none" stroke="{GREY}"/>'
        f'<text x="{half}" y="{(top + bottom) // 2 - 4}" fill="{GREY}" text-anchor="middle" font-size="10">'
        f"{html.escape(arrow.role)}</text>"
    )
