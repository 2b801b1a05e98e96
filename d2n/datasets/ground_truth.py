"""Which database images answer which query: built from scenes, read and written as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from d2n.config import nearest
from d2n.datasets.index import ImageRow, Index
from d2n.errors import DataError
from d2n.files.json import read_json
from d2n.files.nesting import integers, mapping, number, strings
from d2n.files.reading import brief, reason

Kind = Literal["standard", "revisited", "place"]
_KEYS = {"standard": ("ok", "junk"), "revisited": ("easy", "hard", "junk"), "place": ("ok", "junk")}


@dataclass(frozen=True)
class GroundTruth:
    """A retrieval benchmark in paths relative to its data set's root."""

    name: str
    kind: Kind
    database: tuple[str, ...]
    queries: tuple[str, ...]
    ground_truth: tuple[Mapping[str, list[int]], ...]  # one a query: indices into database
    boxes: tuple[tuple[float, float, float, float], ...] | None = None  # left, top, right, bottom in px
    self_match: bool = False  # query i is database image i


def from_scenes(index: Index, split: str) -> list[GroundTruth]:
    """``<name>/night``: night queries against day; ``<name>/day``: each day image against the others.

    Images of the same scene are right answers; a query without one is left out. The database holds the day
    images of the split, or with ``benchmark_database: all`` of every split.
    """
    whole = index.rule.get("benchmark_database") == "all"
    database = sorted(
        (r for r in index.select("day", None if whole else split) if r.scene), key=lambda r: r.path
    )
    night = sorted((r for r in index.select("night", split) if r.scene), key=lambda r: r.path)
    by_night = _answered(f"{index.name}/night", database, night, self_match=False)
    by_day = _answered(
        f"{index.name}/day", database, [r for r in database if r.split == split], self_match=True
    )
    found = [truth for truth in (by_night, by_day) if truth is not None]
    if not found:
        raise DataError(
            f"{index.name}: split {split} has no scene with a query and a day image to find; a benchmark "
            f"needs scenes (docs/datasets.md), or {index.root}/database and queries"
        )
    return found


def read_ground_truth(path: Path, name: str) -> list[GroundTruth]:
    """The benchmarks of a JSON: ``database``, ``queries`` (paths below the root) and ``ground_truth``.

    ``ground_truth`` has one mapping a query: ``ok`` and ``junk``, or ``easy``, ``hard`` and ``junk``, lists of
    indices into the database. Where ``queries`` and ``ground_truth`` are mappings of names to such lists, each is
    a benchmark ``<name>/<key>`` against the same database. DataError names what is not so.
    """
    values = read_json(path, absent="no ground truth; expected JSON of database, queries, ground_truth")
    try:
        truths = [_parsed(part, title) for title, part in _parts(mapping(values), name)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a ground truth ({type(error).__name__}: {reason(error)})") from error
    for truth in truths:
        check_ground_truth(truth, str(path))
        _check_consistent(truth, str(path))
    return truths


def check_ground_truth(truth: GroundTruth, source: str) -> None:
    """DataError where the lists do not fit each other, an index is outside the database, or nothing can be found."""
    if not truth.database or not truth.queries:
        counts = f"{len(truth.queries)} queries and {len(truth.database)} images in the database"
        raise DataError(f"{source}: {truth.name} has {counts}; expected at least one of each")
    if len(truth.queries) != len(truth.ground_truth):
        counts = f"{len(truth.queries)} queries and {len(truth.ground_truth)} answers"
        raise DataError(f"{source}: {counts}; expected one answer a query")
    if truth.boxes is not None and len(truth.boxes) != len(truth.queries):
        raise DataError(f"{source}: {len(truth.boxes)} boxes for {len(truth.queries)} queries")
    for query, answer in zip(truth.queries, truth.ground_truth, strict=True):
        for key, indices in answer.items():
            outside = [i for i in indices if not 0 <= i < len(truth.database)]
            if outside:
                n = len(truth.database)
                raise DataError(
                    f"{source}: query {query!r}: {key} names image {outside[0]} of a database of {n}"
                )
    if not any(answer[key] for answer in truth.ground_truth for key in positive_keys(truth.kind)):
        keys = " or ".join(positive_keys(truth.kind))
        raise DataError(
            f"{source}: no query of {truth.name} has a right answer ({keys}); expected one for at least one query"
        )


def positive_keys(kind: Kind) -> tuple[str, ...]:
    """The lists of an answer that hold right answers."""
    return ("easy", "hard") if kind == "revisited" else ("ok",)


def parts_without_answers(truth: GroundTruth) -> tuple[str, ...]:
    """Parts of a revisited benchmark that no query has a right answer in: their mAP is not defined."""
    if truth.kind != "revisited":
        return ()
    return tuple(part for part in ("easy", "hard") if not any(answer[part] for answer in truth.ground_truth))


def box_problems(truth: GroundTruth, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line for each query box that is no part of its image; ``sizes`` are (width, height) in px by path.

    A box holds at least one pixel and lies within the image, but for 1 % of a side (at least 1 px), as published
    boxes are rounded.
    """
    lines = []
    for query, box in zip(truth.queries, truth.boxes or (), strict=False):
        if query not in sizes:
            continue
        width, height = sizes[query]
        why = _box_problem(box, width, height)
        if why:
            shown = ", ".join(f"{side:g}" for side in box)
            lines.append(
                f"{query}: its box [{shown}] {why}; expected left < right, top < bottom (px) within {width} x {height}"
            )
    return lines


def _box_problem(box: tuple[float, float, float, float], width: int, height: int) -> str:
    if not all(math.isfinite(side) for side in box):
        return "holds no numbers"
    left, top, right, bottom = box
    if left > right or top > bottom:
        return "is turned round"
    if round(right) - round(left) < 1 or round(bottom) - round(top) < 1:
        return "is empty"
    across, down = max(1.0, 0.01 * width), max(1.0, 0.01 * height)
    if left < -across or top < -down or right > width + across or bottom > height + down:
        return "leaves the image"
    return ""


def _check_consistent(truth: GroundTruth, source: str) -> None:
    """What no published ground truth needs: an image named twice, in the database or in one query's answers."""
    twice = next((path for path, n in Counter(truth.database).items() if n > 1), None)
    if twice is not None:
        raise DataError(f"{source}: database names {twice!r} twice; expected each image once")
    for query, answer in zip(truth.queries, truth.ground_truth, strict=True):
        seen: dict[int, str] = {}
        for key, indices in answer.items():
            for i in indices:
                if i in seen:
                    both = f"twice in {key}" if seen[i] == key else f"in {seen[i]} and in {key}"
                    raise DataError(f"{source}: query {query!r} names image {i} {both}; expected it once")
                seen[i] = key


def box(values: Any) -> tuple[float, float, float, float]:
    """Left, top, right and bottom as finite numbers; TypeError or ValueError for anything else."""
    if isinstance(values, str | bytes) or len(values) != 4:
        raise ValueError(f"a query box of {len(values)} numbers, expected left, top, right, bottom")
    left, top, right, bottom = map(number, values)
    return left, top, right, bottom


def _answered(
    name: str, database: list[ImageRow], queries: list[ImageRow], self_match: bool
) -> GroundTruth | None:
    """Same scene is ok, the query itself junk; None where no query has an answer."""
    by_scene: dict[str, list[int]] = {}
    for i, row in enumerate(database):
        by_scene.setdefault(row.scene, []).append(i)
    place = {row.path: i for i, row in enumerate(database)}
    kept, answers = [], []
    for row in queries:
        own = place.get(row.path)
        ok = [i for i in by_scene.get(row.scene, []) if i != own]
        if ok:
            kept.append(row.path)
            answers.append({"ok": ok, "junk": [] if own is None else [own]})
    if not kept:
        return None
    paths = tuple(row.path for row in database)
    same = self_match and tuple(kept) == paths
    return GroundTruth(name, "standard", paths, tuple(kept), tuple(answers), self_match=same)


def _parts(values: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(values["queries"], dict):
        return [(name, values)]
    answers = values["ground_truth"]
    return [
        (f"{name}/{key}", {**values, "queries": queries, "ground_truth": answers[key]})
        for key, queries in values["queries"].items()
        if _is_name(key)
    ]


def _is_name(key: str) -> bool:
    if not key.isprintable() or not 0 < len(key) <= 100:
        raise ValueError(f"a benchmark named {brief(key, 120)}")
    return True


def _refuse_unknown(answer: Mapping[str, Any], kind: Kind) -> None:
    """A misspelt list, or a box among the answers, would else be left out without a word."""
    for key in answer:
        if key in ("bbx", "box", "bbox"):
            raise ValueError(f"a box in an answer ({brief(key)}), expected all of them in boxes, one a query")
        if key not in _KEYS[kind]:
            hint = nearest(str(key), _KEYS[kind])
            raise ValueError(f"an answer holds {brief(key)}, expected {', '.join(_KEYS[kind])}{hint}")


def _parsed(values: Mapping[str, Any], name: str) -> GroundTruth:
    answers = values["ground_truth"]
    if not isinstance(answers, list):
        raise KeyError("ground_truth")
    revisited = any("easy" in mapping(answer) or "hard" in answer for answer in answers)
    kind: Kind = values.get("kind", "revisited" if revisited else "standard")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValueError(f"kind {brief(kind)}, expected one of {', '.join(_KEYS)}")
    for answer in answers:
        _refuse_unknown(answer, kind)
    boxes = values.get("boxes")
    return GroundTruth(
        name=name,
        kind=kind,
        database=tuple(strings(values["database"])),
        queries=tuple(strings(values["queries"])),
        ground_truth=tuple({k: integers(answer.get(k, [])) for k in _KEYS[kind]} for answer in answers),
        boxes=None if boxes is None else tuple(map(box, boxes)),
        self_match=bool(values.get("self_match", False)),
    )
