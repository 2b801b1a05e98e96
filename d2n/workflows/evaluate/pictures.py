"""A query and what was found for it, in one row: right framed green, wrong red, junk grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from d2n.datasets.benchmarks import Benchmark
from d2n.datasets.ground_truth import positive_keys
from d2n.retrieval.images import crop_and_shrink, shrink
from d2n.workflows.measures import LoadImage, reader

_SIDE_PX, _FRAME_PX, _GAP_PX = 160, 4, 6
GREEN, RED, GREY, BLACK = (0, 140, 60), (200, 30, 30), (150, 150, 150), (0, 0, 0)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Found:
    """One row: the query's number and the database images ranked for it, best first."""

    query: int
    ranked: Sequence[int]


def best_and_worst(aps: np.ndarray, count: int) -> tuple[list[int], list[int]]:
    """Numbers of the ``count`` queries with the highest and with the lowest value; those without one are left out."""
    order = [int(i) for i in np.argsort(-aps, kind="stable") if not np.isnan(aps[i])]
    best = order[: min(count, (len(order) + 1) // 2)]
    return best, [one for one in reversed(order) if one not in best][:count]


def rows_picture(benchmark: Benchmark, rows: Sequence[Found], turn: bool | None = None) -> np.ndarray:
    """(H, W, 3) uint8: a row for each query, itself first."""
    load = reader(benchmark, turn=turn)
    pictures = []
    for row in rows:
        box = benchmark.boxes[row.query] if benchmark.boxes is not None else None
        query = load(benchmark.queries[row.query])
        shown = [framed(query if box is None else crop_and_shrink(query, box, max(query.shape[:2])), BLACK)]
        colours = [_colour(benchmark, row.query, number) for number in row.ranked]
        shown += tiles(load, [benchmark.database[number] for number in row.ranked], colours)
        pictures.append(side_by_side(shown))
    return _stacked(pictures)


def tiles(load: LoadImage, paths: Sequence[Path], colours: Sequence[Colour]) -> list[np.ndarray]:
    """Each image in its frame."""
    return [framed(load(path), colour) for path, colour in zip(paths, colours, strict=True)]


def framed(image: np.ndarray, colour: Colour) -> np.ndarray:
    """The image within a square of one size, on white, in a frame of that colour."""
    small = shrink(image, _SIDE_PX)
    whole = _SIDE_PX + 2 * _FRAME_PX
    square = Image.new("RGB", (whole, whole), colour)
    square.paste((255, 255, 255), (_FRAME_PX, _FRAME_PX, whole - _FRAME_PX, whole - _FRAME_PX))
    height, width = small.shape[:2]
    square.paste(Image.fromarray(small), ((whole - width) // 2, (whole - height) // 2))
    return np.asarray(square)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Squares of one size in a row."""
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def grid(squares: Sequence[np.ndarray], in_a_row: int) -> np.ndarray:
    """Squares of one size in rows."""
    rows = [squares[start : start + in_a_row] for start in range(0, len(squares), in_a_row)]
    return _stacked([side_by_side(row) for row in rows])


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, _GAP_PX), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows
    ]
    return np.concatenate(padded)


def _colour(benchmark: Benchmark, query: int, number: int) -> Colour:
    answer = benchmark.ground_truth[query]
    if any(number in answer.get(key, ()) for key in positive_keys(benchmark.kind)):
        return GREEN
    return GREY if number in answer.get("junk", ()) else RED
