"""A folder whose files lie at a URL: each is fetched when it is first read; the longest unused ones make room.

What is fetched lies below ``.d2n-mirror`` in the folder, so that nothing else in it is ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from d2n.errors import ConfigError, DataError
from d2n.files.reading import files_below
from d2n.files.writing import write_bytes, write_text

FETCHED = ".d2n-mirror"
_MARK = f"{FETCHED}.json"
_WAITS_S = (0.5, 2.0, 8.0)  # between tries
_SCAN_SHARE = 0.05  # of the bound is written before the folder is measured again
_written: dict[str, int] = {}  # bytes of this process since it measured, by folder


@dataclass(frozen=True)
class Mirror:
    """A folder, where its files lie, and how much of them is kept here."""

    folder: Path
    url: str
    max_bytes: int


def make(url: str, folder: Path, max_bytes: int) -> Mirror:
    """Mark the folder as a mirror of the URL. ConfigError for a URL with a password, or that nothing here can read."""
    parts = urlsplit(url)
    if not parts.scheme or "://" not in url:
        raise ConfigError(f"{url}: no URL, expected one such as s3://BUCKET/PHOTOS; a folder needs no mirror")
    if parts.password is not None:
        raise ConfigError(
            f"{parts.scheme}://…: a password does not belong in a URL; put it in the environment"
        )
    before = _read(folder)
    if before is not None and before.url != url:
        raise ConfigError(f"{folder}: mirrors {before.url}; name another folder for {url}")
    made = Mirror(folder, url, max_bytes)
    _opened(made)
    write_text(folder / _MARK, json.dumps({"url": url, "max_bytes": max_bytes}))
    return made


def tables(mirror: Mirror, suffixes: tuple[str, ...], at_most: int) -> dict[str, bytes]:
    """The small files at the top of the URL by name: indexes and ground truths. DataError where it cannot be listed."""
    system, root = _opened(mirror)
    try:
        listed = [one for one in system.ls(root, detail=True) if one["type"] == "file"]
        names = {one["name"].rstrip("/").rpartition("/")[2]: one for one in listed}
        return {
            name: system.cat_file(one["name"])
            for name, one in sorted(names.items())
            if name.endswith(suffixes) and int(one.get("size") or 0) <= at_most
        }
    except Exception as error:  # each file system has errors of its own
        raise DataError(f"{mirror.url}: cannot be listed ({_said(error)})") from error


def content(path: Path) -> bytes | None:
    """The bytes of a file below a mirror that is not there itself; None outside of mirrors and where the URL lacks it.

    OSError where it cannot be fetched.
    """
    mirror = of(path)
    if mirror is None:
        return None
    relative = path.absolute().relative_to(mirror.folder.absolute())
    if FETCHED in relative.parts or ".." in relative.parts:
        return None
    kept = mirror.folder / FETCHED / relative
    with contextlib.suppress(FileNotFoundError):
        found = kept.read_bytes()
        with contextlib.suppress(OSError):
            os.utime(kept)  # used now
        return found
    fetched = _fetched(mirror, relative.as_posix())
    if fetched is not None and len(fetched) <= mirror.max_bytes:
        with contextlib.suppress(OSError):  # a full or read-only disk keeps nothing
            write_bytes(kept, fetched)
            _make_room(mirror, len(fetched))
    return fetched


def is_there(path: Path) -> bool:
    """Whether a file is here, or lies below a mirror, which may have it."""
    return path.is_file() or of(path) is not None


def of(path: Path) -> Mirror | None:
    """The mirror that a path lies below."""
    return next((found for folder in path.absolute().parents if (found := _read(folder)) is not None), None)


def _read(folder: Path) -> Mirror | None:
    try:
        said = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        return Mirror(folder, str(said["url"]), int(said["max_bytes"]))
    except OSError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / _MARK}: is damaged; `d2n data mirror URL {folder}` writes it again"
        ) from error


def _opened(mirror: Mirror) -> tuple[Any, str]:
    """The file system of the URL and the place in it."""
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(mirror.url)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{mirror.url}: cannot be opened here ({_said(error)})") from error
    return system, str(root).rstrip("/")


def _fetched(mirror: Mirror, relative: str) -> bytes | None:
    system, root = _opened(mirror)
    for wait_s in (*_WAITS_S, None):
        try:
            found: bytes = system.cat_file(f"{root}/{relative}")
            return found
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system has errors of its own
            if wait_s is None:
                raise OSError(errno.EIO, f"{mirror.url}/{relative}: {_said(error)}") from error
            time.sleep(wait_s)
    return None


def _make_room(mirror: Mirror, written: int) -> None:
    """The longest unused files go until a tenth of the bound is free; measured once in a while, by each process."""
    key = str(mirror.folder.absolute())
    since = _written.get(key, mirror.max_bytes) + written  # at first: measure
    _written[key] = since
    if since < _SCAN_SHARE * mirror.max_bytes:
        return
    _written[key] = 0
    entries = sorted(_entries(mirror.folder / FETCHED))
    excess = sum(size for _, size, _ in entries) - mirror.max_bytes
    if excess <= 0:
        return
    excess += mirror.max_bytes // 10
    for _, size, path in entries[:-1]:  # the newest was fetched just now
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _entries(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path, found in files_below(folder):  # another process may be making room
        yield found.st_mtime, found.st_size, path


def _said(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:300]
