"""Transient Attributes (Laffont et al. 2014): webcams with 40 annotated attributes; the only paired set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2n.datasets.folders import scene_pairs
from d2n.datasets.ground_truth import from_scenes
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, find_root, read_lines
from d2n.errors import DataError
from d2n.files.reading import brief

# As the annotations order them.
ATTRIBUTES = (
    "dirty",
    "daylight",
    "night",
    "sunrisesunset",
    "dawndusk",
    "sunny",
    "clouds",
    "fog",
    "storm",
    "snow",
    "warm",
    "cold",
    "busy",
    "beautiful",
    "flowers",
    "spring",
    "summer",
    "autumn",
    "winter",
    "glowing",
    "colorful",
    "dull",
    "rugged",
    "midday",
    "dark",
    "bright",
    "dry",
    "moist",
    "windy",
    "rain",
    "ice",
    "cluttered",
    "soothing",
    "stressful",
    "exciting",
    "sentimental",
    "mysterious",
    "boring",
    "gloomy",
    "lush",
)
IMAGES, ANNOTATIONS = "imageAlignedLD", "annotations/annotations.tsv"


@dataclass(frozen=True)
class Annotation:
    """One line of the annotations."""

    webcam: str
    path: str  # webcam/file
    values: Mapping[str, float]  # in [0, 1]


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """Thesis 3.1: webcams with at least one image of night > 0.9; its pairs are those times the webcam's rest."""
    base = find_root(root, "transient", holds=ANNOTATIONS)
    prefix = base.relative_to(root) / IMAGES
    annotations = read_annotations(base / ANNOTATIONS)
    by_webcam = defaultdict(list)
    for annotation in annotations:
        by_webcam[annotation.webcam].append(annotation)
    images = [
        Candidate((prefix / item.path).as_posix(), domain, item.webcam)
        for items in by_webcam.values()
        for item, domain in _domains(items, rule)
    ]
    facts = {
        "annotated": len(annotations),
        "webcams": len(by_webcam),
        "webcams_with_night": len({image.scene for image in images if image.domain == "night"}),
    }
    return Listing(tuple(images), tuple(scene_pairs(images)), facts=facts)


def read_annotations(path: Path) -> list[Annotation]:
    """The lines ``webcam/file<TAB>value,confidence`` x 40; DataError names a line that does not parse."""
    return [_parsed(path, number, line) for number, line in enumerate(read_lines(path), start=1)]


KIND = SetKind(
    name="transattr",
    title="Transient Attributes, webcams",
    ask_at="the authors' page (Laffont et al. 2014, Transient Attributes)",
    listing=listing,
    knobs={"night_above": 0.9, "day_night_at_most": None, "day_daylight_above": None},
    thesis={"annotated": 8571, "webcams": 101, "webcams_with_night": 69, "day": 4774, "night": 310},
    paired=True,
    ground_truths=from_scenes,
)


def _domains(items: list[Annotation], rule: Mapping[str, Any]) -> list[tuple[Annotation, str]]:
    """The images of a webcam with a night, none of one without; the thesis takes all the rest as day."""
    night = [item for item in items if item.values["night"] > float(rule["night_above"])]
    if not night:
        return []
    rest = [item for item in items if item.values["night"] <= float(rule["night_above"])]
    if rule["day_night_at_most"] is not None:
        rest = [item for item in rest if item.values["night"] <= float(rule["day_night_at_most"])]
    if rule["day_daylight_above"] is not None:
        rest = [item for item in rest if item.values["daylight"] > float(rule["day_daylight_above"])]
    return [(item, "day") for item in rest] + [(item, "night") for item in night]


def _parsed(path: Path, number: int, line: str) -> Annotation:
    name, *fields = line.split("\t")
    if len(fields) != len(ATTRIBUTES):
        raise DataError(f"{path}: line {number} has {len(fields)} attributes, expected {len(ATTRIBUTES)}")
    webcam, slash, file = name.partition("/")
    if not slash or not file or not webcam:
        raise DataError(f"{path}: line {number} begins with {brief(name)}, expected webcam/file")
    values = {}
    for attribute, text in zip(ATTRIBUTES, fields, strict=True):
        try:
            value, confidence = map(float, text.split(","))
        except ValueError:
            raise DataError(
                f"{path}: line {number}: {attribute} is {brief(text)}, expected value,confidence"
            ) from None
        if not (0 <= value <= 1 and confidence == confidence):
            raise DataError(
                f"{path}: line {number}: {attribute} is {brief(text)}, expected a value in [0, 1]"
            )
        values[attribute] = value
    return Annotation(webcam, name, values)
