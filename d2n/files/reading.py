"""The bytes and the text of a file that someone else wrote: a regular file, of bounded size, or one line."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from d2n.errors import D2NError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(
    path: str | Path, error: type[D2NError], *, at_most: int, absent: str = "no such file"
) -> bytes:
    """The content of a regular file of at most ``at_most`` bytes; else ``error``, beginning with the path.

    Pipes and devices are refused before they are opened. ``absent`` is what is said of a file that is not there.
    """
    path = check_file(path, error, at_most=at_most, absent=absent)
    try:
        with path.open("rb") as file:
            content = file.read(min(os.fstat(file.fileno()).st_size, at_most) + 1)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror or problem})") from problem
    if len(content) > at_most:
        raise error(f"{path}: grew beyond the {_in_words(at_most)} that are read of its kind")
    return content


def read_text(path: str | Path, error: type[D2NError], *, at_most: int, absent: str = "no such file") -> str:
    """As read_bytes, as UTF-8 text without its byte order mark."""
    content = read_bytes(path, error, at_most=at_most, absent=absent)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: cannot be read as text ({problem})") from problem


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each file below a folder, a link as itself; what another process or thread removes meanwhile is left out."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*names, *links):
            with contextlib.suppress(OSError):
                yield Path(place, name), Path(place, name).lstat()


def tail(path: Path, at_most: int) -> str:
    """The end of a text file that may still grow, from the start of a line; OSError where it cannot be read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - at_most))
        content = file.read(at_most)
    if size > at_most:
        content = content.partition(b"\n")[2]
    return content.decode("utf-8", errors="replace")


def check_file(
    path: str | Path, error: type[D2NError], *, at_most: int, absent: str = "no such file"
) -> Path:
    """``path`` where it is a regular file of at most ``at_most`` bytes; else ``error``."""
    path = Path(path)
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path's own answers differ by version for names too long
    except FileNotFoundError:
        raise error(f"{path}: {absent}") from None
    except (OSError, ValueError) as problem:
        raise error(
            f"{path!s}: cannot be read ({getattr(problem, 'strerror', None) or problem})"
        ) from problem
    if not stat.S_ISREG(status.st_mode):
        found = next((name for test, name in _KINDS if test(status.st_mode)), "no regular file")
        raise error(f"{path}: {found}, expected a file")
    if status.st_size > at_most:
        found = _in_words(status.st_size)
        raise error(f"{path}: {found}, at most {_in_words(at_most)} are read of its kind")
    return path


def brief(value: object, at_most: int = 80) -> str:
    """A value as a program would write it, in one line of bounded length, for a message."""
    return one_line(repr(value), at_most)


def one_line(text: str, at_most: int = 80) -> str:
    """``text`` in one line of bounded length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * at_most]).split())
    return line if len(line) <= at_most and len(text) <= 4 * at_most else f"{line[:at_most]}…"


def reason(problem: BaseException, at_most: int = 160) -> str:
    """What an exception says, in one line; its name where it says nothing."""
    return one_line(str(problem), at_most) or type(problem).__name__


def _in_words(size: int) -> str:
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
