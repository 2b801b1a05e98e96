"""Miniatures of the public formats, made for a test: a few small images each."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d2n.datasets.transattr import ATTRIBUTES


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (48, 40), form: str | None = None) -> Path:
    """An image (width, height) of its own bytes for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, form)
    return path


def day_and_night(root: Path, num_day: int = 6, num_night: int = 6, size: tuple[int, int] = (48, 40)) -> Path:
    """Unaligned day/ and night/."""
    for i in range(num_day):
        photo(root / "day" / f"d{i}.png", i, size)
    for i in range(num_night):
        photo(root / "night" / f"n{i}.png", 1000 + i, size)
    return root


def labelled(root: Path, scenes: dict[str, tuple[str, int, int]]) -> Path:
    """labels.csv of image, domain, scene, fold, and the images; scene: (fold, days, nights)."""
    rows, seed = [], 0
    for scene, (fold, num_day, num_night) in scenes.items():
        for domain, n in (("day", num_day), ("night", num_night)):
            for i in range(n):
                seed += 1
                path = photo(root / "images" / domain / f"{scene}-{i}.png", seed)
                rows.append((path.relative_to(root).as_posix(), domain, scene, fold))
    table(root / "labels.csv", ("image", "domain", "scene", "fold"), rows)
    return root


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def transattr(root: Path, webcams: dict[str, Sequence[float]]) -> Path:
    """Transient Attributes: webcam to the ``night`` value of each of its images."""
    lines, seed = [], 0
    for webcam, nights in webcams.items():
        for i, night in enumerate(nights, start=1):
            seed += 1
            photo(root / "imageAlignedLD" / webcam / f"{i}.jpg", seed)
            lines.append("\t".join([f"{webcam}/{i}.jpg", *attribute_fields(night)]))
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "annotations.tsv").write_text("\n".join(lines) + "\n")
    return root


def attribute_fields(night: float) -> list[str]:
    return [f"{night if name == 'night' else 0.25},0.5" for name in ATTRIBUTES]


def rsfm(root: Path, clusters: int = 4, views: int = 4, size: tuple[int, int] = (48, 40)) -> Path:
    """Retrieval-SfM: the pickle, the lists (last view of a cluster at night) and ims/; two more images in val."""
    base = root / "retrieval-SfM-120k"
    cids = [f"{i:032x}" for i in range(0x123456, 0x123456 + clusters * views + 2)]
    for seed, cid in enumerate(cids):
        photo(base / "ims" / cid[-2:] / cid[-4:-2] / cid[-6:-4] / cid, seed, size, "JPEG")
    train, val = cids[:-2], cids[-2:]
    queries = [c * views for c in range(clusters)]
    part = {
        "cids": train,
        "cluster": np.repeat(np.arange(clusters), views),
        "qidxs": queries,
        "pidxs": [q + 1 for q in queries],
    }
    second = {"cids": val, "cluster": [clusters, clusters], "qidxs": [0], "pidxs": [1]}
    dump(base / "retrieval-SfM-120k.pkl", {"train": part, "val": second})
    dump(base / "retrieval-SfM-120k-whiten.pkl", {"cids": cids, "qidxs": queries, "pidxs": part["pidxs"]})
    (base / "dataset").mkdir()
    for domain in ("day", "night"):
        mine = [c for i, c in enumerate(train) if (i % views == views - 1) == (domain == "night")]
        lines = [f"{c[-2:]}/{c[-4:-2]}/{c[-6:-4]}/{c}" for c in mine]
        (base / "dataset" / f"train_{domain}.txt").write_text("\n".join(lines) + "\n")
    return root


def revisited(root: Path, name: str = "roxford5k", arrays: bool = False) -> Path:
    """Revisited Oxford: four database images, two queries; answers as lists or as arrays."""
    folder = root / "test" / name
    names = [f"all_souls_{i:06d}" for i in range(4)]
    queries = ["query_a", "query_b"]
    for seed, image in enumerate([*names, *queries]):
        photo(folder / "jpg" / f"{image}.jpg", seed)
    made: Any = np.array if arrays else list
    gnd = [
        {"bbx": made([1.0, 2.0, 30.5, 31.0]), "easy": made([0, 1]), "hard": made([2]), "junk": made([3])},
        {"bbx": made([0.0, 0.0, 20.0, 20.0]), "easy": made([]), "hard": made([3]), "junk": made([])},
    ]
    dump(folder / f"gnd_{name}.pkl", {"imlist": names, "qimlist": queries, "gnd": gnd})
    return root


def tokyo(root: Path, tiles: bool = True) -> Path:
    """24/7 Tokyo: two places in three lights; a .mat of four tiles 20 m apart, which are .png on disk."""
    import scipy.io

    folder = root / "247tokyo1k"
    names = [f"{i:05d}" for i in range(1, 7)]
    for i, name in enumerate(names):
        photo(folder / "jpg" / f"{name}.jpg", i)
        (folder / "jpg" / f"{name}.csv").write_text(f"{name}.jpg,35.6,139.7,0,0,{'DSN'[i % 3]}\n")
    places = [0, 0, 0, 1, 1, 1]
    gnd = [
        {"bbx": None, "ok": [j for j in range(6) if j != i and places[j] == places[i]], "junk": [i]}
        for i in range(6)
    ]
    dump(folder / "gnd_247tokyo1k.pkl", {"imlist": names, "qimlist": names, "gnd": gnd})
    struct = {
        "dbImageFns": np.array([[f"00001/tile_{i}.jpg"] for i in range(4)], dtype=object),
        "utmDb": np.array([[0.0, 20.0, 40.0, 60.0], [0.0, 0.0, 0.0, 0.0]]),
        "qImageFns": np.array([["00001.jpg"], ["00004.jpg"]], dtype=object),
        "utmQ": np.array([[0.0, 65.0], [0.0, 0.0]]),
        "posDistThr": 25.0,
    }
    scipy.io.savemat(root / "tokyo247.mat", {"dbStruct": struct})
    for i in range(4 if tiles else 0):
        photo(root / "tiles" / "00001" / f"tile_{i}.png", 100 + i)
    return root


def dump(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(values, protocol=4))
    return path
