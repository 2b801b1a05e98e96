"""Aachen Day-Night (Sattler et al. 2018): phone photographs of an old town, few of them at night; unpaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, find_root, left_out_facts, walk_images


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """Day: db and query/day; night: query/night. The additional night queries of version 1.1 are a knob."""
    base = find_root(root, holds="images_upright") / "images_upright"
    passed_over = Counter[str]()
    day = [path for part in ("db", "query/day") for path in walk_images(base, part, left_out=passed_over)]
    night = [
        path
        for path in walk_images(base, "query/night", left_out=passed_over)
        if rule["additional_night"] or not _additional(path)
    ]
    prefix = base.relative_to(root)
    images = [Candidate((prefix / path).as_posix(), "day") for path in day]
    images += [Candidate((prefix / path).as_posix(), "night") for path in night]
    return Listing(tuple(images), facts=left_out_facts(passed_over))


KIND = SetKind(
    name="aachen",
    title="Aachen Day-Night",
    ask_at="visuallocalization.net",
    listing=listing,
    knobs={"additional_night": False},
    thesis={"day": 5313, "night": 113},
)


def _additional(path: str) -> bool:
    return "nexus5x_additional_night" in path.split("/")
