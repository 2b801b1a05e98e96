"""A user's own images: day/ and night/ folders or list files, aligned pairs, a label file, a retrieval benchmark."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from d2n.datasets import tokyo247
from d2n.datasets.ground_truth import GroundTruth, from_scenes, read_ground_truth
from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import (
    Candidate,
    Listing,
    as_list,
    as_on_disk,
    left_out_facts,
    read_lines,
    resolved_names,
    walk_images,
)
from d2n.errors import DataError
from d2n.files.csv import read_table
from d2n.files.reading import brief, one_line

KNOBS: Mapping[str, Any] = {
    "labels": "auto",  # a CSV of image, domain, scene …; auto: labels.csv where there is one; none
    "image_column": "image",
    "domain_column": "domain",
    "scene_column": "scene",
    "split_column": "split",
    "fold_column": "fold",
    "sha256_column": "sha256",
    "train_folds": [],  # folds by value of fold_column; without any, the column is not looked at
    "val_folds": [],
    "test_folds": [],
    "day": "day",  # without a label file: folders, or list files ending in .txt
    "night": "night",
    "scenes": "none",  # folder: the first folder below day/ and night/; else a pattern with one group
    "pairs": "auto",  # none, stems, scenes (every day with every night of its scene) or a CSV of day, night
    "database": "database",  # a benchmark's folders, read where they are there
    "queries": "queries",
    "benchmark_database": "split",  # all: day images of every split join the database
    "min_side_px": 0,
}

_GROUND_TRUTH = "ground_truth.json"


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """Images, scenes, splits and pairs of a folder; DataError where it has neither images nor labels."""
    labels = _labels_file(root, str(rule["labels"]))
    passed_over = Counter[str]()
    if labels is not None:
        images, left_out = _labelled(root, labels, rule)
    elif _has_domains(root, rule):
        images, left_out = _by_folder(root, rule, passed_over), set[str]()
    elif (root / str(rule["database"])).is_dir():
        images, left_out = [], set()
    else:
        raise DataError(
            f"{root}: no {rule['day']}/ and {rule['night']}/, no labels.csv, no {rule['database']}/ and "
            f"{rule['queries']}/; docs/datasets.md shows the layouts"
        )
    images += _benchmark_images(root, rule, passed_over)
    images, pairs = _paired(root, rule, images, left_out, by_folder=labels is None)
    facts = ({"other_folds": len(left_out)} if left_out else {}) | left_out_facts(passed_over)
    return Listing(tuple(images), tuple(pairs), int(rule["min_side_px"]), facts)


def ground_truths(index: Index, split: str) -> list[GroundTruth]:
    """database/ and queries/ with ground_truth.json or coordinates in the names; else from scenes."""
    written = index.root / _GROUND_TRUTH
    if written.is_file():
        return read_ground_truth(written, index.name)
    database = str(index.rule.get("database", "database"))
    if any(row.path.startswith(f"{database}/") for row in index.rows):
        return [tokyo247.from_names(index, database, str(index.rule.get("queries", "queries")))]
    return from_scenes(index, split)


KIND = SetKind(
    name="folders",
    title="a folder of your own",
    ask_at="photographs of your own",
    listing=listing,
    knobs=KNOBS,
    paired=None,
    ground_truths=ground_truths,
    ground_truth_file=_GROUND_TRUTH,
)


def scene_pairs(images: Iterable[Candidate]) -> list[tuple[str, str]]:
    """Every day image with every night image of its scene, scene by scene in the order found."""
    day: dict[str, list[str]] = defaultdict(list)
    night: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if image.scene and image.domain:
            (day if image.domain == "day" else night)[image.scene].append(image.path)
    return [(d, n) for scene in day for d in day[scene] for n in night.get(scene, ())]


def _labels_file(root: Path, knob: str) -> Path | None:
    if knob == "none":
        return None
    if knob == "auto":
        return root / "labels.csv" if os.path.lexists(root / "labels.csv") else None
    return root / knob


def _labelled(root: Path, labels: Path, rule: Mapping[str, Any]) -> tuple[list[Candidate], set[str]]:
    """Images of a label file, and the paths of folds that the rule does not use."""
    image, domain = str(rule["image_column"]), str(rule["domain_column"])
    rows = read_table(labels, [image, domain])
    _refuse_cases(labels, (row[domain].strip() for row in rows))
    fold_split = _fold_splits(labels, rows, rule)
    images, left_out = [], set()
    for number, row in enumerate(rows, start=2):
        split = (
            fold_split.get(row.get(str(rule["fold_column"]), ""), None)
            if fold_split
            else _split(labels, row, rule)
        )
        if split is None:
            left_out.add(row[image])
            continue
        name = row[domain].strip().lower()
        if not row[image]:
            raise DataError(f"{labels}: row {number} names no image")
        images.append(
            Candidate(
                path=as_on_disk(root, PurePosixPath(row[image].replace("\\", "/")).as_posix()),
                domain=name if name in ("day", "night") else "",
                scene=row.get(str(rule["scene_column"]), "").strip(),
                split=split,
                sha256=row.get(str(rule["sha256_column"]), "").strip(),
                condition="" if name in ("day", "night") else name,
            )
        )
    return images, left_out


def _refuse_cases(labels: Path, domains: Iterable[str]) -> None:
    """DataError where two labels differ in case alone: whether they mean one domain, nobody can say."""
    spelt: dict[str, str] = {}
    for name in domains:
        first = spelt.setdefault(name.lower(), name)
        if first != name:
            raise DataError(
                f"{labels}: the labels {brief(first)} and {brief(name)} differ in case alone; write one of them"
            )


def _split(labels: Path, row: Mapping[str, str], rule: Mapping[str, Any]) -> str:
    split = row.get(str(rule["split_column"]), "").strip().lower()
    if split not in ("", "train", "val", "test", "retrieval"):
        raise DataError(
            f"{labels}: split {brief(split)} of {brief(row[rule['image_column']])}, expected train, val or test"
        )
    return split


def _fold_splits(labels: Path, rows: list[dict[str, str]], rule: Mapping[str, Any]) -> dict[str, str]:
    """Fold to split; training folds map to "", of which val is drawn by scene unless val_folds says otherwise."""
    chosen = {split: as_list(rule[f"{split}_folds"]) for split in ("train", "val", "test")}
    if not any(chosen.values()):
        return {}
    column = str(rule["fold_column"])
    if rows and column not in rows[0]:
        raise DataError(
            f"{labels}: no column {column!r} to take folds from, found {one_line(', '.join(rows[0]), 200)}"
        )
    found = sorted({row[column] for row in rows})
    unknown = [fold for folds in chosen.values() for fold in folds if fold not in found]
    if unknown:
        raise DataError(
            f"{labels}: no fold {unknown[0]!r} in column {column!r}, found {one_line(', '.join(found), 200)}"
        )
    held_out = {fold: split for split in ("val", "test") for fold in chosen[split]}
    train = chosen["train"] or [fold for fold in found if fold not in held_out]
    both = [fold for fold in train if fold in held_out]
    if both:
        raise DataError(
            f"dataset.rule: fold {both[0]!r} is in train_folds and in {held_out[both[0]]}_folds; choose one"
        )
    return dict.fromkeys(train, "train" if chosen["val"] else "") | held_out


def _has_domains(root: Path, rule: Mapping[str, Any]) -> bool:
    return any((root / place).exists() for domain in ("day", "night") for place in as_list(rule[domain]))


def _by_folder(root: Path, rule: Mapping[str, Any], passed_over: Counter[str]) -> list[Candidate]:
    images = []
    for domain in ("day", "night"):
        for place in as_list(rule[domain]):
            listed = place.endswith(".txt")
            paths = (
                [as_on_disk(root, line) for line in read_lines(root / place)]
                if listed
                else walk_images(root, place, left_out=passed_over)
            )
            base = "" if listed else place
            images += [Candidate(path, domain, _scene(path, base, str(rule["scenes"]))) for path in paths]
    return images


def _scene(path: str, base: str, knob: str) -> str:
    below = PurePosixPath(path).relative_to(base) if base else PurePosixPath(path)
    if knob == "none":
        return ""
    if knob == "folder":
        return below.parts[0] if len(below.parts) > 1 else ""
    try:
        match = re.search(knob, below.as_posix())
    except re.error as error:
        raise DataError(
            f"dataset.rule.scenes: {knob!r} is no pattern ({error}); none, folder or one group"
        ) from error
    return match.group(1) if match and match.lastindex else ""


def _paired(
    root: Path, rule: Mapping[str, Any], images: list[Candidate], left_out: set[str], by_folder: bool
) -> tuple[list[Candidate], list[tuple[str, str]]]:
    knob = str(rule["pairs"])
    if knob == "auto":
        knob = "pairs.csv" if os.path.lexists(root / "pairs.csv") else "auto-stems" if by_folder else "none"
    if knob == "none":
        return images, []
    if knob == "scenes":
        return images, scene_pairs(images)
    if knob not in ("stems", "auto-stems"):
        return images, _listed_pairs(root / knob, rule, images, left_out)
    stems, twice = _stems(images, rule)
    if twice and knob == "stems":
        path, other = twice[0]
        raise DataError(f"{path}: the same stem as {other}, so no pair can be told; rename one")
    pairs = [(path, stems["night"][stem]) for stem, path in stems["day"].items() if stem in stems["night"]]
    smaller = min(sum(image.domain == domain for image in images) for domain in ("day", "night"))
    if knob == "auto-stems" and (twice or len(pairs) < smaller):
        return images, []  # some equal names by chance do not make a data set aligned
    return _scene_by_stem(images, pairs), pairs


def _listed_pairs(
    path: Path, rule: Mapping[str, Any], images: list[Candidate], left_out: set[str]
) -> list[tuple[str, str]]:
    known = {
        domain: {image.path for image in images if image.domain == domain} for domain in ("day", "night")
    }
    rows, pairs = read_table(path, ["day", "night"]), []
    options_of = {
        (domain, row[domain]): [row[domain], *(f"{place}/{row[domain]}" for place in as_list(rule[domain]))]
        for row in rows
        for domain in ("day", "night")
    }
    spelt = {
        domain: resolved_names(
            (o for (d, _), found in options_of.items() if d == domain for o in found), known[domain]
        )
        for domain in ("day", "night")
    }
    for number, row in enumerate(rows, start=2):
        pair = []
        for domain in ("day", "night"):
            options = options_of[domain, row[domain]]
            if row[domain] in left_out:
                break
            hit = next((option for option in options if option in known[domain]), None)
            hit = hit or next((spelt[domain][option] for option in options if option in spelt[domain]), None)
            if hit is None:
                raise DataError(
                    f"{path}: row {number}: {brief(row[domain])} is not among the {domain} images"
                )
            pair.append(hit)
        if len(pair) == 2:
            pairs.append((pair[0], pair[1]))
    return list(dict.fromkeys(pairs))


def _stems(
    images: list[Candidate], rule: Mapping[str, Any]
) -> tuple[dict[str, dict[str, str]], list[tuple[str, str]]]:
    """Paths by domain and stem, and the (path, earlier path) of images whose stem another of the domain has."""
    stems: dict[str, dict[str, str]] = {"day": {}, "night": {}}
    twice = []
    for image in images:
        if not image.domain:
            continue
        other = stems[image.domain].setdefault(_stem(image.path, rule), image.path)
        if other != image.path:
            twice.append((image.path, other))
    return stems, twice


def _stem(path: str, rule: Mapping[str, Any]) -> str:
    places = [place for domain in ("day", "night") for place in as_list(rule[domain])]
    below = next((path[len(place) + 1 :] for place in places if path.startswith(f"{place}/")), path)
    return unicodedata.normalize("NFC", PurePosixPath(below).with_suffix("").as_posix())


def _scene_by_stem(images: list[Candidate], pairs: list[tuple[str, str]]) -> list[Candidate]:
    """A pair of equal stems is a scene of its own, where no other is known."""
    stem = {path: PurePosixPath(pair[0]).with_suffix("").as_posix() for pair in pairs for path in pair}
    return [replace(image, scene=image.scene or stem.get(image.path, "")) for image in images]


def _benchmark_images(root: Path, rule: Mapping[str, Any], passed_over: Counter[str]) -> list[Candidate]:
    """Images of database/ and queries/: evaluation alone, never trained on."""
    images = []
    for place in (str(rule["database"]), str(rule["queries"])):
        if place and (root / place).is_dir():
            images += [
                Candidate(path, split="test") for path in walk_images(root, place, left_out=passed_over)
            ]
    return images
