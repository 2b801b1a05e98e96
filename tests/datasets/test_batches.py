"""Training crops and held-out images."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from d2n.config import DatasetConfig
from d2n.datasets import prepare
from d2n.datasets.batches import TranslationBatches, evaluation_images, evaluation_pairs, shrunk
from d2n.datasets.cache import size_bytes
from d2n.datasets.index import ImageRow, Index
from d2n.errors import DataError, ImageError
from tests.datasets.miniatures import day_and_night, photo

ALL_TRAIN = {"val_share": 0, "test_share": 0}


def _batches(index: Index, **knobs: Any) -> TranslationBatches:
    given = {"split": "train", "paired": False, "batch_size": 2, "seed": 0, "cache_dir": None}
    values = {key: knobs.pop(key, value) for key, value in given.items()}
    return TranslationBatches(index, DatasetConfig(**{"image_size_px": 16, **knobs}), **values)


def _flat(root: Path, num_day: int, num_night: int, size: tuple[int, int] = (24, 20)) -> Index:
    """Day images of one grey value each: 0, 1, … ; night images 100, 101, …"""
    for domain, n, base in (("day", num_day, 0), ("night", num_night, 100)):
        (root / domain).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", size, (base + i,) * 3).save(root / domain / f"{domain}{i}.png")
    return prepare("folders", root, rule=ALL_TRAIN)


def _ramps(root: Path, size: tuple[int, int] = (64, 48), night_size: tuple[int, int] | None = None) -> Index:
    """Aligned pairs: day's red is the column, green the row; night's are 255 minus those of the place in day."""
    for i in range(6):
        columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        day = np.stack([columns, rows, np.full_like(rows, i)], axis=2).astype(np.uint8)
        for domain, pixels in (("day", day), ("night", 255 - day)):
            (root / domain).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels)
            if domain == "night" and night_size is not None:
                image = image.resize(night_size, Image.Resampling.BICUBIC)
            image.save(root / domain / f"{i}.png")
    return prepare("folders", root, rule=ALL_TRAIN)


def _grey(batch: dict[str, torch.Tensor], domain: str) -> list[int]:
    return ((batch[domain][:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    index = prepare("folders", day_and_night(tmp_path, 7, 5), rule=ALL_TRAIN)
    one, two = _batches(index), _batches(index)
    later = one.batch(9)
    for step in (3, 9, 0):
        for domain in ("day", "night"):
            assert torch.equal(one.batch(step)[domain], two.batch(step)[domain])
    assert torch.equal(two.batch(9)["day"], later["day"])
    assert not torch.equal(_batches(index, seed=1).batch(9)["day"], later["day"])
    assert not torch.equal(one.batch(8)["day"], later["day"])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_workers_give_the_same_batches_from_any_step_on(tmp_path: Path, num_workers: int) -> None:
    index = prepare("folders", day_and_night(tmp_path, 7, 5), rule=ALL_TRAIN)
    made = list(_batches(index).iterate(4, 9, num_workers))
    assert len(made) == 5
    for step, batch in enumerate(made, start=4):
        assert torch.equal(batch["night"], _batches(index).batch(step)["night"])


def test_shape_type_and_range(tmp_path: Path) -> None:
    index = _flat(tmp_path, 1, 1)
    Image.new("RGB", (24, 20), (255, 255, 255)).save(tmp_path / "night" / "night0.png")
    batch = _batches(index, batch_size=3).batch(0)
    assert {domain: tuple(tensor.shape) for domain, tensor in batch.items()} == {
        "day": (3, 3, 16, 16),
        "night": (3, 3, 16, 16),
    }
    assert batch["day"].dtype == torch.float32
    assert batch["day"].unique().tolist() == [-1.0]
    assert batch["night"].unique().tolist() == [1.0]


def test_every_image_is_taken_once_before_any_is_taken_again(tmp_path: Path) -> None:
    made = _batches(_flat(tmp_path, 7, 3), batch_size=2)
    assert made.steps_per_epoch == 3
    seen = [grey for step in range(21) for grey in _grey(made.batch(step), "day")]
    passes = [seen[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    night = [grey for step in range(3) for grey in _grey(made.batch(step), "night")]
    assert sorted(night[:3]) == sorted(night[3:]) == [100, 101, 102]


@pytest.mark.parametrize(
    ("num_day", "num_night", "batch_size", "steps"), [(10, 4, 3, 3), (2, 2, 5, 1), (4, 12, 4, 3)]
)
def test_an_epoch_is_one_pass_over_the_larger_domain(
    tmp_path: Path, num_day: int, num_night: int, batch_size: int, steps: int
) -> None:
    assert _batches(_flat(tmp_path, num_day, num_night), batch_size=batch_size).steps_per_epoch == steps


def test_a_pair_shares_window_and_flip(tmp_path: Path) -> None:
    made = _batches(_ramps(tmp_path), paired=True, batch_size=6, flip=True)
    flips = set()
    for step in range(4):
        batch = made.batch(step)
        assert torch.allclose(batch["day"], -batch["night"], atol=2.1 / 127.5)
        flips |= set((batch["day"][:, 0, 0, 0] > batch["day"][:, 0, 0, -1]).tolist())
    assert flips == {True, False}


def test_a_pair_of_other_sizes_shares_the_window_as_if_stretched_onto_each_other(tmp_path: Path) -> None:
    made = _batches(_ramps(tmp_path, night_size=(128, 96)), paired=True, batch_size=6)
    batch = made.batch(0)
    assert float((batch["day"] + batch["night"]).abs().max()) < 4 / 127.5


def test_the_crop_is_a_window_of_the_drawn_scale_resized(tmp_path: Path) -> None:
    made = _batches(_ramps(tmp_path), paired=True, batch_size=6, scale_min=0.5, scale_max=0.5)
    batch = (made.batch(0)["day"] + 1) * 127.5
    across = batch[:, 0, 0, -2] - batch[:, 0, 0, 1]  # 13 of 16 pixels, of 2 columns each
    assert torch.allclose(across, torch.full((6,), 26.0), atol=1.01)
    assert float(batch[:, 0].max()) <= 63
    assert float(batch[:, 1].max()) <= 47


def test_scales_are_drawn_between_min_and_max(tmp_path: Path) -> None:
    made = _batches(_ramps(tmp_path), paired=True, batch_size=6, scale_min=0.5, scale_max=1.0)
    spans = []
    for step in range(20):
        batch = (made.batch(step)["day"] + 1) * 127.5
        spans += ((batch[:, 0, 0, -2] - batch[:, 0, 0, 1]) / 13).tolist()  # columns a pixel: 1 / scale
    assert 0.95 < min(spans) < 1.15
    assert 1.75 < max(spans) < 2.1


def test_the_scale_is_raised_for_a_small_image_and_one_too_small_is_refused(tmp_path: Path) -> None:
    index = _ramps(tmp_path, size=(20, 17))
    assert _batches(index, scale_min=0.5, scale_max=0.5).batch(0)["day"].shape == (2, 3, 16, 16)
    with pytest.raises(
        DataError, match=r"12 images of split train have a side under 18 px, first day/0\.png \(20 x 17\)"
    ):
        _batches(index, image_size_px=18)
    with pytest.raises(DataError, match="0 day images, 12 left out under 18 px"):
        _batches(index, image_size_px=18, on_bad_image="skip")


def test_small_images_are_skipped_and_counted(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4, size=(24, 20))
    photo(tmp_path / "day" / "small.png", 90, size=(24, 12))
    made = _batches(prepare("folders", tmp_path, rule=ALL_TRAIN), on_bad_image="skip")
    assert (made.skipped, made.steps_per_epoch) == (1, 2)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_damaged_after_they_were_indexed_fail_or_are_skipped_and_counted(
    tmp_path: Path, num_workers: int
) -> None:
    index = _flat(tmp_path, 6, 6)
    (tmp_path / "day" / "day2.png").write_bytes(b"gone")
    with pytest.raises(ImageError, match=r"day2\.png: not an image"):
        list(_batches(index).iterate(0, 3))
    made = _batches(index, on_bad_image="skip")
    values = [_grey(batch, "day") for batch in made.iterate(0, 6, num_workers)]
    assert made.skipped == 1
    assert 2 not in itertools.chain(*values)
    again = [_grey(batch, "day") for batch in _batches(index, on_bad_image="skip").iterate(0, 6)]
    assert values == again


def test_nothing_but_bad_images_is_an_error(tmp_path: Path) -> None:
    index = _flat(tmp_path, 2, 2)
    for path in (tmp_path / "night").iterdir():
        path.write_bytes(b"gone")
    with pytest.raises(DataError, match="bad images in a row; run `d2n data verify folders`"):
        _batches(index, on_bad_image="skip").batch(0)


def test_whole_images_are_resized_without_a_crop(tmp_path: Path) -> None:
    made = _batches(_ramps(tmp_path), paired=True, batch_size=1, load="resize")
    day = (made.batch(0)["day"][0] + 1) * 127.5
    assert torch.allclose(day[0, 0], torch.arange(16) * 4 + 1.5, atol=1.5)  # 64 columns to 16
    assert torch.allclose(day[1, :, 0], torch.arange(16) * 3 + 1.0, atol=1.5)  # 48 rows to 16


def test_robotcar_alone_is_resized_by_default(tmp_path: Path) -> None:
    for condition in ("sun", "snow", "rain", "dawn", "dusk", "night", "night-rain"):
        photo(tmp_path / "images" / condition / "rear" / "0.png", len(condition), size=(64, 64))
    index = prepare("robotcar", tmp_path, rule=ALL_TRAIN)
    first = _batches(index).batch(0)["day"]
    assert torch.equal(first, _batches(index, load="resize").batch(0)["day"])
    assert not torch.equal(first, _batches(index, load="crop").batch(0)["day"])


@pytest.mark.parametrize("load", ["crop", "resize"])
def test_the_cache_changes_no_value_and_keeps_its_bound(tmp_path: Path, load: str) -> None:
    index = prepare("folders", day_and_night(tmp_path / "data", 8, 8, size=(400, 300)), rule=ALL_TRAIN)
    plain = _batches(index, load=load, image_size_px=64)
    cached = _batches(index, load=load, image_size_px=64, cache_mb=1, cache_dir=tmp_path / "cache")
    for _ in range(2):  # written, then read
        for step in range(8):
            assert torch.equal(plain.batch(step)["day"], cached.batch(step)["day"])
    kept = size_bytes(tmp_path / "cache")
    assert 64 * 64 * 3 * 2 <= kept <= 2**20
    list(
        _batches(index, load=load, image_size_px=63, cache_mb=1, cache_dir=tmp_path / "cache").iterate(
            0, 8, 2
        )
    )
    assert size_bytes(tmp_path / "cache") <= 2**20


def test_an_image_of_the_cache_is_not_decoded_again(tmp_path: Path) -> None:
    index = _flat(tmp_path / "data", 2, 2)
    made = _batches(index, cache_mb=1, cache_dir=tmp_path / "cache")
    first = made.batch(0)["day"]
    for path in (*(tmp_path / "data" / "day").iterdir(), *(tmp_path / "data" / "night").iterdir()):
        path.unlink()
    assert torch.equal(made.batch(0)["day"], first)


class _CountingIndex(Index):
    """Notes every path that is asked for, that is, every image that is decoded."""

    def path(self, row: ImageRow) -> Path:
        asked: list[str] = self.__dict__.setdefault("asked", [])
        asked.append(row.path)
        return super().path(row)


def test_no_image_is_decoded_twice_in_a_batch(tmp_path: Path) -> None:
    plain = _flat(tmp_path, 2, 2)
    index = _CountingIndex(plain.name, plain.root, plain.rule, plain.rows)
    _batches(index, batch_size=6).batch(0)
    assert sorted(index.__dict__["asked"]) == [
        "day/day0.png",
        "day/day1.png",
        "night/night0.png",
        "night/night1.png",
    ]


def test_what_cannot_be_trained_on_says_why(tmp_path: Path) -> None:
    index = _flat(tmp_path, 2, 2)
    with pytest.raises(DataError, match="no pairs; train unpaired"):
        _batches(index, paired=True)
    with pytest.raises(DataError, match="split val has 0 day images"):
        _batches(index, split="val")
    with pytest.raises(DataError, match=r"scale_min 0\.9 is above scale_max 0\.5"):
        _batches(index, scale_min=0.9, scale_max=0.5)


def test_held_out_images_are_whole_and_in_the_order_of_their_paths(tmp_path: Path) -> None:
    day_and_night(tmp_path, 40, 40)
    index = prepare("folders", tmp_path)
    rows, images = evaluation_images(index, "night", "test", 24)
    assert [row.path for row in rows] == sorted(row.path for row in index.select("night", "test"))
    assert (images.shape, images.dtype) == ((4, 24, 24, 3), np.uint8)
    expected = Image.open(index.path(rows[2])).resize((24, 24), Image.Resampling.BICUBIC)
    assert np.array_equal(images[2], np.asarray(expected))


def test_a_subset_is_drawn_by_the_seed(tmp_path: Path) -> None:
    index = prepare("folders", day_and_night(tmp_path, 40, 40), rule={"test_share": 0.5})
    rows = [evaluation_images(index, "day", "test", 8, num_images=5, seed=seed)[0] for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]
    assert len(rows[0]) == 5
    assert {row.split for row in rows[0]} == {"test"}
    assert len(evaluation_images(index, "day", "test", 8, num_images=500)[0]) == 20


def test_a_split_of_one_image_is_joined_by_the_other_held_out_split_never_by_train(tmp_path: Path) -> None:
    index = prepare("folders", day_and_night(tmp_path, 30, 3))
    rows, images = evaluation_images(index, "night", "val", 8)
    assert {row.split for row in rows} == {"val", "test"}
    assert len(images) == 2
    nothing = prepare("folders", tmp_path, rule=ALL_TRAIN)
    with pytest.raises(DataError, match=r"split val has 0 night images; prepare it with a larger"):
        evaluation_images(nothing, "night", "val", 8)


def test_held_out_pairs(tmp_path: Path) -> None:
    _ramps(tmp_path)
    index = prepare("folders", tmp_path, rule={"val_share": 0.3})
    pairs, day, night = evaluation_pairs(index, "val", 16)
    assert day.shape == night.shape == (2, 16, 16, 3)
    assert all(day_row.split == night_row.split == "val" for day_row, night_row in pairs)
    assert np.abs(day.astype(int) + night - 255).max() <= 2
    with pytest.raises(DataError, match="no pairs"):
        evaluation_pairs(prepare("folders", tmp_path, rule=ALL_TRAIN), "val", 16)


def test_small_crops_show_as_much_as_the_whole_where_images_are_shrunk_first() -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    assert shrunk(image, 30).shape == (30, 50, 3)
    assert shrunk(image, 60) is image
    assert shrunk(image, 90) is image


def test_a_shrunk_set_is_cropped_at_its_new_size(tmp_path: Path) -> None:
    index = _ramps(tmp_path, size=(64, 48))
    whole = _batches(index, paired=True, shorter_side_px=16, scale_min=1.0, batch_size=1).crops(0)
    part = _batches(index, paired=True, scale_min=1.0, batch_size=1).crops(0)
    red = whole["day"][0, 0].float(), part["day"][0, 0].float()
    assert red[0].max() - red[0].min() > 2 * (
        red[1].max() - red[1].min()
    )  # a third of the side, three times the range
    with pytest.raises(DataError, match="shorter_side_px 8 is under image_size_px 16"):
        _batches(index, shorter_side_px=8)
