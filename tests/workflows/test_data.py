"""The lines of ``d2n data``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from d2n.datasets import open_index
from d2n.datasets.images import load_rgb
from d2n.errors import DataError
from d2n.workflows.data import list_sets, make, mirrored, prepare, verify
from tests.datasets.miniatures import day_and_night, labelled, photo, transattr


def test_prepare_prints_counts_beside_the_thesis(tmp_path: Path) -> None:
    transattr(tmp_path, {f"0000000{i}": [0.1, 0.95] for i in range(4)})
    text = "\n".join(prepare("transattr", tmp_path, out=tmp_path / "out"))
    for key, n, thesis in (
        ("webcams", 4, "101"),
        ("day", 4, "4,774"),
        ("night", 4, "310"),
        ("annotated", 8, "8,571"),
    ):
        line = next(line for line in text.splitlines() if line.split()[0] == key)
        assert line.split()[1:] == [str(n), "thesis", thesis]
    assert "digest" in text
    assert str(tmp_path / "out" / "d2n-index-transattr.csv") in text


def test_verify_lists_what_is_wrong_and_says_so(tmp_path: Path) -> None:
    prepare("folders", day_and_night(tmp_path))
    assert verify("folders", tmp_path)[1]
    (tmp_path / "day" / "d1.png").unlink()
    lines, is_clean = verify("folders", tmp_path)
    assert not is_clean
    assert lines[0] == "day/d1.png: no such file"
    assert lines[-1].endswith(": 1 problems")


def test_verify_looks_at_a_folder_that_was_never_indexed(tmp_path: Path) -> None:
    photo(day_and_night(tmp_path) / "day" / "d1.png", size=(2, 2))
    lines, is_clean = verify("folders", tmp_path)
    assert not is_clean
    assert "too small" in lines[0]
    assert "never indexed" in lines[-1]


def test_verify_of_nothing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `d2n data prepare aachen"):
        verify("aachen", tmp_path / "absent")


def test_list_shows_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D2N_DATA", str(tmp_path))
    prepare("transattr", transattr(tmp_path / "transattr", {f"0000000{i}": [0.1, 0.95] for i in range(4)}))
    prepare("folders", day_and_night(tmp_path / "town"), as_name="town")
    lines = {line.split()[0]: line for line in list_sets()}
    assert "8 images, 4 pairs" in lines["transattr"]
    assert "12 images" in lines["town"]
    assert lines["rsfm"].endswith("-")
    (tmp_path / "transattr" / "d2n-index-transattr.csv").write_text("x")
    assert any("damaged index" in line for line in list_sets())


def test_prepare_writes_the_public_pickles(tmp_path: Path) -> None:
    root = labelled(tmp_path / "data", {f"s{i}": ("A", 3, 2) for i in range(6)})
    lines = prepare("folders", root, pickles=tmp_path / "out")
    written = [line.split()[1] for line in lines if line.startswith("written")]
    assert len(written) == 4
    assert all(Path(path).is_file() for path in written)


def test_make_builds_the_toy_city_and_verify_finds_it_whole(tmp_path: Path) -> None:
    lines = make("toycity", tmp_path / "city", scale=0.02)
    assert "toycity" in lines[0]
    assert verify("toycity", tmp_path / "city")[1]
    photo = next((tmp_path / "city").rglob("*.png"))
    photo.write_bytes(b"")
    assert not verify("toycity", tmp_path / "city")[1]
    with pytest.raises(DataError, match="is not generated"):
        make("aachen")


def test_a_mirror_is_read_as_the_folder_is(tmp_path: Path) -> None:
    far, near = day_and_night(tmp_path / "far"), tmp_path / "near"
    prepare("folders", far)
    said = mirrored(far.as_uri(), near, 0.001)
    assert said[0] == (
        f"{near} mirrors {far.as_uri()} (fetched: d2n-index-folders.csv); at most 0.001 GB of its images are kept here"
    )
    assert f"use it with --set dataset.root={near}" in said[1]
    index = open_index("folders", near)
    for row in index.rows:
        assert np.array_equal(load_rgb(index.path(row)), load_rgb(far / row.path))
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match=r"holds no d2n-index-NAME\.csv; prepare the images where they lie"):
        mirrored((tmp_path / "bare").as_uri(), tmp_path / "other", 1)
