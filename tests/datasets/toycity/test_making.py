"""The toy city on disk: what it holds, that it comes from its seed alone, and that it is whole or absent."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from d2n.datasets import toycity, true_nights
from d2n.datasets.images import load_rgb
from d2n.datasets.index import Index, index_path
from d2n.datasets.toycity import making
from d2n.datasets.toycity.plan import Job
from d2n.datasets.tuples import retrieval_set
from d2n.errors import DataError

SMALL = 0.02  # 8 retrieval, 8 training, 4 validation and 4 test scenes, and 32 distractors


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return toycity.make(tmp_path_factory.mktemp("city") / "toycity", seed=3, scale=SMALL, workers=1)


def test_splits_share_no_scene(city: Index) -> None:
    scenes = {split: {row.scene for row in city.select(split=split)} for split in toycity.SPLITS}
    assert {split: len(found) for split, found in scenes.items()} == {
        "retrieval": 8, "train": 8, "val": 20, "test": 20,
    }  # fmt: skip
    assert len(set.union(*scenes.values())) == 56


def test_counts_of_the_small_city(city: Index) -> None:
    assert city.counts() == {
        "retrieval/day": 48,
        "train/day": 36, "train/night": 36, "train/pairs": 12,
        "val/day": 40, "val/night": 24, "val/pairs": 24,
        "test/day": 40, "test/night": 24, "test/pairs": 24,
    }  # fmt: skip


def test_every_row_is_an_rgb_photo_with_its_own_hash(city: Index) -> None:
    for row in city.rows[::17]:
        assert load_rgb(city.path(row)).shape == (64, 64, 3)
        assert (row.width, row.height) == (64, 64)
    assert len({row.sha256 for row in city.rows}) == len(city.rows)


def test_pairs_are_day_and_night_of_one_view(city: Index) -> None:
    for day, night in city.select_pairs():
        assert (day.domain, night.domain) == ("day", "night")
        assert (day.scene, day.split) == (night.scene, night.split)
        assert Path(day.path).name == Path(night.path).name


def test_unaligned_training_photos_are_of_different_views(city: Index) -> None:
    paired = {row.path for pair in city.select_pairs("train") for row in pair}
    views = {
        domain: {Path(r.path).name for r in city.select(domain, "train") if r.path not in paired}
        for domain in ("day", "night")
    }
    assert len(views["day"]) == len(views["night"]) == 24
    assert not views["day"] & views["night"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_benchmark_names_the_database_images_of_each_querys_scene(city: Index, split: str) -> None:
    benchmark = json.loads((city.root / f"benchmark_{split}.json").read_text())
    scene = {row.path: row.scene for row in city.select(split=split)}
    database = [scene[path] for path in benchmark["database"]]
    assert Counter(Counter(database).values()) == {4: 4, 1: 16}  # 4 scenes x 4 views, 16 distractors
    for domain in ("day", "night"):
        queries, truth = benchmark["queries"][domain], benchmark["ground_truth"][domain]
        assert len(queries) == len(truth) == 8
        for path, answer in zip(queries, truth, strict=True):
            same = [i for i, place in enumerate(database) if place == scene[path]]
            assert answer == {"ok": same, "junk": []}
            assert len(same) == 4
        assert not set(queries) & set(benchmark["database"])


def test_day_and_night_queries_are_pairs_in_order(city: Index) -> None:
    queries = json.loads((city.root / "benchmark_test.json").read_text())["queries"]
    pairs = {day.path: night.path for day, night in city.select_pairs("test")}
    assert [pairs[path] for path in queries["day"]] == queries["night"]


def test_worker_processes_change_no_byte(city: Index, tmp_path: Path) -> None:
    again = toycity.make(tmp_path / "pooled", seed=3, scale=SMALL, workers=2)
    assert len(again.rows) > 200  # enough for the pool to be used
    assert again.rows == city.rows
    assert again.digest == city.digest


def test_another_seed_is_another_city(city: Index) -> None:
    job = toycity.plan(SMALL)[0]
    (_, first), *_ = toycity.photograph(3, job)
    (_, second), *_ = toycity.photograph(4, job)
    assert np.array_equal(first, load_rgb(city.path(city.rows[0])))
    assert np.abs(first.astype(int) - second).mean() > 10


def test_a_photo_does_not_depend_on_the_others_of_its_scene() -> None:
    job = next(job for job in toycity.plan(SMALL) if job.split == "test")
    every = dict(toycity.photograph(0, job))
    (_, alone), *_ = toycity.photograph(0, Job(job.split, job.number, job.shots[-1:]))
    assert np.array_equal(alone, every[job.shots[-1]])


def test_second_call_renders_nothing(city: Index) -> None:
    before = {path: path.stat().st_mtime_ns for path in city.root.rglob("*.png")}
    again = toycity.make(city.root, seed=3, scale=SMALL, workers=1)
    assert again.digest == city.digest
    assert {path: path.stat().st_mtime_ns for path in city.root.rglob("*.png")} == before


def test_another_seed_in_the_same_folder_is_refused_in_one_line(city: Index) -> None:
    with pytest.raises(DataError, match=r"seed 3, scale 0\.02.*asked for seed 4.*rebuild") as caught:
        toycity.make(city.root, seed=4, scale=SMALL)
    assert "\n" not in str(caught.value)
    assert toycity.make(city.root, seed=3, scale=SMALL).digest == city.digest


def test_interrupted_rendering_has_no_index_and_is_gone_on_with(
    tmp_path: Path, city: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "toycity"
    taken = _interrupt_after(monkeypatch, scenes=20)
    with pytest.raises(KeyboardInterrupt):
        toycity.make(root, seed=3, scale=SMALL, workers=1)
    assert not index_path(root, "toycity").exists()
    assert not list(root.glob("benchmark*"))
    monkeypatch.undo()
    done = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    assert len(taken) == 20
    assert done
    assert toycity.make(root, seed=3, scale=SMALL, workers=1).digest == city.digest
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_photos_left_by_another_seed_are_not_gone_on_with(
    tmp_path: Path, city: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "toycity"
    _interrupt_after(monkeypatch, scenes=9)
    with pytest.raises(KeyboardInterrupt):
        toycity.make(root, seed=8, scale=SMALL, workers=1)
    monkeypatch.undo()
    assert toycity.make(root, seed=3, scale=SMALL, workers=1).rows == city.rows


def test_a_photo_cut_short_or_lost_is_rendered_again(tmp_path: Path) -> None:
    root = tmp_path / "toycity"
    index = toycity.make(root, scale=SMALL, workers=1)
    first, last = index.path(index.rows[0]), index.path(index.rows[-1])
    first.write_bytes(first.read_bytes()[:100])
    last.unlink()
    again = toycity.make(root, scale=SMALL, workers=1)
    assert again.rows == index.rows
    assert load_rgb(first).shape == load_rgb(last).shape == (64, 64, 3)


def test_rebuild_replaces_a_damaged_city_and_its_oracle(tmp_path: Path) -> None:
    root = tmp_path / "toycity"
    first = toycity.make(root, seed=1, scale=SMALL, workers=1)
    (root / "oracle").mkdir()
    index_path(root, "toycity").write_text("#{}\n")
    with pytest.raises(DataError, match="rebuild"):
        toycity.make(root, seed=1, scale=SMALL, workers=1)
    second = toycity.make(root, seed=2, scale=SMALL, workers=1, rebuild=True)
    assert second.rule["seed"] == 2
    assert not {row.sha256 for row in second.rows} & {row.sha256 for row in first.rows}
    assert not (root / "oracle").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match="holds other files"):
        toycity.make(tmp_path, scale=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"seed": -1}, "seed -1"), ({"scale": 0}, "scale 0"), ({"workers": 0}, "0 workers")],
)
def test_values_out_of_range_make_nothing(tmp_path: Path, wrong: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        toycity.make(tmp_path / "toycity", **wrong)  # type: ignore[arg-type]  # the point of the test
    assert not (tmp_path / "toycity").exists()


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        toycity.make(tmp_path / "file" / "toycity", scale=SMALL)


def test_oracle_is_the_night_of_every_retrieval_view_and_no_part_of_the_index(city: Index) -> None:
    nights = toycity.make_oracle(city.root, workers=1)
    assert list(nights) == [row.path for row in city.select("day", "retrieval")]
    assert len({path.read_bytes() for path in nights.values()}) == 48
    assert toycity.make(city.root, seed=3, scale=SMALL).digest == city.digest
    day, night = (
        np.stack([load_rgb(p) for p in side]) for side in ([city.root / d for d in nights], nights.values())
    )
    darkness = night.mean(axis=(1, 2, 3)) / day.mean(axis=(1, 2, 3))
    assert darkness.max() < 1
    assert np.median(darkness) < 0.6


def test_oracle_needs_a_finished_city(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="d2n data make toycity"):
        toycity.make_oracle(tmp_path)


def test_full_size_is_the_published_one() -> None:
    shots = Counter((job.split, shot.domain, shot.role) for job in toycity.plan(1.0) for shot in job.shots)
    assert shots == {
        ("retrieval", "day", "training"): 1800,
        ("train", "day", "training"): 750, ("train", "night", "training"): 750,
        ("train", "day", "pair"): 400, ("train", "night", "pair"): 400,
        ("val", "day", "database"): 200, ("val", "day", "query"): 100, ("val", "night", "query"): 100,
        ("val", "day", "distractor"): 200, ("val", "night", "distractor"): 200,
        ("test", "day", "database"): 400, ("test", "day", "query"): 200, ("test", "night", "query"): 200,
        ("test", "day", "distractor"): 400, ("test", "night", "distractor"): 400,
    }  # fmt: skip


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, scenes: int) -> list[Job]:
    """Ctrl-C after some scenes; the scenes taken until then."""
    taken: list[Job] = []
    original = toycity.photograph

    def photograph(seed: int, job: Job) -> Iterator[object]:
        if len(taken) == scenes:
            raise KeyboardInterrupt
        taken.append(job)
        return original(seed, job)

    monkeypatch.setattr(making, "photograph", photograph)
    return taken


def test_every_image_to_train_retrieval_on_has_its_true_night(city: Index) -> None:
    nights = true_nights(city)
    assert sorted(nights) == sorted(retrieval_set(city).paths)
    lightness = [[load_rgb(path).mean() for path in one] for one in list(nights.items())[::9]]
    assert all(night < day for day, night in lightness)


def test_only_a_rendered_city_knows_true_nights(city: Index) -> None:
    other = dataclasses.replace(city, name="mine", kind="folders")
    with pytest.raises(DataError, match="mine: the true nights of its images are not known"):
        true_nights(other)
