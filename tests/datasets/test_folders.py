"""A user's own folders: layouts, pairs, label files, folds."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from d2n.datasets import open_index, prepare
from d2n.datasets.folders import KIND, listing
from d2n.datasets.index import Index
from d2n.datasets.listing import Listing, left_out_lines
from d2n.errors import ConfigError, DataError
from tests.datasets.miniatures import day_and_night, labelled, photo, table


def _listing(root: Path, **rule: Any) -> Listing:
    return listing(root, KIND.resolve(rule))


def _domains(index: Index) -> tuple[int, int, int]:
    return len(index.select("day")), len(index.select("night")), len(index.pairs)


def test_unaligned(tmp_path: Path) -> None:
    assert _domains(prepare("folders", day_and_night(tmp_path, 7, 5))) == (7, 5, 0)


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    day_and_night(tmp_path, 3, 3)
    (tmp_path / "day" / "notes.txt").write_text("x")
    photo(tmp_path / "day" / "._d0.png")
    photo(tmp_path / "day" / ".cache" / "d.png")
    assert len(_listing(tmp_path).images) == 6


def test_equal_stems_are_pairs_and_a_scene_each(tmp_path: Path) -> None:
    for i in range(12):
        photo(tmp_path / "day" / f"{i}.png", i)
        photo(tmp_path / "night" / f"{i}.jpg", 100 + i)
    index = prepare("folders", tmp_path)
    assert {(d.path, n.path) for d, n in index.select_pairs()} == {
        (f"day/{i}.png", f"night/{i}.jpg") for i in range(12)
    }
    assert all(index.select_pairs(split) for split in ("train", "val", "test"))
    assert sum(len(index.select_pairs(split)) for split in ("train", "val", "test")) == 12


def test_some_equal_stems_by_chance_are_no_pairs_unless_asked_for(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4)
    photo(tmp_path / "night" / "d0.png", 77)
    assert _listing(tmp_path).pairs == ()
    assert _listing(tmp_path, pairs="stems").pairs == (("day/d0.png", "night/d0.png"),)


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4)
    photo(tmp_path / "day" / "d0.jpg", 78)
    with pytest.raises(DataError, match="the same stem"):
        _listing(tmp_path, pairs="stems")


def test_pairs_csv_takes_paths_below_the_root_or_the_domain(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4)
    table(
        tmp_path / "pairs.csv",
        ("day", "night", "note"),
        [("d0.png", "night/n1.png", ""), ("day/d1.png", "n0.png", "")],
    )
    assert _listing(tmp_path).pairs == (("day/d0.png", "night/n1.png"), ("day/d1.png", "night/n0.png"))
    assert _listing(tmp_path, pairs="none").pairs == ()


def test_list_files(tmp_path: Path) -> None:
    for i in range(4):
        photo(tmp_path / "all" / f"{i}.png", i)
    (tmp_path / "day.txt").write_text("all/0.png\nall/1.png\n")
    (tmp_path / "night.txt").write_text("all/2.png\n\nall/3.png")
    index = prepare("folders", tmp_path, rule={"day": "day.txt", "night": "night.txt"})
    assert [row.path for row in index.select("night")] == ["all/2.png", "all/3.png"]


def test_scenes_by_folder_and_by_pattern(tmp_path: Path) -> None:
    photo(tmp_path / "day" / "square" / "cam1_a.png")
    photo(tmp_path / "night" / "square" / "cam2_b.png", 1)
    assert {image.scene for image in _listing(tmp_path, scenes="folder").images} == {"square"}
    assert [image.scene for image in _listing(tmp_path, scenes=r"(cam\d)_").images] == ["cam1", "cam2"]
    assert {image.scene for image in _listing(tmp_path).images} == {""}
    with pytest.raises(DataError, match="no pattern"):
        _listing(tmp_path, scenes="(")


SCENES = {f"s{i}": ("A" if i < 5 else "B", 3, 2) for i in range(10)} | {"lonely": ("B", 0, 2)}


def test_labels_give_domains_and_scenes_and_scene_pairs_on_request(tmp_path: Path) -> None:
    labelled(tmp_path, SCENES)
    assert _domains(prepare("folders", tmp_path)) == (30, 22, 0)
    assert _domains(prepare("folders", tmp_path, rule={"pairs": "scenes"})) == (30, 22, 10 * 3 * 2)


def test_one_fold_trains_and_another_is_the_test(tmp_path: Path) -> None:
    labelled(tmp_path, SCENES)
    index = prepare("folders", tmp_path, rule={"pairs": "scenes", "train_folds": ["A"], "test_folds": ["B"]})
    assert {row.scene for row in index.select(split="test")} == {f"s{i}" for i in range(5, 10)} | {"lonely"}
    trained = {row.scene for row in index.select(split="train")}
    held_out = {row.scene for row in index.select(split="val")}
    assert (len(trained), len(held_out), trained | held_out) == (4, 1, {f"s{i}" for i in range(5)})
    assert sum(len(index.select_pairs(split)) for split in ("train", "val", "test")) == 60


def test_folds_are_swapped_at_opening_without_a_second_walk(tmp_path: Path) -> None:
    labelled(tmp_path, SCENES)
    prepared = prepare("folders", tmp_path)
    for image in (tmp_path / "images" / "day").iterdir():
        image.unlink()
    one = open_index("folders", tmp_path, rule={"train_folds": ["A"], "test_folds": ["B"]})
    two = open_index("folders", tmp_path, rule={"train_folds": ["B"], "test_folds": "A"})
    assert len({prepared.digest, one.digest, two.digest}) == 3
    assert {row.scene for row in two.select(split="test")} == {f"s{i}" for i in range(5)}


def test_three_folds_by_name_and_those_not_named_are_left_out(tmp_path: Path) -> None:
    labelled(tmp_path, {f"s{i}": ("ABCD"[i], 2, 2) for i in range(4)})
    index = prepare("folders", tmp_path, rule={"train_folds": "A", "val_folds": "B", "test_folds": "C"})
    assert [{r.scene for r in index.select(split=s)} for s in ("train", "val", "test")] == [
        {"s0"},
        {"s1"},
        {"s2"},
    ]
    assert index.facts["other_folds"] == 4
    assert len(index.rows) == 12


def test_a_split_column_is_kept(tmp_path: Path) -> None:
    rows = []
    for i, (domain, split) in enumerate(
        [("day", "train"), ("night", "train"), ("day", "test"), ("night", "Test")]
    ):
        photo(tmp_path / f"{i}.png", i)
        rows.append((f"{i}.png", domain, split))
    table(tmp_path / "mine.csv", ("file", "light", "split"), rows)
    rule = {"labels": "mine.csv", "image_column": "file", "domain_column": "light"}
    assert [row.split for row in prepare("folders", tmp_path, rule=rule).rows] == [
        "train",
        "train",
        "test",
        "test",
    ]


def test_labels_of_other_lights_are_indexed_as_neither(tmp_path: Path) -> None:
    labelled(tmp_path, {"s": ("A", 2, 2)})
    photo(tmp_path / "dusk.png", 99)
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("dusk.png,twilight,s,A\r\n")
    row = prepare("folders", tmp_path).rows[-1]
    assert (row.path, row.domain, row.split) == ("dusk.png", "", "")


def _no_folder(root: Path) -> dict[str, Any]:
    return {}


def _empty_domain(root: Path) -> dict[str, Any]:
    photo(root / "day" / "a.png")
    (root / "night").mkdir()
    return {}


def _night_missing(root: Path) -> dict[str, Any]:
    photo(root / "day" / "a.png")
    return {}


def _pair_of_an_unknown(root: Path) -> dict[str, Any]:
    day_and_night(root, 2, 2)
    table(root / "pairs.csv", ("day", "night"), [("d0.png", "n9.png")])
    return {}


def _pairs_of_other_columns(root: Path) -> dict[str, Any]:
    day_and_night(root, 2, 2)
    table(root / "pairs.csv", ("a", "b"), [("d0.png", "n0.png")])
    return {}


def _short_row(root: Path) -> dict[str, Any]:
    table(root / "labels.csv", ("image", "domain"), [("a.png",)])
    return {}


def _unknown_fold(root: Path) -> dict[str, Any]:
    labelled(root, {"s": ("A", 1, 1)})
    return {"test_folds": ["Z"]}


def _fold_in_both(root: Path) -> dict[str, Any]:
    labelled(root, {"s": ("A", 1, 1)})
    return {"train_folds": ["A"], "test_folds": ["A"]}


def _unknown_split(root: Path) -> dict[str, Any]:
    table(root / "labels.csv", ("image", "domain", "split"), [("a.png", "day", "dev")])
    return {}


def _absent_labels(root: Path) -> dict[str, Any]:
    day_and_night(root, 2, 2)
    return {"labels": "other.csv"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_no_folder, "no day/ and night/, no labels.csv"),
        (_empty_domain, "has 0 night images"),
        (_night_missing, "night: no such folder"),
        (_pair_of_an_unknown, "row 2: 'n9.png' is not among the night images"),
        (_pairs_of_other_columns, "no column 'day', found a, b"),
        (_short_row, "row 2 does not have the 2 values"),
        (_unknown_fold, "no fold 'Z' in column 'fold', found A"),
        (_fold_in_both, "fold 'A' is in train_folds and in test_folds"),
        (_unknown_split, "split 'dev'"),
        (_absent_labels, "other.csv: no such file"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, make: Any, says: str) -> None:
    rule = make(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        prepare("folders", tmp_path, rule=rule)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"labls": "x"}, "no such knob of this set; did you mean 'labels'"),
        ({"val_share": 1.5}, "out of range"),
        ({"min_side_px": "big"}, "expected int"),
    ],
)
def test_a_wrong_knob_is_refused(tmp_path: Path, rule: dict[str, Any], says: str) -> None:
    day_and_night(tmp_path)
    with pytest.raises(ConfigError, match=says):
        prepare("folders", tmp_path, rule=rule)


def test_equal_stems_in_one_domain_are_no_obstacle_where_no_pairs_are_asked_for(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4)
    photo(tmp_path / "day" / "d0.JPG", 78, form="JPEG")
    photo(tmp_path / "day" / "sub" / "d0.png", 79)
    for i in range(4):  # the smaller domain has a partner each, one of them ambiguous
        photo(tmp_path / "night" / f"d{i}.png", 200 + i)
    assert _domains(prepare("folders", tmp_path)) == (6, 8, 0)


def test_the_layout_of_cyclegan_numbered_from_one_in_each_folder(tmp_path: Path) -> None:
    for seed, place in enumerate(("trainA", "testA", "trainB", "testB")):
        for i in (1, 2, 3):
            photo(tmp_path / place / f"{i}.jpg", 10 * seed + i)
    rule = {"day": ["trainA", "testA"], "night": ["trainB", "testB"]}
    assert _domains(prepare("folders", tmp_path, rule=rule)) == (6, 6, 0)


def test_what_is_not_read_is_counted_by_suffix_and_links_by_kind(tmp_path: Path) -> None:
    day_and_night(tmp_path, 3, 3)
    for name in ("a.heic", "b.HEIC", "c.dng", "d.mov", "noname", ".DS_Store", "._d0.png"):
        (tmp_path / "day" / name).write_bytes(b"x")
    photo(tmp_path / "day" / "e.jfif", 50, form="JPEG")
    (tmp_path / "night" / "loop").symlink_to("../night")
    index = prepare("folders", tmp_path)
    assert _domains(index) == (4, 3, 0)
    assert left_out_lines(index.facts) == [
        "left out: 1 .dng: raw camera files are not read; develop them to JPEG, PNG or TIFF",
        "left out: 2 .heic: not read; convert to JPEG (a phone's settings can also take JPEG: most compatible)",
        "left out: 1 .mov: not an image that is read",
        "left out: 1 linked folder: links to folders are not followed; put the folder itself there, or prepare the "
        "one that it names",
        "left out: 1 without a suffix: not an image that is read",
    ]


def test_an_empty_domain_says_what_lies_there_instead(tmp_path: Path) -> None:
    day_and_night(tmp_path, 0, 3)
    (tmp_path / "day").mkdir()
    (tmp_path / "day" / "a.heic").write_bytes(b"x")
    with pytest.raises(DataError, match=r"0 day images .*left out: 1 \.heic: not read; convert to JPEG"):
        prepare("folders", tmp_path)


@pytest.mark.parametrize(("on_disk", "in_tables"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_tables_may_write_accents_in_the_other_form(tmp_path: Path, on_disk: Any, in_tables: Any) -> None:
    disk, text = (unicodedata.normalize(form, "café") for form in (on_disk, in_tables))
    for i in range(3):
        photo(tmp_path / disk / "day" / f"{disk}{i}.png", i)
        photo(tmp_path / disk / "night" / f"{disk}{i}.png", 10 + i)
    rows = [(f"{text}/{d}/{text}{i}.png", d, "") for d in ("day", "night") for i in range(3)]
    table(tmp_path / "labels.csv", ("image", "domain", "scene"), rows)
    table(tmp_path / "pairs.csv", ("day", "night"), [(rows[0][0], rows[3][0])])
    index = prepare("folders", tmp_path)
    assert _domains(index) == (3, 3, 1)
    assert {row.path.split("/")[0] for row in index.rows} == {disk}


def test_pairs_of_stems_in_two_forms_of_accents(tmp_path: Path) -> None:
    for i in range(3):
        photo(tmp_path / "day" / f"{unicodedata.normalize('NFC', 'é')}{i}.png", i)
        photo(tmp_path / "night" / f"{unicodedata.normalize('NFD', 'é')}{i}.png", 10 + i)
    assert len(_listing(tmp_path).pairs) == 3


def test_names_in_both_forms_and_names_that_are_no_text_are_images_of_their_own(tmp_path: Path) -> None:
    day_and_night(tmp_path, 2, 4)
    for seed, name in enumerate((*(unicodedata.normalize(f, "é.png") for f in ("NFC", "NFD")), "\udce9.png")):
        photo(tmp_path / "day" / name, 20 + seed)
    made = prepare("folders", tmp_path)
    assert _domains(made) == (5, 4, 0)
    again = open_index("folders", tmp_path)
    assert (again.rows, again.digest) == (made.rows, made.digest)
    assert all(again.path(row).is_file() for row in again.rows)


@pytest.mark.parametrize("name", ["labels.csv", "pairs.csv"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "link to nothing", "link to itself", "device"])
def test_a_table_that_is_no_file_is_refused_and_not_passed_over(tmp_path: Path, name: str, kind: str) -> None:
    day_and_night(tmp_path)
    table = tmp_path / name
    match kind:
        case "pipe":
            os.mkfifo(table)
        case "folder":
            table.mkdir()
        case "device":
            table.symlink_to("/dev/zero")
        case _:
            table.symlink_to("nowhere" if kind == "link to nothing" else name)
    with pytest.raises(DataError, match=f"{name}: (a |cannot be read|no such file)"):
        _listing(tmp_path)
