"""A network measured without training: values by independent code, what is kept, what is refused."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.nn import functional

from d2n.datasets import prepare
from d2n.errors import D2NError
from d2n.scores.mean_ap import revisited
from d2n.tracking import runs
from d2n.workflows import evaluate as workflow
from d2n.workflows.evaluate import Request, evaluate, pictures, summing
from tests.datasets.miniatures import labelled, photo

SCALES = (1, 1 / np.sqrt(2), 1 / 2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cirtorch file of random weights with a whitening for several scales, and one for one."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    trunk = {key: value for key, value in state.items() if key.startswith("features.")}
    rng = np.random.default_rng(0)

    def made() -> dict[str, np.ndarray]:
        return {"m": rng.normal(size=(512, 1)) * 0.02, "P": rng.normal(size=(512, 512))}

    meta = {
        "architecture": "squeezenet1_1",
        "pooling": "gem",
        "whitening": False,
        "mean": [0.4, 0.45, 0.5],
        "std": [0.2, 0.25, 0.3],
        "Lw": {"retrieval-SfM-120k": {"ss": made(), "ms": made()}},
    }
    content = {"meta": meta, "state_dict": {**trunk, "pool.p": torch.tensor([2.7])}}
    torch.save(content, folder / "net.pth")
    return folder / "net.pth"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> runs.Store:
    return runs.open_store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")


@pytest.fixture(scope="module")
def oxford(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published layout with 6 images, 2 of them queries; one lies on its side by EXIF."""
    root = tmp_path_factory.mktemp("oxford")
    names = [f"all_souls_{i:06d}" if i < 4 else f"radcliffe_{i:06d}" for i in range(6)]
    for i, name in enumerate(names):
        path = photo(root / "jpg" / f"{name}.jpg", i, (64, 48))
        if i == 0:
            image, exif = Image.open(path), Image.Exif()
            exif[0x0112] = 6
            image.save(path, exif=exif, quality=95)
    gnd: list[dict[str, Any]] = [
        {"bbx": [8.0, 4.0, 60.0, 44.0], "easy": [1], "hard": [2], "junk": [3]},
        {"bbx": [0.0, 0.0, 64.0, 48.0], "easy": [5], "hard": [], "junk": []},
    ]
    content = {"imlist": names, "qimlist": [names[0], names[4]], "gnd": gnd}
    (root / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(content))
    return root


def _cirtorch_like(path: Path, images: list[Path], boxes: list[Any] | None) -> np.ndarray:
    """Descriptors as the published code takes them: one image at a time, no turn by EXIF, from the file alone."""
    content = torch.load(path, weights_only=False)
    meta, state = content["meta"], content["state_dict"]
    features = torchvision.models.squeezenet1_1(weights=None).features
    features.load_state_dict({k.removeprefix("features."): v for k, v in state.items() if k != "pool.p"})
    features.eval()
    p = float(state["pool.p"])
    out = []
    for i, name in enumerate(images):
        image = Image.open(name).convert("RGB")
        size = max(image.size)
        target = 60.0
        if boxes is not None:
            image = image.crop(boxes[i])
            target = 60 * max(image.size) / size
        image.thumbnail((target, target), Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(meta[key])[None, :, None, None] for key in ("mean", "std"))
        x = (x - mean) / std
        total = torch.zeros(512)
        for scale in SCALES:
            at = x if scale == 1 else functional.interpolate(x, scale_factor=scale, mode="bilinear")
            with torch.no_grad():
                maps = features(at)
            pooled = maps.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)[0]
            total += (pooled / (pooled.norm() + 1e-6)).pow(p)
        total = (total / len(SCALES)).pow(1 / p)
        out.append((total / total.norm()).numpy())
    lw = meta["Lw"]["retrieval-SfM-120k"]["ms"]
    whitened = lw["P"] @ (np.stack(out, axis=1) - lw["m"])
    return whitened / (np.linalg.norm(whitened, axis=0, keepdims=True) + 1e-6)


SMALL = ("evaluation.image_size_px=60",)


def test_a_published_network_gives_what_its_code_gives(
    checkpoint: Path, oxford: Path, store: runs.Store
) -> None:
    result = evaluate(Request(str(checkpoint), "roxford5k", oxford, overrides=SMALL), store=store)
    truth = pickle.loads((oxford / "gnd_roxford5k.pkl").read_bytes())  # noqa: S301 - written above
    database = _cirtorch_like(checkpoint, [oxford / "jpg" / f"{n}.jpg" for n in truth["imlist"]], None)
    queries = _cirtorch_like(
        checkpoint, [oxford / "jpg" / f"{n}.jpg" for n in truth["qimlist"]], [g["bbx"] for g in truth["gnd"]]
    )
    ranks = np.argsort(-(database.T @ queries), axis=0)
    expected = revisited(ranks, truth["gnd"])
    found = result.measured
    for part, values in expected.items():
        assert found[f"map_{part}/roxford5k"] == pytest.approx(values.map)
        assert found[f"mp5_{part}/roxford5k"] == pytest.approx(values.mp_at[5])
    assert found["map/roxford5k"] == found["map_medium/roxford5k"]
    assert "map_scenes/roxford5k" in found  # all_souls and radcliffe
    assert not (oxford / "d2n-index-roxford5k.csv").exists()


def test_the_run_keeps_measures_tables_pictures_and_reuses_descriptors(
    checkpoint: Path, oxford: Path, store: runs.Store, tmp_path: Path
) -> None:
    request = Request(str(checkpoint), "roxford5k", oxford, overrides=SMALL)
    first = evaluate(request, store=store)
    kept = {path: path.stat().st_mtime_ns for path in (store.work_root / "descriptors").glob("*.npz")}
    again = evaluate(request, store=store)
    assert again.measured == first.measured
    assert set((store.work_root / "descriptors").glob("*.npz")) == set(kept)
    evaluate(
        Request(str(checkpoint), "roxford5k", oxford, overrides=("evaluation.image_size_px=62",)), store=store
    )
    assert len(list((store.work_root / "descriptors").glob("*.npz"))) == len(kept) + 2
    record = store.get(again.run_id)
    assert record.status == "FINISHED"
    assert record.metrics["map_hard/roxford5k"] == again.measured["map_hard/roxford5k"]
    for path in (
        "rankings/roxford5k-best.png",
        "rankings/roxford5k-worst.png",
        "tables/queries-roxford5k.json",
    ):
        assert store.artifact(again.run_id, path, tmp_path).is_file()


@pytest.fixture
def towns(tmp_path: Path) -> Iterator[Path]:
    labelled(tmp_path / "towns", {f"s{i}": ("A", 2, 2) for i in range(8)})
    with contextlib.chdir(tmp_path):
        prepare("folders", tmp_path / "towns", rule={"test_share": 0.6})
        yield tmp_path / "towns"


def test_a_folder_of_ones_own_by_scene(checkpoint: Path, towns: Path, store: runs.Store) -> None:
    result = evaluate(Request(str(checkpoint), str(towns), whitening="none", overrides=SMALL), store=store)
    found = result.measured
    assert found["map_scenes_low/folders/night"] <= found["map_scenes/folders/night"]
    assert {"map/folders/night", "map/folders/day", "recall1/folders/night", "mp5/folders/day"} <= set(found)
    assert any("map folders/night = " in line and "[" in line for line in workflow.summary(result))


def test_an_index_that_lies_elsewhere_than_its_images(
    checkpoint: Path, towns: Path, tmp_path: Path, store: runs.Store
) -> None:
    prepare("folders", towns, tmp_path / "index", {"test_share": 0.6}, as_name="towns")
    index = str(tmp_path / "index" / "d2n-index-towns.csv")
    asked = Request(str(checkpoint), index, towns, whitening="none", overrides=SMALL)
    assert "map_scenes/towns/night" in evaluate(asked, store=store).measured
    for root, says in ((None, "with --root"), (tmp_path / "gone", "no such folder")):
        with pytest.raises(D2NError, match=says):
            evaluate(Request(str(checkpoint), index, root, whitening="none", overrides=SMALL), store=store)


def test_a_folder_with_a_ground_truth_needs_no_index(
    checkpoint: Path, tmp_path: Path, store: runs.Store
) -> None:
    root = tmp_path / "mine"
    database = [photo(root / "database" / f"{i}.png", i).relative_to(root).as_posix() for i in range(4)]
    queries = [photo(root / "queries" / "q.png", 1).relative_to(root).as_posix()]
    truth = {"database": database, "queries": queries, "ground_truth": [{"ok": [1], "junk": []}]}
    (root / "ground_truth.json").write_text(json.dumps(truth))
    result = evaluate(
        Request(str(checkpoint), str(root), overrides=("evaluation.scales=[1.0]",)), store=store
    )
    assert result.measured["map/folders"] == 1  # the query's pixels are those of image 1
    assert sorted(path.name for path in root.iterdir()) == ["database", "ground_truth.json", "queries"]
    for change, says in (
        ({"ground_truth": [{"ok": [4]}]}, "names image 4 of a database of 4"),
        ({"database": []}, "expected at least one of each"),
        ({"queries": ["../q.png"]}, "q.png"),
    ):
        (root / "ground_truth.json").write_text(json.dumps(truth | change))
        with pytest.raises(D2NError, match=says) as caught:
            evaluate(Request(str(checkpoint), str(root)), store=store)
        assert "\n" not in str(caught.value)


def test_one_line_for_what_cannot_be_measured(
    checkpoint: Path, oxford: Path, towns: Path, store: runs.Store, tmp_path: Path
) -> None:
    narrow = tmp_path / "narrow_lw.pkl"
    narrow.write_bytes(pickle.dumps({"m": np.zeros(8), "P": np.eye(8)}))
    before = len(store.find_runs())
    cases = [
        (
            Request(str(checkpoint), "roxford5k", oxford, whitening=str(narrow), overrides=SMALL),
            "another network",
        ),
        (Request(str(checkpoint), "roxford5k", oxford, whitening="gone"), "no whitening 'gone' in its Lw"),
        (
            Request(str(checkpoint), "roxford5k", oxford, overrides=("evaluation.image_size_px=20",)),
            "needs 17 px",
        ),
        (Request(str(checkpoint), "rparis6k", oxford), "holds no gnd_rparis6k.pkl"),
        (Request(str(checkpoint), "nowhere"), "no index of nowhere"),
        (Request("d2n-gone@champion", str(towns)), "no registered model"),
        (Request(str(checkpoint), str(towns), overrides=("night.probability=1",)), "nothing is trained here"),
        (
            Request(str(checkpoint), str(towns), overrides=("evaluation.query_translation=d2n-gone/7",)),
            "no registered model",
        ),
    ]
    for request, says in cases:
        with pytest.raises(D2NError, match=says) as caught:
            evaluate(request, store=store)
        assert "\n" not in str(caught.value)
    (towns / "images" / "day" / "s0-0.png").unlink()
    (towns / "images" / "night" / "s0-0.png").unlink()
    with contextlib.suppress(D2NError):  # s0 may train; then nothing of the benchmark is missing
        evaluate(Request(str(checkpoint), str(towns), overrides=SMALL), store=store)
    assert len(store.find_runs()) <= before + 1


def test_scenes_and_conditions_by_hand() -> None:
    values = np.array([1.0, 0.0, 0.5, np.nan])
    assert summing.group_means(values, ("a", "a", "b", "c")) == {"a": 0.5, "b": 0.5}
    assert summing.group_means(values, ("", "a", "", "")) == {"a": 0.0}


def test_best_and_worst_queries_never_overlap() -> None:
    assert pictures.best_and_worst(np.array([0.2, np.nan, 0.9, 0.5, 0.1]), 3) == ([2, 3], [4, 0])
    assert pictures.best_and_worst(np.array([0.2]), 3) == ([0], [])


def test_a_ranking_is_framed_by_what_is_right(tmp_path: Path) -> None:
    square = pictures.framed(np.full((30, 60, 3), 9, np.uint8), pictures.GREEN)
    assert tuple(square[0, 0]) == pictures.GREEN
    assert tuple(square[84, 84]) == (9, 9, 9)
    assert square.shape[0] == square.shape[1]
