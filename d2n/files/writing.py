"""Writing that is whole or absent: aside, then renamed, with the permissions that the umask gives.

What is not whole yet lies beside its target as ``.d2n-<machine>-<process>-<number>.part``; what a killed process
left of it goes with the next writing into that folder. Errors are OSErrors that name the target.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_PART = re.compile(r"\.d2n-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-[0-9a-f]{8}\.part")
_FORGOTTEN_S = 24 * 3600.0  # nothing is written for so long: a part of another machine that old is a leftover


def write_bytes(path: str | Path, content: bytes, *, durable: bool = False) -> Path:
    """Write ``content`` to ``path``, whole or not at all; its folder is made. ``durable``: it outlives a power cut."""
    with aside(path, durable=durable) as part:
        part.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, text: str, *, durable: bool = False) -> Path:
    """As write_bytes, UTF-8 with ``\\n`` as it is given."""
    return write_bytes(path, text.encode("utf-8"), durable=durable)


@contextlib.contextmanager
def aside(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty file to fill; it takes the name ``path`` at the end of the block, or goes where the block fails.

    Raises OSError, with ``path``, for a target that is a folder, a pipe or a device, and where nothing can be written.
    """
    path = Path(path)
    with _about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_replaceable(path)
        _sweep_once(str(path.parent.absolute()))
        part = path.with_name(_part_name())
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # the umask takes its share
    with _about(path), _gone_if_left(part):
        yield part
        if durable:
            _sync(part)
        part.replace(path)
    if durable:
        _sync_folder(path.parent)


@contextlib.contextmanager
def folder_aside(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty folder to fill; it takes the name ``path``, which is absent or an empty folder, at the end.

    Raises OSError, with ``path``, where ``path`` is something else, and where nothing can be written.
    """
    path = _plain(Path(path))
    require_new(path)
    with _about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        part = path.with_name(_part_name())
        part.mkdir()
    with _about(path), _gone_if_left(part):
        yield part
        if durable:
            for folder, _, files in os.walk(part):
                for name in files:
                    _sync(Path(folder, name))
                _sync_folder(Path(folder))
        part.rename(path)  # over an empty folder too
    if durable:
        _sync_folder(path.parent)


def copy_folder(source: Path, destination: Path) -> None:
    """Copy what a folder holds into the new folder ``destination``: complete or absent, modes by the umask."""
    with folder_aside(destination, durable=True) as part:
        for folder, _, files in os.walk(source):
            below = part / Path(folder).relative_to(source)
            below.mkdir(exist_ok=True)
            for name in files:
                shutil.copyfile(Path(folder, name), below / name)


def make_folder(path: str | Path) -> Path:
    """The folder, made with its parents where it is absent; OSError, with the path, where it cannot be."""
    path = Path(path)
    with _about(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def make_file(path: str | Path) -> None:
    """An empty file with the modes of the umask, unless there is one already: SQLite itself gives 0644 at most.

    Its folder must be there; where nothing can be made, nothing is, and the one who opens it says why.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def require_writable(folder: str | Path) -> None:
    """OSError, with the path in the way, unless files can be written into ``folder``, which may have to be made.

    To be asked before work whose result goes there.
    """
    folder = Path(folder)
    for place in (folder, *folder.absolute().parents):
        if not os.path.lexists(place):
            continue
        if not place.is_dir():
            raise _error(errno.ENOTDIR, place)
        if not os.access(place, os.W_OK | os.X_OK):
            read_only = os.statvfs(place).f_flag & getattr(os, "ST_RDONLY", 1)
            raise _error(errno.EROFS if read_only else errno.EACCES, place)
        return


def require_new(folder: str | Path) -> None:
    """OSError, with the path, unless ``folder`` is absent (and can be made) or an empty folder."""
    folder = Path(folder)
    require_writable(folder)
    if folder.is_dir() and any(not _PART.fullmatch(entry.name) for entry in folder.iterdir()):
        raise _error(errno.ENOTEMPTY, folder)


def require_room(folder: str | Path, size_bytes: int) -> None:
    """OSError, with the folder, unless so many bytes find room in it now.

    To be asked before a library writes there that ends the whole process where there is none.
    """
    part = Path(folder) / _part_name()
    with _about(Path(folder)), _gone_if_left(part):
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            found = os.fstatvfs(descriptor)  # neither the system nor the file system can
            if found.f_bavail * found.f_frsize < size_bytes:
                raise _error(errno.ENOSPC, Path(folder)) from error
        finally:
            os.close(descriptor)
        part.unlink()


def sync(path: Path) -> None:
    """A file, or a folder with all it holds, outlives a power cut from now on; what is gone is left out."""
    with contextlib.suppress(FileNotFoundError):
        for one in (path, *path.rglob("*")) if path.is_dir() else (path,):
            _sync_folder(one) if one.is_dir() else _sync(one)
    _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _PART.fullmatch(entry.name)
            if found and _is_left(found["machine"], int(found["process"]), entry):
                _remove(Path(entry.path))


@functools.lru_cache(maxsize=4096)
def _sweep_once(folder: str) -> None:
    """Files come by the thousand: their folder is looked through once a process."""
    sweep(Path(folder))


def _is_left(machine: str, process: int, entry: os.DirEntry[str]) -> bool:
    if machine == _machine():
        return not _is_alive(process)
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN_S


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


@functools.cache
def _machine() -> str:
    """Eight digits of what process numbers are unique in: the host, and the container."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{socket.gethostname()} {space}".encode()).hexdigest()[:8]


def _part_name() -> str:
    return f".d2n-{_machine()}-{os.getpid()}-{os.urandom(4).hex()}.part"


def _require_replaceable(path: Path) -> None:
    """A rename would put a file in the place of a pipe or a device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise _error(errno.EISDIR, path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def _plain(path: Path) -> Path:
    """A path that has a name, and is no link: a folder cannot be renamed to ``.`` nor over a link."""
    if path.name in ("", "..") or path.is_symlink():
        return Path(os.path.realpath(path))
    return path


@contextlib.contextmanager
def _about(path: Path) -> Iterator[None]:
    """An OSError of the block names ``path``, unless it names another file itself."""
    try:
        yield
    except OSError as error:
        named = error.filename2 or error.filename
        if error.errno is None or (named is not None and not _names_a_part(os.fsdecode(named))):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _names_a_part(name: str) -> bool:
    return any(_PART.fullmatch(piece) for piece in Path(name).parts)


@contextlib.contextmanager
def _gone_if_left(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        _remove(part)
        raise


def _remove(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        part.unlink()


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _sync_folder(folder: Path) -> None:
    """The renames in it; not every file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
