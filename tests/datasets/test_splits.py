"""Train, val and test."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from d2n.datasets.listing import Candidate
from d2n.datasets.splits import assign_splits


def _scenes(num: int, num_day: int = 3, num_night: int = 2) -> list[Candidate]:
    return [
        Candidate(f"{scene}/{domain}{i}.jpg", domain, f"scene {scene}")
        for scene in range(num)
        for domain, n in (("day", num_day), ("night", num_night))
        for i in range(n)
    ]


def _unaligned(num_day: int, num_night: int) -> list[Candidate]:
    return [Candidate(f"day/{i}", "day") for i in range(num_day)] + [
        Candidate(f"night/{i}", "night") for i in range(num_night)
    ]


def _draw(
    images: list[Candidate], pairs: list[tuple[str, str]] | None = None, seed: int = 0
) -> tuple[list[str], bool]:
    return assign_splits(images, pairs or [], 0.1, 0.1, seed)


def _counts(images: list[Candidate], splits: list[str]) -> dict[str, int]:
    return dict(Counter(f"{split}/{image.domain}" for image, split in zip(images, splits, strict=True)))


def test_a_scene_is_never_divided_and_shares_are_of_the_scenes() -> None:
    images = _scenes(30)
    splits, divided = _draw(images)
    of_scene = defaultdict(set)
    for image, split in zip(images, splits, strict=True):
        of_scene[image.scene].add(split)
    assert not divided
    assert Counter(split for splits in of_scene.values() for split in splits) == {
        "train": 24,
        "val": 3,
        "test": 3,
    }


def test_without_scenes_each_domain_gets_its_shares() -> None:
    images = _unaligned(5313, 113)
    counts = _counts(images, _draw(images)[0])
    assert counts == {
        "train/day": 4251,
        "val/day": 531,
        "test/day": 531,
        "train/night": 91,
        "val/night": 11,
        "test/night": 11,
    }


def test_the_draw_does_not_depend_on_the_order_and_depends_on_the_seed() -> None:
    images = _scenes(30)
    there = dict(zip(images, _draw(images)[0], strict=True))
    back = dict(zip(images[::-1], _draw(images[::-1])[0], strict=True))
    assert there == back
    assert there != dict(zip(images, _draw(images, seed=1)[0], strict=True))


def test_what_pairs_join_stays_together() -> None:
    images = _unaligned(20, 20)
    pairs = [(f"day/{i}", f"night/{i}") for i in range(20)] + [("day/0", "night/1")]
    split = {image.path: s for image, s in zip(images, _draw(images, pairs)[0], strict=True)}
    assert all(split[day] == split[night] for day, night in pairs)
    assert set(split.values()) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("num_day", "num_night", "expected"),
    [
        (
            11,
            3,
            {"train/day": 9, "val/day": 1, "test/day": 1, "train/night": 1, "val/night": 1, "test/night": 1},
        ),
        (2, 2, {"train/day": 1, "val/day": 1, "train/night": 1, "val/night": 1}),
        (1, 1, {"train/day": 1, "train/night": 1}),
    ],
)
def test_tiny_sets_without_scenes(num_day: int, num_night: int, expected: dict[str, int]) -> None:
    images = _unaligned(num_day, num_night)
    splits, divided = _draw(images)
    assert _counts(images, splits) == expected
    assert not divided


def test_of_two_scenes_one_trains_and_the_other_is_divided() -> None:
    images = _scenes(2, 4, 2)
    splits, divided = _draw(images)
    assert divided
    assert len({image.scene for image, split in zip(images, splits, strict=True) if split == "train"}) == 1
    assert _counts(images, splits) == {
        "train/day": 4,
        "train/night": 2,
        "val/day": 2,
        "val/night": 1,
        "test/day": 2,
        "test/night": 1,
    }


def test_one_scene_is_drawn_image_by_image() -> None:
    images = _scenes(1, 10, 10)
    splits, divided = _draw(images)
    assert divided
    assert Counter(splits) == {"train": 16, "val": 2, "test": 2}


def test_given_splits_are_kept_and_not_drawn_again() -> None:
    given = [Candidate(f"t{i}.jpg", domain, "held out", "test") for i, domain in enumerate(("day", "night"))]
    images = given + _scenes(10)
    splits, _ = _draw(images)
    assert splits[:2] == ["test", "test"]
    assert Counter(splits[2:]) == {"train": 45, "val": 5}


def test_images_of_neither_domain_are_not_drawn() -> None:
    assert _draw([*_scenes(3), Candidate("dusk.jpg")])[0][-1] == ""
