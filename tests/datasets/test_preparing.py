"""From a folder to an index: one walk, what is remembered, what is refused or skipped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from d2n.datasets import SETS, open_index, prepare
from d2n.datasets.index import index_path
from d2n.datasets.scan import scan_path
from d2n.errors import DataError
from tests.datasets.miniatures import day_and_night, labelled, photo, rsfm, transattr


def test_a_second_run_does_not_read_files_of_unchanged_size_and_mtime(tmp_path: Path) -> None:
    first = prepare("folders", day_and_night(tmp_path))
    path = tmp_path / "day" / "d0.png"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))  # reading it would fail
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare("folders", tmp_path).digest == first.digest
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(DataError, match=r"day/d0\.png: not an image"):
        prepare("folders", tmp_path)


def test_an_interrupted_walk_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = prepare("folders", day_and_night(tmp_path))
    memory = scan_path(tmp_path, "folders")
    lines = memory.read_bytes().splitlines(keepends=True)
    memory.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # killed while it wrote the sixth
    index_path(tmp_path, "folders").unlink()
    known = {json.loads(line)["path"] for line in lines[:5]}
    for path in known:
        stat = (tmp_path / path).stat()
        (tmp_path / path).write_bytes(bytes(stat.st_size))  # must not be read again
        os.utime(tmp_path / path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert prepare("folders", tmp_path).digest == whole.digest
    assert len(memory.read_bytes().splitlines()) >= len(lines)


@pytest.mark.timeout(30)
def test_a_pipe_or_a_device_named_as_an_image_is_a_bad_image_and_not_waited_for(tmp_path: Path) -> None:
    day_and_night(tmp_path)
    os.mkfifo(tmp_path / "night" / "pipe.jpg")
    (tmp_path / "night" / "gone.jpg").symlink_to(tmp_path / "night" / "nothing.jpg")
    with pytest.raises(DataError, match=r"night/gone\.jpg: no such file \(and 1 more bad images\)"):
        prepare("folders", tmp_path)
    (tmp_path / "night" / "gone.jpg").unlink()
    with pytest.raises(DataError, match=r"night/pipe\.jpg: is a named pipe, expected an image file"):
        prepare("folders", tmp_path)
    assert prepare("folders", tmp_path, on_bad_image="skip").facts["skipped"] == 1


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_the_index_and_what_the_walk_remembers_have_the_modes_of_the_umask(tmp_path: Path, mask: int) -> None:
    day_and_night(tmp_path)
    before = os.umask(mask)
    try:
        prepare("folders", tmp_path, out=tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {0o666 & ~mask}


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    day_and_night(tmp_path, 20, 20)
    one = prepare("folders", tmp_path, out=tmp_path / "one", workers=1)
    assert prepare("folders", tmp_path, out=tmp_path / "four", workers=4) == one


def test_bad_images_fail_in_one_line_or_are_skipped_and_counted(tmp_path: Path) -> None:
    day_and_night(tmp_path)
    (tmp_path / "day" / "d1.png").write_bytes(b"")
    photo(tmp_path / "day" / "d2.png", size=(1, 1))
    photo(tmp_path / "night" / "n3.png", form="JPEG")
    with pytest.raises(DataError, match=r"day/d1\.png: 0 bytes.*\(and 2 more bad images\).*d2n data verify"):
        prepare("folders", tmp_path)
    assert not index_path(tmp_path, "folders").exists()
    index = prepare("folders", tmp_path, on_bad_image="skip")
    assert (len(index.rows), index.facts["skipped"]) == (9, 3)
    assert index.info().counts["skipped"] == 3


def test_pairs_of_skipped_images_are_left_out(tmp_path: Path) -> None:
    transattr(tmp_path, {"00000001": [0.1, 0.95, 0.2]})
    (tmp_path / "imageAlignedLD" / "00000001" / "1.jpg").write_bytes(b"x")
    assert len(prepare("transattr", tmp_path, on_bad_image="skip").pairs) == 1


def test_images_under_the_size_rule_are_left_out_and_counted(tmp_path: Path) -> None:
    day_and_night(tmp_path, 4, 4)
    photo(tmp_path / "day" / "small.png", 50, size=(48, 39))
    index = prepare("folders", tmp_path, rule={"min_side_px": 40})
    assert (len(index.select("day")), index.facts["too_small"]) == (4, 1)


def test_labels_with_another_hash_are_bad_images(tmp_path: Path) -> None:
    labelled(tmp_path, {"s": ("A", 3, 3)})
    table = (tmp_path / "labels.csv").read_text().splitlines()
    lines = [
        table[0] + ",sha256",
        *(line + "," + ("0" * 64 if i == 0 else "") for i, line in enumerate(table[1:])),
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"s-0\.png: its bytes have sha256 .*, the labels say 000000000000"):
        prepare("folders", tmp_path)


def test_an_image_listed_in_both_domains_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    photo(tmp_path / "b.png", 1)
    (tmp_path / "day.txt").write_text("a.png\nb.png\n")
    (tmp_path / "night.txt").write_text("b.png\n")
    with pytest.raises(DataError, match=r"b\.png: listed as day and as night"):
        prepare("folders", tmp_path, rule={"day": "day.txt", "night": "night.txt"})


def test_an_image_listed_twice_with_other_labels_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path, {"s": ("A", 2, 2)})
    with (tmp_path / "labels.csv").open("a") as file:
        file.write("images/day/s-0.png,day,other,A\r\n")
    with pytest.raises(DataError, match=r"s-0\.png: listed 2 times with other scenes or splits"):
        prepare("folders", tmp_path)


def test_the_index_lies_beside_the_data_or_under_out(tmp_path: Path) -> None:
    root = day_and_night(tmp_path / "data" / "folders")
    made = prepare("folders", root, out=tmp_path / "elsewhere")
    assert sorted(path.name for path in root.iterdir()) == ["day", "night"]
    for opened in (
        open_index("folders", index=tmp_path / "elsewhere"),
        open_index("folders", index=index_path(tmp_path / "elsewhere", "folders")),
        open_index("folders", root=root, index=tmp_path / "elsewhere"),
        open_index("folders", root=tmp_path / "elsewhere"),
    ):
        assert opened == made


def test_the_default_root_is_under_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2N_DATA", str(tmp_path))
    made = prepare("folders", day_and_night(tmp_path / "folders"))
    assert open_index("folders").digest == made.digest


def test_a_folder_is_opened_under_the_name_it_was_prepared_as(tmp_path: Path) -> None:
    made = prepare("folders", day_and_night(tmp_path), as_name="my-town")
    opened = open_index("my-town", tmp_path)
    assert (opened.name, opened.kind, opened.digest) == ("my-town", "folders", made.digest)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("folders", r"no index of folders; run `d2n data prepare folders "),
        ("toycity", r"run `d2n data make toycity`"),
        ("my-town", r"run `d2n data prepare folders .* --as my-town`"),
    ],
)
def test_without_an_index_the_command_is_named(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        open_index(name, tmp_path)


def test_another_index_is_not_taken_for_this_set(tmp_path: Path) -> None:
    prepare("folders", day_and_night(tmp_path), as_name="one")
    with pytest.raises(DataError, match="the index of 'one', expected 'two'"):
        open_index("two", index=index_path(tmp_path, "one"))


def test_a_rule_that_takes_images_never_walked_is_refused(tmp_path: Path) -> None:
    day_and_night(tmp_path)
    photo(tmp_path / "dawn" / "x.png", 9)
    prepare("folders", tmp_path)
    with pytest.raises(
        DataError, match=r"1 images that were not walked, first 'dawn/x.png'; run `d2n data prepare"
    ):
        open_index("folders", tmp_path, rule={"day": ["day", "dawn"]})


def test_the_rule_of_the_index_stands_where_none_is_given(tmp_path: Path) -> None:
    rsfm(tmp_path)
    made = prepare("rsfm", tmp_path, rule={"min_side_px": 40})
    assert open_index("rsfm", tmp_path).digest == made.digest
    assert open_index("rsfm", tmp_path, rule={"split_seed": 0}).digest == made.digest
    other = open_index("rsfm", tmp_path, rule={"split_seed": 5})
    assert other.digest != made.digest
    assert other.rule["min_side_px"] == 40


@pytest.mark.parametrize(
    ("name", "says"), [("transatr", "did you mean 'transattr'"), ("toycity", "run `d2n data make toycity`")]
)
def test_sets_that_cannot_be_prepared(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        prepare(name, tmp_path)


def test_a_missing_root_is_one_line(tmp_path: Path) -> None:
    for name, kind in SETS.items():
        if kind.listing is not None:
            with pytest.raises(DataError, match="no such folder"):
                prepare(name, tmp_path / "absent")


@pytest.mark.parametrize(
    "as_name",
    ["", "a/b", ".hidden", "transattr", "o'brien", 'a"b', "me@home", "my city", "a\nb", "x" * 300],
)
def test_names_that_cannot_be_taken(tmp_path: Path, as_name: str) -> None:
    with pytest.raises(DataError, match=r"no name|another set"):
        prepare("folders", day_and_night(tmp_path), as_name=as_name)


def test_names_of_any_unicode_with_spaces_and_quotes(tmp_path: Path) -> None:
    names = ['ž 夜\'s "x".png', "a,b;c.png", "tab\there.png", "line\nbreak.png"]
    for i, name in enumerate(names):
        photo(tmp_path / "day" / name, i)
        photo(tmp_path / "night" / name, 10 + i)
    index = prepare("folders", tmp_path)
    opened = open_index("folders", tmp_path)
    assert opened == index
    assert {row.path for row in opened.select("day")} == {f"day/{name}" for name in names}
    assert all(opened.path(row).is_file() for row in opened.rows)
