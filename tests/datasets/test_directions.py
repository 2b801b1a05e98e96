"""Which condition of a data set is translated to which other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from d2n.config import DatasetConfig
from d2n.datasets import open_index, prepare
from d2n.datasets.batches import TranslationBatches
from d2n.datasets.directions import directed, known_domains
from d2n.datasets.index import Index, load_index, save_index
from d2n.datasets.robotcar import CONDITIONS
from d2n.errors import DataError
from tests.datasets.miniatures import photo, table


def _labelled(root: Path, domains: dict[str, int], scenes: int = 6) -> Path:
    rows = []
    for d, (domain, count) in enumerate(domains.items()):
        for i in range(count):
            photo(root / "images" / f"{domain}{i}.png", 100 * d + i)
            rows.append([f"images/{domain}{i}.png", domain, f"scene{i % scenes}"])
    table(root / "labels.csv", ["image", "domain", "scene"], rows)
    return root


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return prepare("folders", _labelled(tmp_path, {"day": 12, "dusk": 9, "night": 12}))


def test_day_to_night_is_the_index_itself(index: Index) -> None:
    assert directed(index) is index
    assert (index.source, index.target) == ("day", "night")


def test_conditions_do_not_enter_the_digest_until_they_are_asked_for(index: Index) -> None:
    bare = replace(index, rows=tuple(replace(row, condition="") for row in index.rows))
    assert bare.digest == index.digest
    assert directed(index, ("dusk", "night")).digest != index.digest


def test_conditions_are_kept_on_disk(index: Index, tmp_path: Path) -> None:
    found = load_index(save_index(index, tmp_path / "beside"), index.root)
    assert known_domains(found) == {"day": 12, "dusk": 9, "night": 12}
    assert found.digest == index.digest


def test_an_index_without_conditions_is_written_as_ever(tmp_path: Path) -> None:
    prepared = prepare("folders", _labelled(tmp_path, {"day": 6, "night": 6}))
    assert save_index(prepared, tmp_path).read_text().splitlines()[1] == (
        "path,domain,scene,split,width,height,sha256"
    )


def test_images_of_a_condition_follow_their_scene(index: Index) -> None:
    split_of = {row.scene: row.split for row in index.rows if row.split}
    found = directed(index, ("dusk", "night"))
    dusk = found.select("dusk")
    assert len(dusk) == 9
    assert all(row.split == split_of[row.scene] for row in dusk)
    assert found.select("day") == []
    assert json.loads(found.info().rule)["domains"] == ["dusk", "night"]


def test_images_of_unknown_scenes_are_drawn(tmp_path: Path) -> None:
    rows = []
    for domain in ("rain", "snow"):
        for i in range(20):
            photo(tmp_path / f"{domain}{i}.png", 100 * (domain == "snow") + i)
            rows.append([f"{domain}{i}.png", domain])
    table(tmp_path / "labels.csv", ["image", "domain"], rows)
    found = directed(prepare("folders", tmp_path), ("rain", "snow"))
    for domain in ("rain", "snow"):
        assert all(found.select(domain, split) for split in ("train", "val", "test"))


def test_pairs_are_turned_with_the_direction(tmp_path: Path) -> None:
    for i in range(8):
        photo(tmp_path / "day" / f"{i}.png", i)
        photo(tmp_path / "night" / f"{i}.png", 50 + i)
    pairs = directed(prepare("folders", tmp_path), ("night", "day")).select_pairs()
    assert len(pairs) == 8
    assert all((first.domain, second.domain) == ("night", "day") for first, second in pairs)


def test_batches_are_by_the_names_of_the_domains(index: Index) -> None:
    found = directed(index, ("dusk", "night", "day"))
    data = DatasetConfig(image_size_px=16, source="dusk")
    batches = TranslationBatches(found, data, split="train", paired=False, batch_size=2, seed=0)
    crops = batches.crops(0)
    assert list(crops) == ["dusk", "night", "day"]
    assert {tuple(x.shape) for x in crops.values()} == {(2, 3, 16, 16)}


def test_summer_to_winter_of_robotcar(tmp_path: Path) -> None:
    for c, condition in enumerate(CONDITIONS):
        for i in range(3):
            photo(tmp_path / "images" / condition / "rear" / f"{i}.jpg", 10 * c + i)
    prepare("robotcar", tmp_path, rule={"other_conditions": ["overcast-summer", "overcast-winter"]})
    opened = open_index("robotcar", root=tmp_path)
    assert directed(opened).counts()["train/day"] > 0
    found = directed(opened, ("overcast-summer", "overcast-winter"))
    assert [len(found.select(domain)) for domain in found.domains] == [3, 3]
    assert [len(directed(opened, ("snow", "night-rain")).select(d)) for d in ("snow", "night-rain")] == [3, 3]


def test_an_image_of_two_domains_is_one_line(tmp_path: Path) -> None:
    for condition in CONDITIONS:
        photo(tmp_path / "images" / condition / "rear" / "0.jpg", CONDITIONS.index(condition))
    opened = prepare("robotcar", tmp_path)
    with pytest.raises(DataError, match=r"is of day and of snow; expected domains that share no image"):
        directed(opened, ("day", "snow"))


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ("Dusk", r"no images of 'Dusk'; it is written 'dusk' \(found: day \(12\), dusk \(9\), night \(12\)"),
        ("snow", r"no images of 'snow' \(found: "),
    ],
)
def test_a_domain_without_images_is_one_line(index: Index, domain: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        directed(index, (domain, "night"))
    assert "\n" not in str(caught.value)


def test_labels_that_differ_in_case_are_one_line(tmp_path: Path) -> None:
    root = _labelled(tmp_path, {"Dusk": 2, "dusk": 2, "night": 2})
    with pytest.raises(DataError, match="the labels 'Dusk' and 'dusk' differ in case alone"):
        prepare("folders", root)


def test_one_domain_alone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 0 day images"):
        prepare("folders", _labelled(tmp_path, {"dusk": 4}))
