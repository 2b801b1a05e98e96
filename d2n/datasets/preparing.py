"""From a folder to an index: list, open each image once, draw the splits, write."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from d2n.datasets.index import ImageRow, Index, index_path, load_index, save_index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, left_out_lines
from d2n.datasets.scan import Probe, load_probes, problems_of, scan_images, scan_path
from d2n.datasets.splits import assign_splits
from d2n.errors import DataError

logger = logging.getLogger(__name__)

OnBadImage = Literal["fail", "skip"]


@dataclass(frozen=True)
class Looking:
    """How a folder's images are looked at."""

    on_bad_image: OnBadImage = "fail"
    workers: int = 2
    progress: bool = False


AS_USUAL = Looking()


def prepare_set(
    kind: SetKind,
    name: str,
    root: Path,
    out: Path | None = None,
    rule: Mapping[str, Any] | None = None,
    looking: Looking = AS_USUAL,
) -> Index:
    """Walk ``root`` once and write the index into ``out`` (None: into the root). See d2n.datasets.prepare."""
    if kind.listing is None:
        raise DataError(
            f"{kind.name}: is generated, not read from a download; run `d2n data make {kind.name}`"
        )
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the one that the data set was unpacked into")
    folder = out if out is not None else root
    resolved = kind.resolve(rule)
    listing = kind.listing(root, resolved)
    paths = [image.path for image in listing.images]
    logger.info("%s: %d images under %s", name, len(paths), root)
    probes = scan_images(root, paths, scan_path(folder, name), looking.workers, looking.progress)
    index = build_index(kind, name, root, resolved, listing, probes, looking.on_bad_image)
    save_index(index, folder)
    return index


def build_index(
    kind: SetKind,
    name: str,
    root: Path,
    rule: Mapping[str, Any],
    listing: Listing,
    probes: Mapping[str, Probe],
    on_bad_image: OnBadImage = "fail",
) -> Index:
    """The index of a listing whose images have been looked at.

    Raises DataError for bad images under ``fail``, for an image in both domains and for an empty domain.
    """
    bad = bad_images(listing, probes)
    if bad and on_bad_image == "fail":
        first, more = (
            next(iter(bad.values())),
            f" (and {len(bad) - 1} more bad images)" if len(bad) > 1 else "",
        )
        raise DataError(
            f"{first}{more}; `d2n data verify` lists them all, on_bad_image: skip leaves them out"
        )
    whole = [image for image in dict.fromkeys(listing.images) if image.path not in bad]
    kept = [image for image in whole if not image.domain or _side(probes[image.path]) >= listing.min_side_px]
    _check_domains(name, root, kind, kept, len(bad), len(whole) - len(kept), listing)
    present = {image.path for image in kept}
    pairs = [pair for pair in listing.pairs if present.issuperset(pair)]
    splits, divided = _draw(kind, rule, kept, pairs)
    rows = tuple(_row(image, split, probes[image.path]) for image, split in zip(kept, splits, strict=True))
    place = {row.path: i for i, row in enumerate(rows)}
    facts = {
        **listing.facts,
        **({"skipped": len(bad)} if bad else {}),
        **({"too_small": len(whole) - len(kept)} if listing.min_side_px else {}),
        **({"scenes_divided": 1} if divided else {}),
    }
    numbered = tuple((place[day], place[night]) for day, night in pairs)
    return Index(name, Path(os.path.realpath(root)), dict(rule), rows, numbered, kind.name, facts)


def bad_images(listing: Listing, probes: Mapping[str, Probe]) -> dict[str, str]:
    """One line for each image that cannot be used: damaged, not what the labels say, or listed twice."""
    expected = {image.path: image.sha256 for image in listing.images if image.sha256}
    bad = problems_of(probes, expected)
    return bad | _listed_twice(listing)


def find_index(name: str, root: Path | None, index: Path | None, default_root: Path) -> Path | None:
    """The index file that is meant: ``index`` (a file or its folder), else in the root, else in the default root."""
    if index is not None:
        return index if index.is_file() else _existing(index_path(index, name))
    return _existing(index_path(root if root is not None else default_root, name))


def reselect(path: Path, kind: SetKind, index: Index, rule: Mapping[str, Any]) -> Index:
    """The same folder under other knobs, from what the walk remembers; nothing is written.

    Raises DataError where the rule takes images that were not walked.
    """
    before, resolved = kind.resolve({}, base=index.rule), kind.resolve(rule, base=index.rule)
    if resolved == before:
        return index
    command = f"d2n data prepare {index.kind} {index.root}"
    if kind.listing is None:
        raise DataError(
            f"{path}: made with {dict(index.rule)}, the experiment asks for {dict(rule)}; make it anew"
        )
    listing = kind.listing(index.root, resolved)
    probes = load_probes(scan_path(path.parent, index.name))
    unknown = [image.path for image in listing.images if image.path not in probes]
    if unknown:
        raise DataError(
            f"{path}: this rule takes {len(unknown)} images that were not walked, first {unknown[0]!r}; "
            f"run `{command}` with the same --set dataset.rule… values"
        )
    probes = {image.path: probes[image.path] for image in listing.images}
    bad: OnBadImage = "skip" if index.facts.get("skipped") else "fail"
    return build_index(kind, index.name, index.root, resolved, listing, probes, bad)


def open_set(name: str, path: Path, root: Path | None) -> Index:
    """The index at ``path``; a ``root`` that only holds the index is not taken for the images' folder."""
    given = None if root is None or os.path.realpath(root) == os.path.realpath(path.parent) else root
    index = load_index(path, given)
    if index.name != name:
        raise DataError(f"{path}: the index of {index.name!r}, expected {name!r}; give that set's index")
    return index


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _listed_twice(listing: Listing) -> dict[str, str]:
    """Images listed in both domains, or twice with other labels."""
    by_path: dict[str, set[Candidate]] = {}
    for image in listing.images:
        by_path.setdefault(image.path, set()).add(image)
    lines = {}
    for path, found in by_path.items():
        if len({image.domain for image in found}) > 1:
            lines[path] = f"{path}: listed as day and as night; leave it in one"
        elif len(found) > 1:
            lines[path] = f"{path}: listed {len(found)} times with other scenes or splits; leave it in one"
    return lines


def _side(probe: Probe) -> int:
    return min(probe.width, probe.height)


def _draw(
    kind: SetKind, rule: Mapping[str, Any], images: list[Candidate], pairs: list[tuple[str, str]]
) -> tuple[list[str], bool]:
    if kind.evaluation:
        return [image.split or "test" for image in images], False
    seed = int(rule["split_seed"])
    return assign_splits(images, pairs, float(rule["val_share"]), float(rule["test_share"]), seed)


def _check_domains(
    name: str,
    root: Path,
    kind: SetKind,
    images: list[Candidate],
    num_bad: int,
    num_small: int,
    listing: Listing,
) -> None:
    if kind.evaluation or any(not image.domain and image.split == "test" for image in images):
        return
    found = {image.domain or image.condition for image in images} - {""}
    if len(found) > 1 and any(not image.domain and image.condition for image in images):
        return  # such as dusk and rain, without a day or a night: dataset.source and dataset.target say which
    for domain in ("day", "night"):
        if domain not in found:
            small = f", {num_small} under {listing.min_side_px} px" if num_small else ""
            left_out = "".join(f"; {line}" for line in left_out_lines(listing.facts))
            raise DataError(
                f"{root}: {name} has 0 {domain} images ({num_bad} bad{small}); expected both domains{left_out}"
            )


def _row(image: Candidate, split: str, probe: Probe) -> ImageRow:
    size = (probe.width, probe.height)
    return ImageRow(image.path, image.domain, image.scene, split, *size, probe.sha256, image.condition)
