"""What is wrong with a data set on disk, file by file, against its index where there is one."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d2n.datasets.benchmarks import has_ground_truth_file, named_images, wrong_boxes
from d2n.datasets.images import IMAGE_SUFFIXES
from d2n.datasets.index import ImageRow, Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, left_out_lines
from d2n.datasets.preparing import bad_images
from d2n.datasets.scan import Probe, scan_images
from d2n.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; the line begins with the path or the scene."""

    path: str
    line: str


def verify_index(kind: SetKind, index: Index, workers: int = 2, progress: bool = False) -> list[Problem]:
    """Read every file of the index again, hash it, and tell what is wrong, one problem a file.

    Found are: files missing, unreadable, truncated, too small, changed since they were indexed, byte-identical to
    another, in the other domain or in both; files that the rule takes and the index lacks; scenes across train
    and held-out splits; images that a ground truth names and the index lacks.
    """
    listing, problems = _listing_now(kind, index)
    rows = {row.path: row for row in index.rows}
    more = [image.path for image in listing.images if image.path not in rows]
    strangers = _strangers(index.root, rows, more)
    probes = scan_images(index.root, [*rows, *more, *strangers], None, workers, progress)
    found = _file_problems(listing, rows, probes, strangers)
    problems += [Problem(path, line) for path, line in sorted(found.items())]
    problems += _scene_problems(index)
    return problems + _ground_truth_problems(index, rows, found)


def verify_folder(
    kind: SetKind, root: Path, rule: Mapping[str, Any] | None, workers: int = 2, progress: bool = False
) -> list[Problem]:
    """As verify_index, of a folder that was never indexed: what its own files and labels can tell."""
    if kind.listing is None:
        raise DataError(f"{root}: nothing was made there; run `d2n data make {kind.name}`")
    listing = kind.listing(root, kind.resolve(rule))
    strangers = _strangers(root, {image.path for image in listing.images}, [])
    probes = scan_images(
        root, [*(image.path for image in listing.images), *strangers], None, workers, progress
    )
    return [
        Problem(path, line) for path, line in sorted(_file_problems(listing, None, probes, strangers).items())
    ]


def passed_over(kind: SetKind, root: Path, rule: Mapping[str, Any] | None) -> list[str]:
    """A line for each kind of file in the set's folders that is not read, and why; no problems, but worth knowing."""
    if kind.listing is None:
        return []
    try:
        return left_out_lines(kind.listing(root, kind.resolve({}, rule)).facts)
    except DataError:
        return []  # verifying itself says why the folder cannot be listed


def _listing_now(kind: SetKind, index: Index) -> tuple[Listing, list[Problem]]:
    """What the rule takes today; what the index has, where a folder or a list is gone or the set is generated."""
    indexed = Listing(tuple(Candidate(row.path, row.domain, row.scene, row.split) for row in index.rows))
    if kind.listing is None:
        return indexed, []
    try:
        return kind.listing(index.root, kind.resolve({}, index.rule)), []
    except DataError as error:
        return indexed, [Problem(str(index.root), str(error))]


def _file_problems(
    listing: Listing, rows: Mapping[str, ImageRow] | None, probes: Mapping[str, Probe], strangers: list[str]
) -> dict[str, str]:
    """One line for each file that is not what it should be."""
    strange = set(strangers)
    looked_at = {path: probe for path, probe in probes.items() if path not in strange}
    problems = bad_images(listing, looked_at)
    domain = {image.path: image.domain for image in listing.images} | {
        p: r.domain for p, r in (rows or {}).items()
    }
    hashes = {image.path: image.sha256 for image in listing.images if image.sha256}
    hashes |= {path: row.sha256 for path, row in (rows or {}).items()}
    expected = {sha256: path for path, sha256 in reversed(list(hashes.items()))}
    for path, sha256 in hashes.items():
        if looked_at[path].problem:
            problems.setdefault(path, looked_at[path].problem)  # the rule takes it no more, and it is damaged
        elif looked_at[path].sha256 != sha256:
            problems[path] = _changed(path, expected.get(looked_at[path].sha256), domain)
    for path, line in problems.items():
        if rows and path in rows and looked_at[path].size_bytes < 0:
            problems[path] = line + _moved_to(rows[path].sha256, path, probes)
    _add_new(problems, listing, rows, looked_at, domain, expected)
    _add_duplicates(
        problems, {**looked_at, **{path: probes[path] for path in strangers}}, domain, strange, rows
    )
    return problems


def _changed(path: str, other: str | None, domain: Mapping[str, str]) -> str:
    if other is None:
        return f"{path}: changed, its bytes are not those that were indexed or labelled; restore it"
    if domain.get(other) != domain.get(path):
        return f"{path}: listed as {domain[path] or 'neither'}, holds the {domain[other]} image {other}"
    return f"{path}: holds the bytes of {other}, byte-identical; restore or remove it"


def _moved_to(sha256: str, path: str, probes: Mapping[str, Probe]) -> str:
    elsewhere = [p for p, probe in probes.items() if probe.sha256 == sha256 and p != path]
    return f"; its bytes are at {elsewhere[0]}" if elsewhere else ""


def _add_new(
    problems: dict[str, str],
    listing: Listing,
    rows: Mapping[str, ImageRow] | None,
    probes: Mapping[str, Probe],
    domain: Mapping[str, str],
    expected: Mapping[str, str],
) -> None:
    """Images that the rule takes now and the index does not have."""
    if rows is None:
        return
    for image in listing.images:
        probe = probes[image.path]
        small = image.domain and min(probe.width, probe.height) < listing.min_side_px
        if image.path in rows or image.path in problems or small:
            continue
        other = expected.get(probe.sha256)
        if other is not None:
            problems[image.path] = _changed(image.path, other, domain)
        else:
            problems[image.path] = f"{image.path}: not in the index; prepare the set again"


def _add_duplicates(
    problems: dict[str, str],
    probes: Mapping[str, Probe],
    domain: Mapping[str, str],
    strange: set[str],
    rows: Mapping[str, ImageRow] | None,
) -> None:
    """Byte-identical files: the one that the index or the labels expect with these bytes, or the first, is left."""
    same: dict[str, list[str]] = defaultdict(list)
    for path, probe in probes.items():
        if probe.sha256:
            same[probe.sha256].append(path)
    for sha256, paths in same.items():
        if len(paths) < 2:
            continue

        def is_suspect(path: str, sha256: str = sha256) -> tuple[bool, bool, str]:
            return path in problems or path in strange, _is_changed(rows, path, sha256), path

        paths.sort(key=is_suspect)
        for path in paths[1:]:
            both = path not in strange and domain.get(path) != domain.get(paths[0])
            why = "in both domains" if both else "byte-identical"
            problems.setdefault(path, f"{path}: {why}, the same bytes as {paths[0]}; remove one")


def _is_changed(rows: Mapping[str, ImageRow] | None, path: str, sha256: str) -> bool:
    return rows is not None and path in rows and rows[path].sha256 != sha256


def _scene_problems(index: Index) -> list[Problem]:
    """Scenes that train and are scored; none where the index says that its scenes had to be divided."""
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for row in index.rows:
        if row.scene and row.split:
            splits[row.scene].setdefault(
                "train" if row.split in ("train", "retrieval") else "held-out", row.path
            )
    if index.facts.get("scenes_divided"):
        return []
    return [
        Problem(scene, f"scene {scene}: in training ({found['train']}) and held out ({found['held-out']})")
        for scene, found in sorted(splits.items())
        if len(found) > 1
    ]


def _ground_truth_problems(
    index: Index, rows: Mapping[str, ImageRow], known: Mapping[str, str]
) -> list[Problem]:
    """Images that a ground truth file names and the index does not have; boxes outside their images."""
    problems: list[Problem] = []
    for split in ("val", "test"):
        if not has_ground_truth_file(index, split):
            continue
        try:
            names, boxes = named_images(index, split), wrong_boxes(index, split)
        except DataError as error:
            problems.append(Problem(f"{split} ground truth", str(error)))
            continue
        problems += [Problem(line.split(": its box")[0], line) for line in boxes]
        for name, paths in names.items():
            absent = [path for path in paths if path not in rows and path not in known]
            problems += [
                Problem(path, f"{path}: named by the ground truth {name}, not indexed") for path in absent
            ]
    return problems


def _strangers(root: Path, rows: Iterable[str], more: list[str]) -> list[str]:
    """Image files beside the indexed ones that nothing lists: they may be copies, or files that were moved.

    Only those of a size that an indexed file has, unless one is missing.
    """
    listed = {*rows, *more}
    sizes = {path: _size_bytes(root / path) for path in listed}
    wanted = None if None in sizes.values() else set(sizes.values())
    found = []
    for folder in sorted({os.path.dirname(path) for path in listed}):  # noqa: PTH120 - relative names, many of them
        try:
            entries = sorted(
                entry.name
                for entry in os.scandir(root / folder)
                if entry.is_file() and not entry.name.startswith(".")
            )
        except OSError:
            continue
        paths = (f"{folder}/{name}" if folder else name for name in entries)
        found += [
            path
            for path in paths
            if path not in listed
            and (path.lower().endswith(IMAGE_SUFFIXES) or "." not in Path(path).name)
            and (wanted is None or _size_bytes(root / path) in wanted)
        ]
    return found


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
