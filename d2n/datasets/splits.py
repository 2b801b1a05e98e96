"""Train, val and test: by scene where scenes are known, else by a hash of the path; pairs never across."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from d2n.datasets.listing import Candidate

logger = logging.getLogger(__name__)


def assign_splits(
    images: Sequence[Candidate],
    pairs: Iterable[tuple[str, str]],
    val_share: float,
    test_share: float,
    seed: int,
) -> tuple[list[str], bool]:
    """A split for each image, and whether images of one scene had to go to several.

    Splits already given are kept, and one that is given anywhere is not drawn again. The rest is drawn group by
    group, a group being the images of a scene and all that pairs join to them: ordered by a hash of the group,
    the first go to test, the next to val. Groups with both domains, with day alone and with night alone are
    drawn apart, so that each split gets its share of each; at least one group each where there are three.
    Two scenes: one trains, the other is divided between val and test. Where a domain still has an empty split,
    its images are drawn one by one.
    """
    given = {image.split for image in images}
    shares = {"val": 0.0 if "val" in given else val_share, "test": 0.0 if "test" in given else test_share}
    open_images = [i for i, image in enumerate(images) if not image.split and image.domain]
    splits = [image.split for image in images]
    strata = _strata(images, _groups(images, open_images, pairs))
    mixed = strata.pop("both", [])
    divided = len(mixed) == 2 and any(shares.values())
    if divided:
        logger.warning(
            "two scenes alone have both domains: one trains, the other is divided into val and test"
        )
        _divide_second(images, _ordered(images, mixed, seed), splits, shares)
    else:
        _apportion(images, mixed, splits, shares, seed, at_least=1)
    for groups in strata.values():
        _apportion(images, groups, splits, shares, seed, at_least=0 if len(mixed) > 2 else 1)
    for domain in sorted({images[i].domain for i in open_images}):
        members = [i for i in open_images if images[i].domain == domain]
        if _lacks(members, splits, shares):
            divided = divided or any(images[i].scene for i in members)
            logger.warning("scenes are too few for every split: %s images are drawn one by one", domain)
            _apportion(images, [[i] for i in members], splits, shares, seed, at_least=1)
    return splits, divided


def _lacks(members: Sequence[int], splits: Sequence[str], shares: Mapping[str, float]) -> bool:
    """Whether a wanted split is empty that the images would suffice for: val needs two, test three."""
    found = {splits[i] for i in members}
    wanted = ["train", *(split for split, share in shares.items() if share)]
    return any(split not in found for split in wanted[: len(members)]) and len(members) > 1


def _groups(
    images: Sequence[Candidate], members: Sequence[int], pairs: Iterable[tuple[str, str]]
) -> list[list[int]]:
    """Connected components under "same scene" and "are a pair"."""
    parent: dict[Hashable, Hashable] = {}

    def find(node: Hashable) -> Hashable:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for i in members:
        if images[i].scene:
            parent[find(("image", images[i].path))] = find(("scene", images[i].scene))
    for day, night in pairs:
        parent[find(("image", day))] = find(("image", night))
    components: dict[Hashable, list[int]] = defaultdict(list)
    for i in members:
        components[find(("image", images[i].path))].append(i)
    return list(components.values())


def _strata(images: Sequence[Candidate], groups: list[list[int]]) -> dict[str, list[list[int]]]:
    strata: dict[str, list[list[int]]] = defaultdict(list)
    for group in groups:
        domains = {images[i].domain for i in group}
        strata["both" if len(domains) > 1 else domains.pop()].append(group)
    return strata


def _apportion(
    images: Sequence[Candidate],
    groups: list[list[int]],
    splits: list[str],
    shares: Mapping[str, float],
    seed: int,
    at_least: int,
) -> None:
    """Write the splits of whole groups; one group alone trains, of two the second is val."""
    ordered = _ordered(images, groups, seed)
    n = len(ordered)
    at_least = at_least if n >= 3 else 0
    num_val, num_test = (max(round(share * n), at_least) if share else 0 for share in shares.values())
    if n == 2 and not num_val + num_test:
        num_val, num_test = (1, 0) if shares["val"] else (0, 1 if shares["test"] else 0)
    for position, group in enumerate(ordered):
        split = "test" if position < num_test else "val" if position < num_test + num_val else "train"
        for i in group:
            splits[i] = split


def _divide_second(
    images: Sequence[Candidate], mixed: list[list[int]], splits: list[str], shares: Mapping[str, float]
) -> None:
    """Two scenes: the first trains; the second's images alternate between the held-out splits, domain by domain."""
    held_out = [split for split, share in shares.items() if share]
    for i in mixed[0]:
        splits[i] = "train"
    for domain in sorted({images[i].domain for i in mixed[1]}):
        for position, i in enumerate(sorted(i for i in mixed[1] if images[i].domain == domain)):
            splits[i] = held_out[position % len(held_out)]


def _ordered(images: Sequence[Candidate], groups: list[list[int]], seed: int) -> list[list[int]]:
    """By a hash of the scene, or of the first path: no order of the walk, no neighbouring file names."""

    def key(group: list[int]) -> str:
        scenes = [images[i].scene for i in group if images[i].scene]
        name = min(scenes) if scenes else min(images[i].path for i in group)
        return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogateescape")).hexdigest()

    return sorted(groups, key=key)
