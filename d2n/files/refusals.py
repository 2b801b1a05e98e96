"""What the operating system refused, as one line: the path, the cause, what to do."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

_AGAIN = "free some space, then give the same command again"
_ELSEWHERE = "name another place"
_WORDS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("no space left on the disk", _AGAIN),
    errno.EDQUOT: ("the disk quota is used up", _AGAIN),
    errno.EFBIG: ("a file may not grow further", "check the file size limit (`ulimit -f`) and the file system"),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission denied", f"check the permissions, or {_ELSEWHERE}"),
    errno.EPERM: ("permission denied", f"check the permissions, or {_ELSEWHERE}"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.ENOTDIR: ("a file is where a folder is expected", _ELSEWHERE),
    errno.EISDIR: ("a folder is where a file is expected", _ELSEWHERE),
    errno.EEXIST: ("is there already", _ELSEWHERE),
    errno.ENOTEMPTY: ("the folder is not empty", "name a new one"),
    errno.EBUSY: ("is in use, or a mount point", "name a folder inside it"),
    errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n 4096`), or use fewer workers"),
    errno.ENFILE: ("too many open files on this machine", "use fewer workers"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ELOOP: ("links that lead in a circle", "name the folder itself"),
    errno.EIO: ("the disk reports an error", "check the disk, then give the same command again"),
    errno.ESTALE: ("the network folder went away", "mount it again"),
    errno.EXDEV: ("lies on another file system", _ELSEWHERE),
    errno.ENOMEM: ("the memory is used up", "use fewer workers, or smaller images"),
}  # fmt: skip
_FULL = (errno.ENOSPC, errno.EDQUOT)
_BROKEN = (*_FULL, errno.EFBIG, errno.EIO)
# What libraries say in words alone, with the number that it means
_SAID: tuple[tuple[str, int], ...] = (
    ("no space left", errno.ENOSPC),
    ("database or disk is full", errno.ENOSPC),
    ("disk quota exceeded", errno.EDQUOT),
    ("file too large", errno.EFBIG),
    ("read-only file system", errno.EROFS),
    ("readonly database", errno.EROFS),
    ("permission denied", errno.EACCES),
    ("disk i/o error", errno.EIO),
    ("input/output error", errno.EIO),
    ("unable to open database file", errno.EACCES),
    ("too many open files", errno.EMFILE),
)
_TORCH_WRITES = re.compile(r"PytorchStreamWriter|iostream error|basic_ios|unexpected pos \d+", re.IGNORECASE)
_NO_FOLDER = "no usable temporary directory"  # of tempfile, where none of its folders takes a file
_LIBRARIES = ("mlflow", "optuna", "safetensors", "sqlalchemy", "sqlite3", "torch", "PIL", "shutil")
_WRAPPING = ("mlflow", "optuna")  # a server's words are not this machine's
_NUMBER = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")
_NAMED = re.compile(r"\[Errno \d+\] [^:'\"]*: (?:'|\")(?P<path>[^'\"]+)(?:'|\")")


def refusal(error: BaseException, at: Path | None = None) -> str | None:
    """One line for an error that the operating system caused, itself or inside a library; None for another.

    ``at``: what was written, for errors that name no path.
    """
    for each in causes(error):
        line = _line(each, at)
        if line is not None:
            return line
    return None


def space(path: str | Path) -> str:
    """How much is free on the disk that ``path`` lies on, or would lie: ``/mnt/a: 0.3 of 12.0 MB free``; '' unknown."""
    try:
        place = next(one for one in (Path(path).absolute(), *Path(path).absolute().parents) if one.exists())
        found, device = os.statvfs(place), place.stat().st_dev
        while place.parent != place and place.parent.stat().st_dev == device:
            place = place.parent
    except (OSError, StopIteration):
        return ""
    if found.f_files and not found.f_favail:
        return f"{place}: none of its {found.f_files} files is free"
    free, size = (blocks * found.f_frsize for blocks in (found.f_bavail, found.f_blocks))
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB")
    return f"{place}: {free / unit:.1f} of {size / unit:.1f} {name} free"


def why(error: BaseException, at: str | Path) -> str:
    """What the system said of an error; of a disk that is full, with which one that is and what is free."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    room = space(at) if is_full(error) else ""
    return f"{said}; {room}" if room else said


def fullest(places: Iterable[Path]) -> str:
    """``space`` of the one of these places whose disk has least room: what an error that names no path was about."""

    def free(place: Path) -> int:
        there = next(one for one in (place.absolute(), *place.absolute().parents) if one.exists())
        found = os.statvfs(there)
        return found.f_bavail * found.f_frsize

    return space(min(places, key=free))


def temporary_folder() -> Path:
    """Where temporary files go; the working folder, the last place that is tried, where none takes any."""
    try:
        return Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    except OSError:
        return Path.cwd()


def named_path(error: BaseException) -> str | None:
    """The file that an error, itself or inside a library, names as the one that was refused."""
    for each in causes(error):
        named = (each.filename2 or each.filename) if isinstance(each, OSError) else None
        if isinstance(named, str | bytes | os.PathLike):
            return os.fsdecode(named)
        if found := _path_in(str(each)):
            return found
    return None


def is_full(error: BaseException) -> bool:
    """Whether the error, itself or inside a library, says that the disk or the quota is used up."""
    return _says(error, _FULL)


def is_disk_fault(error: BaseException) -> bool:
    """Whether it says that the disk takes no more, or reports an error."""
    return _says(error, _BROKEN)


def _says(error: BaseException, numbers: tuple[int, ...]) -> bool:
    return any(
        (isinstance(each, OSError) and each.errno in numbers)
        or _number(str(each), words=_is_library(each)) in numbers
        for each in causes(error)
    )


def half_copied(error: BaseException) -> list[Path]:
    """Files that a copy began and could not end, for want of room or by a fault of the disk."""
    found: list[str] = []
    for each in causes(error):
        if not isinstance(each, OSError):
            continue
        told = each.args[0] if each.args and isinstance(each.args[0], list) else ()  # shutil.Error
        found += [str(one[1]) for one in told if len(one) == 3 and _number(str(one[2])) in _BROKEN]
        if each.errno in _BROKEN and each.filename2 is not None:
            found.append(os.fsdecode(each.filename2))
    paths = [Path(name) for name in found]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from; what it was raised amid too, where a library raised it."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (current.__context__ if _is_library(current) else None)
    return chain


def _line(error: BaseException, at: Path | None) -> str | None:
    text, given = str(error), None if at is None else str(at)
    if _NO_FOLDER in text.lower():
        where = space(temporary_folder())
        return f"no folder for temporary files takes any ({where}); free some space, or name another one with TMPDIR"
    if isinstance(error, OSError):
        copied = error.args[0] if error.args and isinstance(error.args[0], list) else []
        if copied and len(copied[0]) == 3:  # shutil.Error: (source, destination, what was said)
            return _worded(_number(str(copied[0][2])), str(copied[0][1]), str(copied[0][2]))
        number = error.errno if error.errno is not None else _number(text)
        named = error.filename2 or error.filename
        path = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else _path_in(text)
        return _worded(number, path or given, error.strerror or _last_line(text) or type(error).__name__)
    if not _is_library(error) and not (isinstance(error, RuntimeError) and _TORCH_WRITES.search(text)):
        return None
    number = _number(text, words=type(error).__module__.split(".")[0] not in _WRAPPING)
    if number is None and _TORCH_WRITES.search(text):
        where = space(at) if at is not None else ""
        said = f"{_last_line(text)[:120]}{'; ' if where else ''}{where}"
        return f"a file could not be written whole ({said}); check the free space and the quota"
    return _worded(number, _path_in(text) or given, "") if number is not None else None


def _worded(number: int | None, path: str | None, said: str) -> str:
    begin = f"{path}: " if path else ""
    if number == errno.EEXIST and path and Path(path).exists() and not Path(path).is_dir():
        number = errno.ENOTDIR  # what mkdir says of a file in the way
    cause, advice = _WORDS.get(number or 0, (said, ""))
    if path and number in _FULL and (room := space(path)):
        cause = f"{cause} ({room})"
    return f"{begin}{cause}" + (f"; {advice}" if advice else "")


def _number(text: str, words: bool = True) -> int | None:
    found = _NUMBER.search(text)
    if found or not words:
        return int(found[1] or found[2]) if found else None
    lower = text.lower()
    return next((number for said, number in _SAID if said in lower), None)


def _path_in(text: str) -> str | None:
    found = _NAMED.search(text)
    return found["path"] if found else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _is_library(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0].lstrip("_") in _LIBRARIES or (
        type(error).__name__ == "SafetensorError"
    )
