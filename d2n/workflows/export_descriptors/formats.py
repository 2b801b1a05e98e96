"""The layouts that other tools read.

hloc (Sarlin et al. 2019): one HDF5 with a group an image that holds ``global_descriptor``, and a text of pairs.
kapture 1.1 (Humenberger et al. 2020): ``reconstruction/global_features/<type>`` with one binary file an image, and
pairs of query, map and score. The place recognition benchmarks (Berton et al. 2022): ``database/`` and ``queries/``
of images named ``@utm_east@utm_north@…``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from d2n.datasets.images import image_size
from d2n.errors import DataError

HLOC_FEATURES, PAIRS = "global-feats-d2n.h5", "pairs.txt"
_TYPE = "d2n"
_POSITION = re.compile(r"^@\s*-?[\d.]+\s*@\s*-?[\d.]+\s*@")


@dataclass(frozen=True)
class Described:
    """Photographs with their descriptors, and what was found for each query."""

    folder: Path
    names: list[str]  # relative to the folder, with /
    descriptors: np.ndarray  # (N, D) float32
    queries: list[int]
    database: list[int]
    best: list[list[int]]  # of each query, numbers of photographs, best first
    top: int


def write_hloc(made: Described, out: Path) -> None:
    """``global-feats-d2n.h5`` and ``pairs.txt`` of lines ``query database``."""
    import h5py

    with h5py.File(out / HLOC_FEATURES, "w") as file:
        for name, descriptor in zip(made.names, made.descriptors, strict=True):
            file.create_group(name).create_dataset("global_descriptor", data=descriptor)
    lines = [
        f"{made.names[query]} {made.names[number]}"
        for query, best in zip(made.queries, made.best, strict=True)
        for number in best
    ]
    _write_lines(out / PAIRS, lines)


def write_kapture(made: Described, out: Path) -> None:
    """Sensors, records, global features as raw float32, and ``reconstruction/pairs_d2n.txt``."""
    sensors, features = out / "sensors", out / "reconstruction" / "global_features" / _TYPE
    sensors.mkdir(parents=True)
    features.mkdir(parents=True)
    head = "# kapture format: 1.1"
    sizes = [image_size(made.folder / name) for name in made.names]
    kinds = sorted(set(sizes))
    _write_lines(
        sensors / "sensors.txt",
        [head, "# sensor_id, name, sensor_type, [sensor_params]+"]
        + [f"camera{i}, , camera, UNKNOWN_CAMERA, {w}, {h}" for i, (w, h) in enumerate(kinds)],
    )
    _write_lines(
        sensors / "records_camera.txt",
        [head, "# timestamp, device_id, image_path"]
        + [f"{i}, camera{kinds.index(sizes[i])}, {_listed(name)}" for i, name in enumerate(made.names)],
    )
    _write_lines(
        features / "global_features.txt",
        [head, "# name, dtype, dsize, metric_type", f"d2n, float32, {made.descriptors.shape[1]}, L2"],
    )
    for name, descriptor in zip(made.names, made.descriptors, strict=True):
        path = features / f"{name}.gfeat"
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor.astype("<f4").tofile(path)
    pairs = [
        f"{_listed(made.names[query])}, {_listed(made.names[number])}, "
        f"{float(made.descriptors[query] @ made.descriptors[number]):.6f}"
        for query, best in zip(made.queries, made.best, strict=True)
        for number in best
    ]
    _write_lines(out / "reconstruction" / f"pairs_{_TYPE}.txt", [head, "# query, map, score", *pairs])


def write_place(made: Described, out: Path) -> None:
    """``database/`` and ``queries/`` with copies of the images, their descriptors and names beside."""
    require_positions(made.names)
    for side, numbers in (("database", made.database), ("queries", made.queries)):
        folder = out / side
        folder.mkdir()
        taken: dict[str, str] = {}
        for number in numbers:
            name = made.names[number]
            own = Path(name).name
            if own in taken:
                raise DataError(
                    f"{name}: has the name of {taken[own]}; rename one, as {side}/ has no folders"
                )
            taken[own] = name
            shutil.copyfile(made.folder / name, folder / own)
        np.save(out / f"{side}_descriptors.npy", made.descriptors[numbers])
        _write_lines(out / f"{side}.txt", list(taken))


def require_positions(names: Sequence[str]) -> None:
    """DataError where an image's name does not begin with its place."""
    without = [name for name in names if not _POSITION.match(Path(name).name)]
    if without:
        raise DataError(
            f"{without[0]}: no @utm_east@utm_north@ at the start of its name ({len(without)} of {len(names)} images); "
            "the place recognition benchmarks read places from names: rename, or take --format hloc or kapture"
        )


def _listed(name: str) -> str:
    if "," in name or "\n" in name:
        raise DataError(
            f"{name!r}: has a comma or a line break, which kapture's lists cannot hold; rename it"
        )
    return name


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
