"""Retrieval-SfM (Radenović et al. 2018): photographs in clusters, with day and night lists (Jenicek & Chum 2019)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from d2n.datasets.index import Index
from d2n.datasets.kinds import SetKind
from d2n.datasets.listing import Candidate, Listing, find_root, read_lines
from d2n.datasets.tuples import RetrievalSet
from d2n.errors import DataError
from d2n.files.nesting import integers, strings
from d2n.files.pickle import read_pickle
from d2n.files.reading import reason

FOLDER = "retrieval-SfM-120k"
_CID = re.compile(r"[\w.-]{6,100}")  # published: 32 hexadecimal digits
TUPLES, WHITENING = "retrieval-SfM-120k.pkl", "retrieval-SfM-120k-whiten.pkl"


def listing(root: Path, rule: Mapping[str, Any]) -> Listing:
    """Thesis 3.1: the images of the day and night lists of which both sides have 512 px.

    Scenes are the clusters of the pickle. Its images that no list names are indexed as split ``retrieval``, of no
    domain and of any size, so that what retrieval training reads was looked at.
    """
    base = _base(root)
    prefix = (base.relative_to(root) / "ims").as_posix()
    clusters = _clusters(base / TUPLES)
    listed = {domain: read_lines(base / "dataset" / f"train_{domain}.txt") for domain in ("day", "night")}
    images = [
        Candidate(f"{prefix}/{name}", domain, clusters.get(PurePosixPath(name).name, ""))
        for domain, names in listed.items()
        for name in names
    ]
    taken = {PurePosixPath(name).name for names in listed.values() for name in names}
    images += [
        Candidate(f"{prefix}/{image_path(cid)}", "", cluster, "retrieval")
        for cid, cluster in clusters.items()
        if cid not in taken
    ]
    facts = {f"listed_{domain}": len(names) for domain, names in listed.items()}
    return Listing(tuple(images), min_side_px=int(rule["min_side_px"]), facts=facts)


def image_path(cid: str) -> str:
    """``<cid[-2:]>/<cid[-4:-2]>/<cid[-6:-4]>/<cid>`` below ``ims``, without an extension."""
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def training_tuples(index: Index) -> RetrievalSet:
    """Queries and positives of the pickle's part ``train``: whatever the size, as retrieval training takes them."""
    return _tuples(_base(index.root), "train")


def validation_tuples(index: Index) -> RetrievalSet:
    """Queries and positives of the pickle's part ``val``."""
    return _tuples(_base(index.root), "val")


def whitening_tuples(index: Index) -> RetrievalSet:
    """The pairs that learned whitening is fitted on; each image is a cluster of its own."""
    return whitening_set(_base(index.root) / WHITENING)


def whitening_set(path: Path) -> RetrievalSet:
    """The pairs of a published ``…-whiten.pkl``, whose images lie in ``ims`` beside it."""
    part = _checked(path, read_pickle(path), ("cids", "qidxs", "pidxs"), "the pickle")
    return _retrieval_set(path.parent, path, part, range(len(part["cids"])))


KIND = SetKind(
    name="rsfm",
    title="Retrieval-SfM 120k",
    ask_at="the retrieval-SfM page (Radenović et al. 2018); its lists: Jenicek & Chum 2019",
    listing=listing,
    knobs={"min_side_px": 512},
    thesis={"listed_day": 146714, "listed_night": 16957, "day": 118910, "night": 13710},
    tuples=training_tuples,
)


def _base(root: Path) -> Path:
    return find_root(root, FOLDER, f"train/{FOLDER}", holds=TUPLES)


def _clusters(path: Path) -> dict[str, str]:
    values = read_pickle(path)
    parts = [_part(path, values, name) for name in ("val", "train")]
    return {cid: str(c) for part in parts for cid, c in zip(part["cids"], part["cluster"], strict=True)}


def _tuples(base: Path, part_name: str) -> RetrievalSet:
    part = _part(base / TUPLES, read_pickle(base / TUPLES), part_name)
    return _retrieval_set(base, base / TUPLES, part, part["cluster"])


def _part(path: Path, values: Any, name: str) -> dict[str, list[Any]]:
    part = values.get(name) if isinstance(values, dict) else None
    checked = _checked(path, part, ("cids", "cluster", "qidxs", "pidxs"), f"part {name!r}")
    if len(checked["cids"]) != len(checked["cluster"]):
        raise DataError(
            f"{path}: {len(checked['cids'])} cids and {len(checked['cluster'])} clusters in {name!r}"
        )
    return checked


def _checked(path: Path, values: Any, keys: tuple[str, ...], what: str) -> dict[str, list[Any]]:
    """Lists of names (cids) and of whole numbers under ``keys``; DataError where they are not that."""
    if not isinstance(values, dict) or not set(keys) <= values.keys():
        raise DataError(f"{path}: no {what} of {', '.join(keys)}; download it again")
    try:
        return {key: _names(values[key]) if key == "cids" else integers(values[key]) for key in keys}
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: {what} is not as published ({reason(error)}); download it again") from error


def _names(values: Any) -> list[str]:
    names = strings(values)
    if wrong := next((name for name in names if not _CID.fullmatch(name)), None):
        raise ValueError(f"an image named {wrong[:40]!r}")
    return names


def _retrieval_set(base: Path, source: Path, part: Mapping[str, Any], clusters: Any) -> RetrievalSet:
    queries, positives, n = part["qidxs"], part["pidxs"], len(part["cids"])
    if len(queries) != len(positives) or any(not 0 <= i < n for i in (*queries, *positives)):
        raise DataError(f"{source}: queries and positives do not index its {n} images; download it again")
    paths = tuple(base / "ims" / image_path(cid) for cid in part["cids"])
    return RetrievalSet(paths, tuple(clusters), tuple(queries), tuple(positives))
