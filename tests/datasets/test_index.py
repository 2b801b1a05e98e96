"""The index as a value and as a file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from d2n.datasets import open_index
from d2n.datasets.index import ImageRow, Index, load_index, save_index
from d2n.errors import DataError
from tests.datasets.miniatures import photo

NAMES = (
    "day/plain.png",
    "day/with space, comma.png",
    'day/it\'s "quoted".png',
    "night/žluťoučký 夜.png",
    "night/a\nb.png",
)


def _index(root: Path, names: tuple[str, ...] = NAMES) -> Index:
    rows = tuple(
        ImageRow(name, name.split("/")[0], f"scene {i // 2}", ("train", "val")[i % 2], 48, 40, f"{i:064x}")
        for i, name in enumerate(names)
    )
    return Index(
        "folders",
        root,
        {"night_above": 0.9, "folds": ["A"]},
        rows,
        ((0, 3), (1, 4)),
        "folders",
        {"skipped": 2},
    )


def test_a_saved_index_reads_back_the_same(tmp_path: Path) -> None:
    index = _index(tmp_path / "data")
    for name in NAMES:
        photo(tmp_path / "data" / name)
    back = load_index(save_index(index, tmp_path / "out"))
    assert back == replace(index, root=Path(os.path.realpath(index.root)))
    assert back.digest == index.digest


def test_the_digest_does_not_depend_on_order_or_folder(tmp_path: Path) -> None:
    index = _index(tmp_path / "one")
    reversed_rows = replace(index, root=tmp_path / "two", rows=index.rows[::-1], pairs=((3, 0), (4, 1)))
    assert reversed_rows.select_pairs()[0][0].path == NAMES[1]
    assert reversed_rows.digest == index.digest


@pytest.mark.parametrize(
    "change", [{"split": "test"}, {"domain": "night"}, {"scene": "x"}, {"sha256": "f" * 64}, {"width": 49}]
)
def test_the_digest_covers_every_column(tmp_path: Path, change: dict[str, object]) -> None:
    index = _index(tmp_path)
    rows = (replace(index.rows[0], **change), *index.rows[1:])  # type: ignore[arg-type]  # one field at a time
    assert replace(index, rows=rows).digest != index.digest
    assert replace(index, pairs=index.pairs[:1]).digest != index.digest


def test_the_digest_takes_accents_as_equal_however_they_are_stored(tmp_path: Path) -> None:
    composed, decomposed = (
        _index(tmp_path, ("day/\u00e9.png",) * 5),
        _index(tmp_path, ("day/e\u0301.png",) * 5),
    )
    assert composed.digest == decomposed.digest


def test_counts_and_selections(tmp_path: Path) -> None:
    index = _index(tmp_path)
    assert index.counts() == {"train/day": 2, "train/night": 1, "val/day": 1, "val/night": 1, "skipped": 2}
    assert [row.path for row in index.select("night", "train")] == [NAMES[4]]
    assert index.select_pairs("train") == []  # (0, 3) and (1, 4) lie across splits
    assert len(index.select_pairs()) == 2
    info = index.info()
    assert (info.name, info.digest, info.root) == ("folders", index.digest, str(tmp_path))
    assert '"night_above": 0.9' in info.rule


def test_an_index_beside_its_data_moves_with_the_folder(tmp_path: Path) -> None:
    index = _index(tmp_path / "old")
    path = save_index(index, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert load_index(tmp_path / "new" / path.name).root == tmp_path / "new"


def test_an_index_of_another_root_is_refused(tmp_path: Path) -> None:
    path = save_index(_index(tmp_path / "data"), tmp_path / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"5 of its 5 images are not in .*other"):
        load_index(path, tmp_path / "other")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "day/../../secret.png", "day/a\0b.png"])
def test_a_path_out_of_the_root_is_refused(tmp_path: Path, name: str) -> None:
    index = _index(tmp_path / "data")
    with pytest.raises(DataError, match="leaves the data set's folder"):
        index.path(replace(index.rows[0], path=name))


def test_a_link_out_of_the_root_is_refused_and_one_inside_is_followed(tmp_path: Path) -> None:
    index = _index(tmp_path / "data")
    photo(tmp_path / "secret.png")
    photo(tmp_path / "data" / "day" / "real.png")
    (tmp_path / "data" / "day" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "data" / "day" / "in.png").symlink_to(tmp_path / "data" / "day" / "real.png")
    with pytest.raises(DataError, match="a link out of"):
        index.path(replace(index.rows[0], path="day/out.png"))
    inside = index.path(replace(index.rows[0], path="day/in.png"))
    assert inside == tmp_path / "data" / "day" / "real.png"


def test_a_root_that_is_a_link_is_as_good(tmp_path: Path) -> None:
    photo(tmp_path / "data" / "day" / "plain.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    index = _index(tmp_path / "link")
    assert index.path(index.rows[0]) == tmp_path / "data" / "day" / "plain.png"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("train", "test", "digest"),
        ('"d2n_index": 1', '"d2n_index": 9', "format 9"),
        ("path,domain", "domain,path", "not a whole index"),
        ("{", "", "not a whole index"),
    ],
)
def test_an_edited_or_damaged_index_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = save_index(_index(tmp_path), tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=says):
        load_index(path)


def test_a_cut_index_is_refused(tmp_path: Path) -> None:
    path = save_index(_index(tmp_path), tmp_path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="prepare"):
        load_index(path)


def test_an_index_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="--out"):
        save_index(_index(tmp_path), tmp_path / "file")


def test_the_command_for_a_folder_that_begins_with_a_dash_can_be_pasted(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(DataError, match=r"prepare folders \./-photos`"):
        open_index("folders", root="-photos")
