"""The public pickle layouts of retrieval training sets and benchmarks, for other tools; images are linked."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

from d2n.datasets.ground_truth import GroundTruth
from d2n.datasets.index import Index
from d2n.datasets.rsfm import image_path
from d2n.datasets.tuples import RetrievalSet, scene_tuples
from d2n.errors import DataError
from d2n.files.refusals import why
from d2n.files.writing import write_bytes

logger = logging.getLogger(__name__)


def write_training_pickles(index: Index, folder: Path) -> list[Path]:
    """``<name>.pkl`` and ``<name>-whiten.pkl`` as those of Retrieval-SfM, and ``ims/`` with links to the images.

    cids are the first 32 digits of the images' sha256. Part ``val`` comes from split val, empty where that has no
    scene with two day images. Raises DataError where training has none, or links cannot be made.
    """
    cids = _cids(index)
    train = _part(scene_tuples(index), cids)
    try:
        val = _part(scene_tuples(index, splits=("val",)), cids)
    except DataError:
        logger.warning("%s: no scene of val has two day images; part val is empty", index.name)
        val = {"cids": [], "cluster": [], "qidxs": [], "pidxs": []}
    _link(folder / "ims", {image_path(cid): path for path, cid in cids.items()})
    whiten = {key: train[key] for key in ("cids", "qidxs", "pidxs")}
    return [
        _dump(folder / f"{index.name}.pkl", {"train": train, "val": val}),
        _dump(folder / f"{index.name}-whiten.pkl", whiten),
    ]


def write_benchmark_pickle(index: Index, truth: GroundTruth, folder: Path) -> Path:
    """``<name>/gnd_<name>.pkl`` of imlist, qimlist and gnd, and ``<name>/jpg/`` with links; returns the pickle."""
    name = truth.name.replace("/", "-")
    cids = {row.path: row.sha256[:32] for row in index.rows}
    boxes = truth.boxes or [None] * len(truth.queries)
    gnd = [
        {"bbx": None if box is None else list(box), **answer}
        for box, answer in zip(boxes, truth.ground_truth, strict=True)
    ]
    used = dict.fromkeys((*truth.database, *truth.queries))
    rows = {row.path: row for row in index.rows}
    _link(folder / name / "jpg", {f"{cids[path]}.jpg": index.path(rows[path]) for path in used})
    values = {
        "imlist": [cids[p] for p in truth.database],
        "qimlist": [cids[p] for p in truth.queries],
        "gnd": gnd,
    }
    return _dump(folder / name / f"gnd_{name}.pkl", values)


def _cids(index: Index) -> dict[Path, str]:
    return {index.path(row): row.sha256[:32] for row in index.rows if row.domain == "day"}


def _part(tuples: RetrievalSet, cids: dict[Path, str]) -> dict[str, list[Any]]:
    return {
        "cids": [cids[path] for path in tuples.paths],
        "cluster": list(tuples.clusters),
        "qidxs": list(tuples.query_idx),
        "pidxs": list(tuples.positive_idx),
    }


def _link(folder: Path, targets: dict[str, Path]) -> None:
    try:
        for name, target in targets.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():
                link.unlink()
            link.symlink_to(target)
    except OSError as error:
        raise DataError(
            f"{folder}: links to the images cannot be made ({why(error, folder)}); give another folder"
        ) from error


def _dump(path: Path, values: Any) -> Path:
    write_bytes(path, pickle.dumps(values, protocol=2))  # 2: what every reader of these layouts takes
    return path
