"""What the operating system refuses, in words."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from mlflow.exceptions import MlflowException
from safetensors import SafetensorError
from sqlalchemy.exc import OperationalError

from d2n.files.refusals import is_full, refusal, space, why
from tests.fakes.full_disk import largest_file

FULL = "no space left on the disk"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, FULL),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.ENOTDIR, "a file is where a folder is expected"),
        (errno.EISDIR, "a folder is where a file is expected"),
        (errno.EMFILE, "too many open files; raise the limit"),
        (errno.ENAMETOOLONG, "name is too long"),
        (errno.ELOOP, "links that lead in a circle"),
        (errno.EIO, "the disk reports an error"),
        (errno.ECONNRESET, os.strerror(errno.ECONNRESET)),  # without words of its own
    ],
)
def test_path_and_cause_are_named(number: int, says: str) -> None:
    line = refusal(OSError(number, os.strerror(number), "a b/ü"))
    assert line is not None
    assert line.startswith("a b/ü: ")
    assert says in line
    assert "Errno" not in line


def test_a_copy_names_where_it_goes() -> None:
    line = refusal(OSError(errno.ENOSPC, "No space left on device", "from", None, "to"))
    assert line is not None
    assert line.startswith("to: no space left on the disk (/")
    assert line.endswith(" free); free some space, then give the same command again")


@pytest.mark.parametrize(
    "error",
    [
        shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")]),
        OSError(
            "Caught OSError in a worker.\nTraceback …\nOSError: [Errno 28] No space left on device: 'to'"
        ),
        sqlite3.OperationalError("database or disk is full"),
        OperationalError("INSERT secret", {}, sqlite3.OperationalError("database or disk is full")),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_what_libraries_wrap_is_unwrapped(error: Exception) -> None:
    line = refusal(error)
    assert line is not None
    assert FULL in line
    assert "\n" not in line
    assert "secret" not in line


def test_a_library_that_says_less_than_it_knows() -> None:
    error = MlflowException("could not log")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device", "mlruns/x")  # raised amid it
    assert str(refusal(error)).startswith("mlruns/x: no space")


def test_the_disk_is_named_with_what_is_free(tmp_path: Path) -> None:
    free = re.compile(r"/[^:]*: \d+\.\d of \d+\.\d [MG]B free")
    assert free.fullmatch(space(tmp_path / "not" / "there" / "yet"))
    assert free.search(str(refusal(sqlite3.OperationalError("database or disk is full"), tmp_path / "a.db")))


def test_no_folder_for_temporary_files_is_a_full_disk() -> None:
    error = FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp', '/var/tmp']")
    line = str(refusal(error))
    assert line.startswith("no folder for temporary files takes any (/")
    assert line.endswith("name another one with TMPDIR")


def test_torch_on_a_full_disk(tmp_path: Path) -> None:
    with largest_file(1000), pytest.raises((RuntimeError, OSError)) as caught:
        torch.save(torch.zeros(10_000), tmp_path / "x.pt")
    line = refusal(caught.value)
    assert line is not None
    assert "\n" not in line


def test_a_full_disk_is_known_as_such() -> None:
    assert is_full(OSError(errno.ENOSPC, "No space left on device"))
    assert is_full(shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]))
    assert not is_full(OSError(errno.EACCES, "Permission denied"))
    assert not is_full(ValueError("no space left for another seed"))


def test_the_reason_of_a_full_disk_says_which(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert why(full, tmp_path / "absent") == f"No space left on device; {space(tmp_path)}"
    assert why(OSError(errno.EACCES, "Permission denied"), tmp_path) == "Permission denied"
    assert why(OSError("no number"), tmp_path) == "no number"


def test_mkdir_over_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError) as caught:
        (tmp_path / "file").mkdir(exist_ok=True)
    assert "a file is where a folder is expected" in str(refusal(caught.value))


def test_a_bug_stays_a_bug() -> None:
    assert refusal(KeyError("x")) is None
    assert refusal(RuntimeError("shapes differ")) is None
    assert refusal(MlflowException("permission denied for user")) is None
    error = KeyError("the bug of an error handler")
    error.__context__ = FileNotFoundError(errno.ENOENT, "No such file", "x")
    assert refusal(error) is None
