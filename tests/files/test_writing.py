"""Whole or absent, with the umask's modes, whatever the operating system says."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from d2n.files.writing import (
    aside,
    copy_folder,
    folder_aside,
    make_file,
    require_new,
    require_room,
    require_writable,
    sweep,
    write_bytes,
    write_text,
)
from tests.fakes.full_disk import largest_file

UMASKS = [0o077, 0o022, 0o002]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("mask", UMASKS)
@pytest.mark.parametrize("durable", [False, True])
def test_files_and_folders_have_the_modes_of_the_umask(tmp_path: Path, mask: int, durable: bool) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a").write_text("a")
    source.chmod(0o700)  # as the folders of tempfile are
    with umask(mask):
        write_bytes(tmp_path / "made" / "file", b"1", durable=durable)
        with folder_aside(tmp_path / "folder", durable=durable) as part:
            (part / "file").write_text("1")
        copy_folder(source, tmp_path / "copy")
        make_file(tmp_path / "empty")
    for folder in ("made", "folder", "copy", "copy/deep"):
        assert mode(tmp_path / folder) == 0o777 & ~mask
    for file in ("made/file", "folder/file", "copy/deep/a", "empty"):
        assert mode(tmp_path / file) == 0o666 & ~mask


def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "before")
    with pytest.raises(KeyboardInterrupt):
        _half_a_file(tmp_path / "file")
    with pytest.raises(ZeroDivisionError):
        _half_a_folder(tmp_path / "folder")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def _half_a_file(path: Path) -> None:
    with aside(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt


def _half_a_folder(path: Path) -> None:
    with folder_aside(path) as part:
        (part / "file").write_text("half")
        raise ZeroDivisionError


def test_a_full_disk_names_the_target_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "large").write_bytes(bytes(100_000))
    with largest_file(10_000):
        with pytest.raises(OSError, match="File too large") as caught:
            write_bytes(tmp_path / "file", bytes(100_000))
        assert caught.value.filename == str(tmp_path / "file")
        with pytest.raises(OSError, match="File too large") as caught:
            copy_folder(tmp_path / "source", tmp_path / "copy")
        assert caught.value.filename == str(tmp_path / "copy")
    assert names(tmp_path) == ["source"]


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for target, number in (("pipe", errno.EINVAL), ("folder", errno.EISDIR)):
        with pytest.raises(OSError, match=target) as caught:
            write_bytes(tmp_path / target, b"1")
        assert caught.value.errno == number
    with pytest.raises(OSError, match="not a regular file"):
        write_bytes("/dev/null", b"1")
    assert Path("/dev/null").is_char_device()
    assert names(tmp_path) == ["folder", "pipe"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError) as caught:
            require_writable(path)
        assert caught.value.filename == str(tmp_path / "file")
        with pytest.raises(OSError, match="file"), folder_aside(path):
            pytest.fail("nothing can be made here")
    require_writable(tmp_path / "to" / "be" / "made")
    assert names(tmp_path) == ["file"]


def test_a_dangling_link_is_no_folder_to_write_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(NotADirectoryError):
        require_writable(tmp_path / "link" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        require_writable(tmp_path / "below")
    tmp_path.chmod(0o700)


def test_a_new_folder_may_be_an_empty_one_or_a_link_to_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    with folder_aside(tmp_path / "link") as part:
        (part / "file").write_text("1")
    assert (tmp_path / "empty" / "file").read_text() == "1"
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(OSError, match="not empty"):
        require_new(tmp_path / "empty")


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    name = "n" * 255
    write_text(tmp_path / name, "1")
    assert names(tmp_path) == [name]


_KILLED = """
import os, signal, sys
from pathlib import Path
from d2n.files.writing import aside, folder_aside
with aside(Path(sys.argv[1], "file")) as part, folder_aside(Path(sys.argv[1], "folder")) as half:
    part.write_text("half")
    (half / "model").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert len(names(tmp_path)) == 2  # neither has its name
    with folder_aside(tmp_path / "folder") as part:
        (part / "model").write_text("whole")
    assert names(tmp_path) == ["folder"]


def test_what_others_are_writing_stays(tmp_path: Path) -> None:
    with aside(tmp_path / "file") as part:
        pid = f"-{os.getpid()}-"
        of_another_machine = tmp_path / part.name.replace(part.name[5:13], "0" * 8)
        of_the_first_process = tmp_path / part.name.replace(pid, "-1-")
        for path in (of_another_machine, of_the_first_process):
            path.write_text("")
        sweep(tmp_path)
        assert part.exists()
        assert of_another_machine.exists()
        assert of_the_first_process.exists()
        os.utime(of_another_machine, (0, 0))
        sweep(tmp_path)
        assert not of_another_machine.exists()


def test_room_is_asked_for_and_given_back(tmp_path: Path) -> None:
    require_room(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError) as caught:  # noqa: PT011 - full, or more than a file may hold
        require_room(tmp_path, 2**62)
    assert caught.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []
