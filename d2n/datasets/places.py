"""Place recognition in the layout that its benchmarks share: SVOX, Mapillary Street-Level Sequences, Nordland.

``images/<part>/database`` and ``queries`` hold images whose names say where they were taken, ``@utm_east@utm_north@…``
(Berton et al., CVPR 2022); SVOX has its queries by weather and by night besides. Right is what lies within 25 m.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from d2n.datasets.ground_truth import GroundTruth
from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, left_out_facts, walk_images
from d2n.datasets.tokyo247 import from_names
from d2n.errors import DataError

RADIUS_M = 25.0
_DATABASES, _QUERIES = ("database", "gallery"), "queries"
_LIGHT = {"night": "night", "overcast": "day", "rain": "day", "snow": "day", "sun": "day"}


def listing(parts: tuple[str, ...], root: Path, rule: Mapping[str, Any]) -> Listing:
    """The images of the database and of every folder of queries, all of split test."""
    database, queries = _folders(root, parts, str(rule["part"]))
    passed_over = Counter[str]()
    images: list[Candidate] = []
    facts: dict[str, int] = {}
    for folder in (database, *queries):
        found = walk_images(root, folder, left_out=passed_over)
        facts[Path(folder).name] = len(found)
        condition = _condition(folder)
        images += [
            Candidate(path, _LIGHT.get(condition, ""), split="test", condition=condition) for path in found
        ]
    return Listing(tuple(images), facts={**facts, **left_out_facts(passed_over)})


def ground_truths(parts: tuple[str, ...], index: Index, split: str = "test") -> list[GroundTruth]:
    """``<name>``, and ``<name>/night`` and so on for queries by a condition: recall among the database."""
    database, queries = _folders(index.root, parts, str(index.rule["part"]))
    found = []
    for folder in queries:
        condition = _condition(folder)
        found.append(from_names(index, database, folder, RADIUS_M, f"/{condition}" if condition else ""))
    return found


def _folders(root: Path, parts: tuple[str, ...], part: str) -> tuple[str, list[str]]:
    """The database and the folders of queries, relative to the root; DataError where no part has both."""
    names = parts if part == "auto" else (part,)
    for place in [*(f"images/{name}" for name in names), *names, *([""] if part == "auto" else [])]:
        base = root / place
        databases = [name for name in _DATABASES if (base / name).is_dir()]
        queries = sorted(
            path.name for path in base.glob(f"{_QUERIES}*") if path.is_dir() and _is_queries(path.name)
        )
        if databases and queries:
            prefix = f"{place}/" if place else ""
            return f"{prefix}{databases[0]}", [f"{prefix}{name}" for name in queries]
    raise DataError(
        f"{root}: no images/{names[0]}/database with images/{names[0]}/queries, the layout of place recognition "
        "benchmarks; name the folder above images, or another part with --rule part=NAME"
    )


def _is_queries(name: str) -> bool:
    return name == _QUERIES or name.removeprefix(f"{_QUERIES}_") in _LIGHT


def _condition(folder: str) -> str:
    """night of ``queries_night``; '' of queries that are told apart by nothing, and of the database."""
    return Path(folder).name.partition("_")[2]


def _row(name: str, title: str, ask_at: str, parts: tuple[str, ...]) -> SetKind:
    return SetKind(
        name=name,
        title=title,
        ask_at=ask_at,
        listing=partial(listing, parts),
        knobs={"part": "auto"},  # of images/: test, val …; auto: the first of the usual ones that is there
        evaluation=True,
        ground_truths=partial(ground_truths, parts),
    )


SVOX = _row(
    "svox", "SVOX: streets by weather and by night", "the authors' page (Berton et al. 2021)", ("test", "val")
)
MSLS = _row(
    "msls", "Mapillary Street-Level Sequences", "mapillary.com (Warburg et al. 2020)", ("val", "test")
)
NORDLAND = _row(
    "nordland", "Nordland: a railway in four seasons", "its page (Sünderhauf et al. 2013)", ("test",)
)
