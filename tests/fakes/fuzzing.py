"""Damages files of every format that d2n reads and reads them by the functions that users' commands call.

``python fuzzing.py SEED MUTATIONS FOLDER`` prints JSON: how many were read, and what was neither read nor refused
by a D2NError. Each has a limit of processor time; together they have a limit of memory.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import pickle
import random
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import savemat

from d2n import config
from d2n.config import NetworkConfig, translator_config
from d2n.datasets import folders, revisited, rsfm, tokyo247, transattr
from d2n.datasets.ground_truth import read_ground_truth
from d2n.datasets.index import ImageRow, Index, load_index, save_index
from d2n.datasets.listing import read_lines
from d2n.datasets.scan import load_probes
from d2n.errors import D2NError
from d2n.retrieval import network
from d2n.scores import trunks
from d2n.scores.feature_cache import FeatureCache
from d2n.scores.frechet import FeatureStats
from d2n.scores.statistics import load_statistics, save_statistics
from d2n.studies.loading import load_study
from d2n.translators import checkpoint, from_config, import_weights

SECONDS_EACH, MEMORY_BYTES = 6.0, 1200 * 2**20
ODD: list[Any] = [
    None, True, False, -1, 0, 1, 3.5, 10**12, 10**30, -(10**12), 1e308, float("inf"), float("nan"), "", "x" * 300,
    "a\nb", "\0", "\ud800", "../..", "/dev/zero", "none", [], {}, [1], ["a", ["b"]], {"a": {"b": 1}}, [[[[[]]]]],
]  # fmt: skip
TOKENS = [
    b"", b"\0", b"\xff", b"[", b"{", b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"9" * 5000, b".inf", b"NaN", b"1e999",
    b"-1", b"1e12", b"null", b"true", b"~", b"!!int abc", b"!!binary x", b"!!set {a}", b"!!python/name:os.system", b"2024-99-99",  # noqa: E501
    b"? [a, b]\n: 1\n", b"&a [*a]", b"<<: 1", b"\n\n", b",", b",,,,,,,", b'"', b"x" * 300, b"\t", b"\xef\xbb\xbf", b"\\ud800",  # noqa: E501
]  # fmt: skip
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 10)) for i in range(8)
)


class Hang(BaseException):
    """A reader that did not come back."""


@dataclass
class Kind:
    """A format: the file that is damaged, who reads it, and the value it was written from, if that is damaged too."""

    name: str
    path: Path
    read: Callable[[], object]
    write: Callable[[Any, Path], object] | None = None
    value: Any = None
    extra: tuple[bytes, ...] = ()


def kinds(home: Path) -> list[Kind]:
    return [*_texts(home), *_tables(home), *_annotations(home), *_networks(home), *_archives(home)]


def _texts(home: Path) -> list[Kind]:
    made = []
    for name, read in (
        ("experiment", config.load_experiment),
        ("retrieval", config.load_experiment),
        ("study", load_study),
    ):
        path = _file(home / name / "x.yaml", _YAMLS[name])
        made.append(
            Kind(name, path, lambda path=path, read=read: read(path), extra=(BOMB, b"name: " + b"[" * 20000))
        )
    _file(home / "study" / "e.yaml", _YAMLS["experiment"])
    setting = _file(home / "set" / "set.txt", b"translator.lr=1e-4")
    made.append(
        Kind(
            "set",
            setting,
            lambda: config.build_experiment({}, [setting.read_bytes().decode("utf-8", "surrogateescape")]),
        )
    )
    return made


def _tables(home: Path) -> list[Kind]:
    root = home / "folder"
    names = [f"{domain}/{i}.jpg" for domain in ("day", "night") for i in range(4)]
    for name in names:
        _file(root / name, b"x")
    rule = folders.KIND.resolve({})
    rows = tuple(ImageRow(name, name.split("/")[0], "s", "train", 8, 8, "0" * 64) for name in names)
    path = save_index(
        Index("fuzz", root, rule, rows, ((0, 4), (1, 5)), "folders", {"skipped": 1}), home / "index"
    )
    header, _, body = path.read_text().partition("\n")
    labels = b"image,domain,scene,split,fold\n" + b"".join(
        b"%s,day,s,train,1\n" % name.encode() for name in names
    )
    label_root, pair_root = home / "labelled", home / "paired"
    for name in names:
        _file(label_root / name, b"x")
        _file(pair_root / name, b"x")
    pairs = b"day,night\nday/0.jpg,night/0.jpg\n0.jpg,1.jpg\n"
    truth = {"database": names, "queries": names[:2], "boxes": [[0, 0, 4, 4], [1, 1, 3, 3]], "self_match": False,
             "ground_truth": [{"ok": [0], "junk": [1]}, {"ok": [2, 3]}]}  # fmt: skip
    several = {
        "database": names,
        "queries": {"a": names[:1]},
        "ground_truth": {"a": [{"easy": [0], "hard": [1]}]},
    }
    probe = {
        "path": "a",
        "size_bytes": 1,
        "mtime_ns": 2,
        "width": 3,
        "height": 4,
        "sha256": "5",
        "problem": "",
    }
    value = json.loads(header[1:])
    folded = folders.KIND.resolve({"train_folds": ["1"]})

    def indexed(changed: Any, target: Path) -> None:
        target.write_text("#" + json.dumps(changed) + "\n" + body, errors="surrogatepass")

    return [
        Kind("index", path, lambda: load_index(path).counts(), indexed, value),
        Kind("index moved", path, lambda: load_index(path, root).info(), indexed, value),
        Kind("labels", _file(label_root / "labels.csv", labels), lambda: folders.listing(label_root, rule)),
        Kind("folds", label_root / "labels.csv", lambda: folders.listing(label_root, folded)),
        Kind("pairs", _file(pair_root / "pairs.csv", pairs), lambda: folders.listing(pair_root, rule)),
        _json(home / "truth.json", truth, lambda path: read_ground_truth(path, "fuzz")),
        _json(home / "truths.json", several, lambda path: read_ground_truth(path, "fuzz")),
        _json(home / "scan.jsonl", probe, load_probes),
        Kind("list", _file(home / "list.txt", b"a.jpg\nb.jpg\n"), lambda: read_lines(home / "list.txt")),
    ]


def _annotations(home: Path) -> list[Kind]:
    line = b"cam/a.jpg\t" + b"\t".join([b"0.5,0.9"] * 40) + b"\n"
    annotations = _file(home / "annotations.tsv", line * 3)
    gnd = {"imlist": ["a", "b"], "qimlist": ["a"],
           "gnd": [{"bbx": [1.0, 2, 3, 4], "easy": np.array([0]), "hard": [1], "junk": []}]}  # fmt: skip
    cids = [f"{i:032x}" for i in range(6)]
    part = {"cids": cids, "cluster": [0, 0, 0, 1, 1, 1], "qidxs": [0, 3], "pidxs": [1, np.int64(4)]}
    sfm = home / "sfm" / "retrieval-SfM-120k"
    for domain in ("day", "night"):
        _file(sfm / "dataset" / f"train_{domain}.txt", b"")
    tokyo = home / "tokyo" / "247tokyo1k"
    _file(tokyo / "jpg" / "q" / "1.csv", b"1,2,3,4,5,D")
    values = {"imlist": ["q/1"], "qimlist": ["q/1"], "gnd": [{"ok": [0], "junk": np.array([0])}]}
    _dump(values, tokyo / "gnd_247tokyo1k.pkl")
    struct = {"dbImageFns": np.array([["a.jpg"], ["b.jpg"]], dtype=object), "qImageFns": np.array([["q.jpg"]], dtype=object),  # noqa: E501
              "utmDb": np.array([[1.0, 2], [3, 4]]), "utmQ": np.array([[1.0], [3]]), "posDistThr": 25.0}  # fmt: skip
    place = tokyo247.KIND.resolve({"place": "on"})
    auto = tokyo247.KIND.resolve({})
    mat = home / "tokyo" / "tokyo247.mat"

    def matlab(changed: Any, target: Path) -> None:
        savemat(target, {"dbStruct": changed}, do_compression=len(str(changed)) % 2 == 0)

    matlab(struct, mat)
    return [
        Kind("transattr", annotations, lambda: transattr.read_annotations(annotations)),
        _pickled(home / "rox" / "gnd_roxford5k.pkl", gnd, lambda path: revisited.read_gnd(path.parent, "roxford5k")),
        _pickled(sfm / rsfm.TUPLES, {"train": part, "val": part}, lambda _: (rsfm.listing(home / "sfm", rsfm.KIND.resolve({})), rsfm._tuples(sfm, "train"))),  # noqa: E501
        _pickled(tokyo / "gnd_247tokyo1k.pkl", values, lambda _: tokyo247.listing(home / "tokyo", auto)),
        Kind("light", tokyo / "jpg" / "q" / "1.csv", lambda: tokyo247.listing(home / "tokyo", auto)),
        Kind("mat", mat, lambda: tokyo247.listing(home / "tokyo", place), matlab, struct),
    ]  # fmt: skip


def _networks(home: Path) -> list[Kind]:
    knobs = {"generator_channels": 2, "generator_blocks": 1}
    described = translator_config("cyclegan", "toy", **knobs)
    folder = home / "generator"
    checkpoint.save_generator(folder, from_config.generator_from_config(described), described)
    card = json.loads((folder / "generator.json").read_text())
    card.pop("sha256")  # else damaged tensors would be told by it alone
    kept = home / "checkpoints"
    checkpoint.save(kept, {"a": torch.zeros(4), "b": [1, {"c": None}]}, {"step": 1})
    record = json.loads((kept / "checkpoint-000001.json").read_text())
    plain = translator_config("cyclegan", "reference", **knobs)
    public = import_weights.export_reference(from_config.generator_from_config(plain))
    pth, net = home / "latest_net_G.pth", home / "network"
    old = home / "old_net_G.pth"
    torch.save(public, pth)
    torch.save(public, old, _use_new_zipfile_serialization=False)
    network.save(net, network.build(NetworkConfig(backbone="toy")), NetworkConfig(backbone="toy"))
    cir = {"meta": {"architecture": "squeezenet1_1", "pooling": "gem"}, "epoch": np.float64(1),
           "state_dict": {"features.0.weight": torch.zeros(64, 3, 3, 3), "whiten.weight": torch.zeros(3, 4)}}  # fmt: skip  # noqa: E501
    cirtorch = home / "cir.pth"
    torch.save(cir, cirtorch)
    foreign = NetworkConfig(backbone="squeezenet1_1", weights=str(cirtorch))
    return [
        _json(folder / "generator.json", card, lambda path: checkpoint.load_generator(path.parent)),
        Kind("generator", folder / "generator.safetensors", lambda: checkpoint.load_generator(folder)),
        _json(kept / "checkpoint-000001.json", record, lambda path: checkpoint.load(path.parent)),
        Kind("checkpoint", kept / "checkpoint-000001.pt", lambda: checkpoint.load(kept)),
        Kind("reference", pth, lambda: import_weights.import_generator(pth, plain), torch.save, public, (b"hello",)),
        Kind("old reference", old, lambda: import_weights.import_generator(old, plain)),
        Kind("extractor", pth, lambda: trunks.read_state(pth), torch.save, public),
        Kind("cirtorch", cirtorch, lambda: network.read_weights(foreign), torch.save, cir),
        _json(net / "network.json", json.loads((net / "network.json").read_text()), lambda path: network.load(path.parent)),  # noqa: E501
        Kind("network", net / "network.safetensors", lambda: network.load(net)),
    ]  # fmt: skip


def _archives(home: Path) -> list[Kind]:
    path = home / "statistics.npz"
    save_statistics(path, FeatureStats.from_features(np.random.default_rng(0).normal(size=(8, 3))))
    cache = FeatureCache(home / "cache")
    cache.put({"extractor": "x"}, ["a", "b"], np.ones((2, 3), np.float32))
    (kept,) = (home / "cache").glob("*.npz")
    return [
        Kind("statistics", path, lambda: load_statistics(path)),
        Kind("features", kept, lambda: cache.get({"extractor": "x"}, ["a", "b"])),
    ]


def _file(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _json(path: Path, value: Any, read: Callable[[Path], object]) -> Kind:
    def write(changed: Any, target: Path) -> None:
        target.write_text(json.dumps(changed), errors="surrogatepass")

    _file(path, json.dumps(value).encode())
    return Kind(path.name, path, lambda: read(path), write, value, (b"[" * 100_000, b'{"a":' * 100_000))


def _dump(value: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=len(str(value)) % 6))


def _pickled(path: Path, value: Any, read: Callable[[Path], object]) -> Kind:
    _dump(value, path)
    nested: list[Any] = ["x"] * 10
    for _ in range(9):
        nested = [nested] * 10
    huge = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(I0\ntC\x01btR(I1\n(I300000000\nt"
        b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntRI0\n]tb."
    )
    return Kind(
        path.name,
        path,
        lambda: read(path),
        _dump,
        value,
        (pickle.dumps(nested), huge, b"\x80\x02]r\xff\xff\xff\x7f."),
    )


_YAMLS = {
    "experiment": b"""kind: translation
name: fuzz
preset: toy
seed: 1
dataset: {name: toycity, image_size_px: 32, rule: {seed: 0}}
translator: {method: cyclegan, lr: 1e-4, generator_channels: 4}
training: {n_epochs: 2, steps_per_epoch: 5, batch_size: 1, device: cpu}
evaluation: {every_epochs: 1, extractor: random-squeezenet1_0, scores: [fid, kid]}
""",
    "retrieval": b"""kind: retrieval
name: fuzz
network: {backbone: toy, gem_p: 3.0}
training: {n_epochs: 1, num_queries: 10, margin: 0.7}
night: {augmentation: none, probability: 0.25}
evaluation: {benchmarks: [toycity], scales: [1, 0.5], roots: {toycity: data}}
""",
    "study": b"""name: fuzz
experiment: e.yaml
overrides: {training.n_epochs: 3}
space:
  translator.lr: {type: float, low: 1e-5, high: 1e-3, log: true}
  translator.pool_size: {type: int, low: 0, high: 50, step: 10}
  translator.gan_loss: {type: categorical, choices: [vanilla, hinge]}
  translator.lambda_cycle: {type: float, low: 1, high: 20, when: {translator.gan_loss: hinge}}
objective: {score: fid}
sampler: {name: tpe, seed: 1}
pruner: median
enqueue: [{translator.lr: 1e-4}]
stop: {trials: 5}
""",
}


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    until = min(len(content), at + rng.choice([1, 4, 16, 200]))
    match rng.randrange(6):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + rng.choice(TOKENS) + content[at:]
        case 2:
            return content[:at] + rng.choice(TOKENS) + content[until:]
        case 3:
            return content[:at] + content[at:until] * rng.randrange(2, 20) + content[until:]
        case 4:
            return content[:at] + rng.randbytes(until - at) + content[until:]
    flipped = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 8])):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def damaged_yaml(content: bytes, rng: random.Random) -> bytes:
    """A value replaced, so that the rest stays well-formed."""
    places = [i + 2 for i in range(len(content) - 1) if content[i : i + 2] == b": "]
    at = rng.choice(places)
    end = at
    while end < len(content) and content[end : end + 1] not in (b",", b"}", b"\n"):
        end += 1
    return content[:at] + rng.choice(TOKENS) + content[end:]


def damaged_value(value: Any, rng: random.Random) -> Any:
    """A copy with one part of it replaced, left out or put elsewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if rng.random() < 0.1:
            return {(rng.choice([1, "x" * 300, ""]) if k == key else k): v for k, v in value.items()}
        return {**value, key: damaged_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], damaged_value(value[at], rng), *value[at + 1 :]]
    if isinstance(value, torch.Tensor) and rng.random() < 0.7:
        return rng.choice([torch.zeros(()), torch.zeros(1).expand(512, 3, 7, 7), torch.zeros(2, 2, dtype=torch.complex64),  # noqa: E501
                           torch.zeros(3).to_sparse(), torch.zeros(0), torch.zeros(2, device="meta"), value[:1]])  # fmt: skip  # noqa: E501
    if isinstance(value, np.ndarray) and rng.random() < 0.7:
        return rng.choice(
            [
                np.zeros(()),
                np.zeros((0, 3)),
                np.array([1 + 2j]),
                np.array([None, [1]], dtype=object),
                np.array(["a"]),
            ]
        )
    return rng.choice(ODD)


def damage(kind: Kind, whole: bytes, rng: random.Random, turn: int) -> None:
    if turn < len(kind.extra):
        kind.path.write_bytes(kind.extra[turn])
    elif kind.write is not None and rng.random() < 0.6:
        try:
            kind.write(damaged_value(kind.value, rng), kind.path)
        except (
            TypeError,
            ValueError,
            OverflowError,
            RuntimeError,
            NotImplementedError,
            AttributeError,
            LookupError,
        ):
            kind.path.write_bytes(damaged_bytes(whole, rng))  # what its own writer refuses
    elif kind.path.suffix == ".yaml" and rng.random() < 0.5:
        kind.path.write_bytes(damaged_yaml(whole, rng))
    else:
        kind.path.write_bytes(damaged_bytes(whole, rng))


def outcome(kind: Kind) -> str:
    """ "read", "refused", or what went wrong."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS_EACH)
    try:
        kind.read()
    except D2NError as error:
        return (
            "refused"
            if "\n" not in str(error) and len(str(error)) < 3000
            else f"a long message: {str(error)[:300]!r}"
        )
    except (Exception, Hang):  # noqa: BLE001 - each is a finding
        return traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def _hang(*_: object) -> None:
    raise Hang(f"more than {SECONDS_EACH} s")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def main(seed: int, mutations: int, home: Path) -> dict[str, Any]:
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _hang)
    made = kinds(home)
    wholes = {kind.path: kind.path.read_bytes() for kind in made}
    failures = [
        f"{kind.name}, undamaged: {said}"
        for kind in made
        if (said := outcome(kind)) not in ("read", "refused")
    ]
    warnings.simplefilter("error")
    _limit_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: dict[str, int] = {}
    for number in range(mutations):
        kind, turn = made[number % len(made)], number // len(made)
        rng = random.Random(f"{seed} {number}")
        damage(kind, wholes[kind.path], rng, turn)
        faulthandler.dump_traceback_later(60, exit=True)  # in a library that no signal reaches
        said = outcome(kind)
        faulthandler.cancel_dump_traceback_later()
        counts[said if said in ("read", "refused") else "wrong"] = (
            counts.get(said if said in ("read", "refused") else "wrong", 0) + 1
        )
        if said not in ("read", "refused"):
            shutil.copy(kind.path, home / f"failure-{number}")
            failures.append(f"{kind.name}, mutation {number}: {said}")
        kind.path.write_bytes(wholes[kind.path])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    return {
        "mutations": mutations,
        "kinds": len(made),
        **counts,
        "grown_mb": round(grown),
        "failures": failures,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))))  # noqa: T201
