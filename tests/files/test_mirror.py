"""Files that lie at a URL: fetched when they are read, within a bound, and nothing else is ever removed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import fsspec
import pytest

from d2n.errors import ConfigError, DataError, ImageError
from d2n.files import mirror
from d2n.pixels import read


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """What lies at the URL."""
    folder = tmp_path / "far"
    (folder / "day").mkdir(parents=True)
    for i in range(10):
        (folder / f"day/{i}.jpg").write_bytes(bytes([i]) * 1000)
    (folder / "d2n-index-x.csv").write_text("index")
    (folder / "large.csv").write_bytes(b"x" * 5000)
    return folder


def test_a_file_is_fetched_once_and_read_from_here_then(far: Path, tmp_path: Path) -> None:
    near = tmp_path / "near"
    mirror.make(far.as_uri(), near, 10**6)
    assert read(near / "day/3.jpg") == bytes([3]) * 1000
    (far / "day/3.jpg").unlink()
    assert read(near / "day/3.jpg") == bytes([3]) * 1000
    (near / "day").mkdir()
    (near / "day/3.jpg").write_bytes(b"own")  # what is here goes before
    assert read(near / "day/3.jpg") == b"own"
    with pytest.raises(ImageError, match=r"day/nowhere\.jpg: no such file"):
        read(near / "day/nowhere.jpg")
    with pytest.raises(ImageError, match="no such file"):
        read(tmp_path / "outside.jpg")
    assert mirror.content(near / "../far/day/4.jpg") is None


def test_what_is_kept_stays_within_its_bound_and_the_longest_unused_go(far: Path, tmp_path: Path) -> None:
    near = tmp_path / "near"
    mirror.make(far.as_uri(), near, 4000)
    (near / "own.jpg").write_bytes(b"o" * 9000)
    for i in range(4):
        read(near / f"day/{i}.jpg")
        os.utime(near / mirror.FETCHED / f"day/{i}.jpg", (1000 + i, 1000 + i))
    read(near / "day/0.jpg")  # used just now
    read(near / "day/4.jpg")
    kept = sorted(path.name for path in (near / mirror.FETCHED).rglob("*.jpg"))
    assert kept == ["0.jpg", "3.jpg", "4.jpg"]
    for i in range(10):
        read(near / f"day/{i}.jpg")
        assert sum(path.stat().st_size for path in (near / mirror.FETCHED).rglob("*.jpg")) <= 4000
    assert (near / "own.jpg").stat().st_size == 9000
    mirror.make(far.as_uri(), near, 500)
    (near / mirror.FETCHED / "day/9.jpg").unlink()
    assert read(near / "day/9.jpg") == bytes([9]) * 1000  # larger than the bound: not kept
    assert not (near / mirror.FETCHED / "day/9.jpg").exists()


def test_tables_are_listed_without_the_large_ones(far: Path, tmp_path: Path) -> None:
    made = mirror.make(far.as_uri(), tmp_path / "near", 10**6)
    assert mirror.tables(made, (".csv",), 1000) == {"d2n-index-x.csv": b"index"}


def test_a_url_of_another_kind_of_file_system(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe_file("/photos/a.jpg", b"abc")
    mirror.make("memory://photos", tmp_path / "near", 100)
    assert read(tmp_path / "near/a.jpg") == b"abc"


def test_one_line_for_what_cannot_be_mirrored(
    far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = tmp_path / "near"
    for url, says in (
        ("photos", "no URL, expected one such as s3://"),
        ("https://me:secret@host/photos", "a password does not belong in a URL"),
        ("nosuch://photos", "cannot be opened here"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            mirror.make(url, near, 10)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    gone = mirror.make((tmp_path / "gone").as_uri(), near, 10)
    with pytest.raises(DataError, match="cannot be listed"):
        mirror.tables(gone, (".csv",), 10)
    with pytest.raises(ConfigError, match="mirrors file:"):
        mirror.make(far.as_uri(), near, 10)
    (near / f"{mirror.FETCHED}.json").write_text("{")
    with pytest.raises(DataError, match=r"is damaged; `d2n data mirror URL"):
        read(near / "x.jpg")


def test_a_url_that_does_not_answer_is_asked_again(
    far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_WAITS_S", (0.0, 0.0))
    near = tmp_path / "near"
    mirror.make(far.as_uri(), near, 10**6)
    answers = [ConnectionError("reset"), TimeoutError("late"), b"there"]

    class Away:
        def cat_file(self, path: str) -> bytes:
            found = answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(mirror, "_opened", lambda _: (Away(), "root"))
    assert read(near / "a.jpg") == b"there"
    answers += [ConnectionError("reset")] * 3
    with pytest.raises(ImageError, match=r"b\.jpg: cannot be fetched \(file:.*b\.jpg: reset\)"):
        read(near / "b.jpg")


def test_the_mark_says_what_is_mirrored(far: Path, tmp_path: Path) -> None:
    mirror.make(far.as_uri(), tmp_path / "near", 7)
    assert json.loads((tmp_path / f"near/{mirror.FETCHED}.json").read_text()) == {
        "url": far.as_uri(),
        "max_bytes": 7,
    }
    assert mirror.of(tmp_path / "near/a/b/c.jpg") == mirror.Mirror(tmp_path / "near", far.as_uri(), 7)
    assert mirror.of(tmp_path / "far/a.jpg") is None
    assert mirror.is_there(tmp_path / "near/a.jpg")
    assert not mirror.is_there(tmp_path / "far/a.jpg")
