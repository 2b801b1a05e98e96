"""RobotCar Seasons (Maddern et al. 2017, Sattler et al. 2018): one city from a car, in ten conditions; unpaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, as_list, find_root, left_out_facts, walk_images

CONDITIONS = ("overcast-reference", "dawn", "dusk", "night", "night-rain", "overcast-summer", "overcast-winter",
              "rain", "snow", "sun")  # fmt: skip


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """Thesis 3.1: the rear camera; day is sun, snow, rain, dawn and dusk, night is night and night-rain.

    Every image keeps its condition, by which it may be asked for; other_conditions are of neither.
    """
    base = find_root(root, holds="images") / "images"
    prefix, passed_over = base.relative_to(root), Counter[str]()
    images = [
        Candidate((prefix / path).as_posix(), domain, condition=condition)
        for knob, domain in (("day", "day"), ("night", "night"), ("other", ""))
        for condition in as_list(rule[f"{knob}_conditions"])
        for camera in as_list(rule["cameras"])
        for path in walk_images(base, f"{condition}/{camera}", left_out=passed_over)
    ]
    return Listing(tuple(images), facts=left_out_facts(passed_over))


KIND = SetKind(
    name="robotcar",
    title="RobotCar Seasons",
    ask_at="visuallocalization.net",
    listing=listing,
    knobs={
        "cameras": ["rear"],
        "day_conditions": ["sun", "snow", "rain", "dawn", "dusk"],
        "night_conditions": ["night", "night-rain"],
        "other_conditions": [],  # of neither, such as overcast-summer and overcast-winter
    },
    thesis={"day": 2247, "night": 878},
    load="resize",  # thesis 3.2.1, footnote 1: scaled to 256 x 256, not cropped
)
