"""Every damaged file named, and no other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from d2n.datasets import SETS, prepare
from d2n.datasets.index import Index
from d2n.datasets.verifying import Problem, verify_folder, verify_index
from tests.datasets.miniatures import day_and_night, dump, labelled, photo, revisited, tokyo


def _lines(index: Index) -> dict[str, str]:
    return {problem.path: problem.line for problem in verify_index(SETS[index.kind], index)}


@pytest.fixture
def prepared(tmp_path: Path) -> Index:
    return prepare("folders", day_and_night(tmp_path, 12, 12))


def test_nothing_is_wrong_with_a_whole_set(prepared: Index) -> None:
    assert _lines(prepared) == {}


def _cut(root: Path) -> None:
    path = root / "day" / "d1.png"
    path.write_bytes(path.read_bytes()[:-400])


def _removed(root: Path) -> None:
    (root / "day" / "d1.png").unlink()


def _emptied(root: Path) -> None:
    (root / "day" / "d1.png").write_bytes(b"")


def _replaced_by_text(root: Path) -> None:
    (root / "day" / "d1.png").write_text("404")


def _replaced_by_another_photo(root: Path) -> None:
    photo(root / "day" / "d1.png", 4711)


def _shrunk(root: Path) -> None:
    photo(root / "day" / "d1.png", 1, size=(4, 4))


def _overwritten_by_another(root: Path) -> None:
    shutil.copy(root / "day" / "d7.png", root / "day" / "d1.png")


def _overwritten_by_a_night_image(root: Path) -> None:
    shutil.copy(root / "night" / "n7.png", root / "day" / "d1.png")


def _added(root: Path) -> None:
    photo(root / "day" / "d1b.png", 4712)


def _copied(root: Path) -> None:
    shutil.copy(root / "day" / "d1.png", root / "day" / "copy.png")


def _copied_to_night(root: Path) -> None:
    shutil.copy(root / "day" / "d1.png", root / "night" / "copy.png")


@pytest.mark.parametrize(
    ("damage", "path", "says"),
    [
        (_cut, "day/d1.png", "truncated"),
        (_removed, "day/d1.png", "no such file"),
        (_emptied, "day/d1.png", "0 bytes"),
        (_replaced_by_text, "day/d1.png", "not an image"),
        (_replaced_by_another_photo, "day/d1.png", "changed"),
        (_shrunk, "day/d1.png", "too small"),
        (_overwritten_by_another, "day/d1.png", "the bytes of day/d7.png"),
        (_overwritten_by_a_night_image, "day/d1.png", "listed as day, holds the night image night/n7.png"),
        (_added, "day/d1b.png", "not in the index"),
        (_copied, "day/copy.png", "the bytes of day/d1.png"),
        (_copied_to_night, "night/copy.png", "listed as night, holds the day image day/d1.png"),
    ],
)
def test_one_damage_is_one_line(prepared: Index, damage: Any, path: str, says: str) -> None:
    damage(prepared.root)
    lines = _lines(prepared)
    assert list(lines) == [path]
    assert lines[path].startswith(f"{path}: ")
    assert says in lines[path]


def test_a_file_moved_to_the_other_domain_is_found_at_both_ends(prepared: Index) -> None:
    (prepared.root / "day" / "d1.png").rename(prepared.root / "night" / "d1.png")
    lines = _lines(prepared)
    assert lines["day/d1.png"].endswith("no such file; its bytes are at night/d1.png")
    assert "holds the day image day/d1.png" in lines["night/d1.png"]
    assert len(lines) == 2


def test_swapped_files_are_both_named(prepared: Index) -> None:
    day, night = prepared.root / "day" / "d1.png", prepared.root / "night" / "n1.png"
    contents = day.read_bytes(), night.read_bytes()
    day.write_bytes(contents[1])
    night.write_bytes(contents[0])
    assert set(_lines(prepared)) == {"day/d1.png", "night/n1.png"}


def test_a_folder_that_is_gone_is_one_line_and_each_of_its_files_another(prepared: Index) -> None:
    shutil.rmtree(prepared.root / "night")
    lines = _lines(prepared)
    assert lines.pop(str(prepared.root)).startswith(f"{prepared.root}/night: no such folder")
    assert set(lines) == {row.path for row in prepared.select("night")}


def test_copies_that_were_there_from_the_start(tmp_path: Path) -> None:
    day_and_night(tmp_path, 12, 12)
    shutil.copy(tmp_path / "day" / "d3.png", tmp_path / "day" / "z.png")
    shutil.copy(tmp_path / "day" / "d4.png", tmp_path / "night" / "z.png")
    lines = _lines(prepare("folders", tmp_path))
    assert set(lines) == {"day/z.png", "night/z.png"}
    assert "byte-identical" in lines["day/z.png"]
    assert "in both domains" in lines["night/z.png"]


def test_skipped_images_are_still_named(tmp_path: Path) -> None:
    _cut(day_and_night(tmp_path, 12, 12))
    assert set(_lines(prepare("folders", tmp_path, on_bad_image="skip"))) == {"day/d1.png"}


def test_images_under_the_size_rule_are_no_problem(tmp_path: Path) -> None:
    photo(day_and_night(tmp_path, 12, 12) / "day" / "small.png", 99, size=(20, 20))
    assert _lines(prepare("folders", tmp_path, rule={"min_side_px": 40})) == {}


def test_unlisted_copies_beside_labelled_images(tmp_path: Path) -> None:
    index = prepare("folders", labelled(tmp_path, {f"s{i}": ("A", 2, 2) for i in range(4)}))
    photo(tmp_path / "images" / "day" / "unrelated.png", 999)
    shutil.copy(tmp_path / "images" / "night" / "s1-0.png", tmp_path / "images" / "day" / "copy.png")
    assert set(_lines(index)) == {"images/day/copy.png"}


def test_a_scene_in_training_and_held_out(tmp_path: Path) -> None:
    root = labelled(tmp_path, {f"s{i}": ("A", 2, 2) for i in range(6)})
    text = (root / "labels.csv").read_text().replace("fold", "split", 1)
    lines = text.splitlines()
    given = [f"{line.rsplit(',', 1)[0]},{'test' if 's0-0' in line else 'train'}" for line in lines[1:]]
    (root / "labels.csv").write_text("\n".join([lines[0], *given]))
    assert list(_lines(prepare("folders", root))) == ["s0"]


def test_divided_scenes_that_the_index_tells_of_are_no_problem(tmp_path: Path) -> None:
    index = prepare("folders", labelled(tmp_path, {"s0": ("A", 6, 6)}))
    assert _lines(index) == {}
    assert set(_lines(replace(index, facts={}))) == {"s0"}


def test_a_ground_truth_that_names_absent_images(tmp_path: Path) -> None:
    index = prepare("roxford5k", revisited(tmp_path))
    (tmp_path / "test" / "roxford5k" / "jpg" / "query_a.jpg").unlink()
    assert list(_lines(index)) == ["test/roxford5k/jpg/query_a.jpg"]
    values = {"imlist": ["new"], "qimlist": [], "gnd": []}
    dump(tmp_path / "test" / "roxford5k" / "gnd_roxford5k.pkl", values)
    assert "test/roxford5k/jpg/new.jpg" in _lines(index)


def test_tokyo_is_whole(tmp_path: Path) -> None:
    assert _lines(prepare("tokyo247", tokyo(tmp_path))) == {}


def test_a_folder_never_indexed_tells_what_it_can(tmp_path: Path) -> None:
    _cut(day_and_night(tmp_path, 12, 12))
    shutil.copy(tmp_path / "day" / "d3.png", tmp_path / "night" / "z.png")
    problems = verify_folder(SETS["folders"], tmp_path, None)
    assert [problem.path for problem in problems] == ["day/d1.png", "night/z.png"]
    assert isinstance(problems[0], Problem)
