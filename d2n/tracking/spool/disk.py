"""Writes that wait on disk: numbered files in a folder beside the run, each whole or absent, sent in this order.

``00000001.json`` is one write, ``00000001.files/`` the files that go with it, ``server.json`` says which run of which
server it is for, ``refused/`` keeps what the server will never take, with its reason.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from d2n import databases
from d2n.errors import TrackingError
from d2n.files.reading import files_below
from d2n.files.writing import folder_aside, make_folder, sync, write_text
from d2n.tracking import liveness
from d2n.tracking.spool import writes
from d2n.tracking.spool.writes import Write

FOLDER = ".spool"
REFUSED = "refused"
_SERVER = "server.json"
_NAME = re.compile(r"(\d{8})\.json")
_BLOCK_BYTES = 4096  # what a file takes at least


@dataclass(frozen=True)
class Owner:
    """Whose writes these are."""

    run_id: str
    store: str  # its URI without user and password
    attempt: int = 1


class Spool:
    """The writes of one run that wait; ``size_bytes`` is what they take on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = _numbers(folder)
        self._sizes = {number: self._size(number) for number in self._numbers}
        self._next = 1 + max([*self._numbers, *_numbers(folder / REFUSED)], default=0)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def size_bytes(self) -> int:
        """Of all that waits."""
        return sum(self._sizes.values())

    @property
    def numbers(self) -> list[int]:
        """Of the writes that wait, in order."""
        return list(self._numbers)

    def add(self, write: Write, owner: Owner) -> int:
        """Keep a write, so that it outlives a kill; its number. After ``sync`` it outlives a power cut too.

        OSError where the disk refuses.
        """
        if not (self.folder / _SERVER).exists():
            known = {"run": owner.run_id, "store": owner.store, "attempt": owner.attempt}
            write_text(self.folder / _SERVER, json.dumps(known))
        number = self._next
        if write.files:
            with folder_aside(self._files(number)) as part:
                writes.put_in(part, write)
        text = json.dumps({"kind": write.kind, "data": write.data}, ensure_ascii=False)
        write_text(self._path(number), text)
        self._next = number + 1
        self._numbers.append(number)
        self._sizes[number] = self._size(number)
        return number

    def read(self, number: int) -> Write:
        """One of them; TrackingError where its file is damaged or missing."""
        path = self._path(number)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            kind, data = found["kind"], found["data"]
            if kind not in get_args(writes.Kind) or not isinstance(data, dict):
                raise ValueError(f"kind {kind!r}")
            above = self._files(number)
            given = {one.name: one for one in sorted(above.iterdir())} if above.is_dir() else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise TrackingError(
                f"{path} cannot be read ({error}), expected what d2n keeps for a server; bring it back from a copy, "
                "or remove it: what it held is lost then"
            ) from error
        return Write(kind, data, given)

    def sync(self, numbers: Iterable[int]) -> None:
        """These outlive a power cut from now on."""
        for number in numbers:
            sync(self._files(number))
            sync(self._path(number))
        sync(self.folder / _SERVER)

    def drop(self, number: int) -> None:
        """It was sent."""
        self.remove_files(number)
        self._forget(number)

    def remove_files(self, number: int) -> None:
        """The slow part of ``drop``."""
        self._path(number).unlink(missing_ok=True)
        if self._files(number).is_dir():
            shutil.rmtree(self._files(number), ignore_errors=True)

    def refuse(self, number: int, reason: str) -> Path:
        """Put it aside with the reason; where it lies now."""
        aside = make_folder(self.folder / REFUSED)
        write_text(aside / f"{number:08d}.reason", f"{reason}\n")
        for path in (self._files(number), self._path(number)):
            if path.exists():
                path.replace(aside / path.name)
        self._forget(number)
        return aside

    def clear(self) -> None:
        """Remove the folder, if nothing waits and nothing was refused."""
        if self._numbers or (self.folder / REFUSED).exists():
            return
        (self.folder / _SERVER).unlink(missing_ok=True)
        (self.folder / liveness.LOCK).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _forget(self, number: int) -> None:
        if number in self._sizes:
            self._numbers.remove(number)
            del self._sizes[number]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"

    def _files(self, number: int) -> Path:
        return self.folder / f"{number:08d}.files"

    def _size(self, number: int) -> int:
        sizes = [found.st_size for _, found in files_below(self._files(number))]
        with contextlib.suppress(OSError):  # sent meanwhile
            sizes.append(self._path(number).lstat().st_size)
        return sum(max(_BLOCK_BYTES, size) for size in sizes)


def size_of(write: Write) -> int:
    """About what a write will take on disk."""
    given = len(json.dumps(write.data)) if write.data else 0
    for content in write.files.values():
        each = [content] if isinstance(content, bytes) or content.is_file() else list(content.rglob("*"))
        for one in each:
            given += max(_BLOCK_BYTES, len(one) if isinstance(one, bytes) else one.lstat().st_size)
    return max(_BLOCK_BYTES, given)


def owner(folder: Path) -> Owner | None:
    """Whose a spool's folder is; None where that cannot be read."""
    try:
        found: dict[str, Any] = json.loads((folder / _SERVER).read_text(encoding="utf-8"))
        return Owner(str(found["run"]), str(found["store"]), int(found["attempt"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def address(uri: str) -> str:
    """A store's URI without user and password: what a spool says of its server."""
    return databases.without_login(uri)


def waiting(work_root: Path) -> Iterator[Path]:
    """The folders of spools below a work folder in which something waits."""
    if work_root.is_dir():
        for above in sorted(work_root.iterdir()):
            if not above.is_symlink() and holds(above):
                yield above / FOLDER


def holds(run_folder: Path) -> bool:
    """Whether something of a run waits for its server."""
    return bool(_numbers(run_folder / FOLDER))


def _numbers(folder: Path) -> list[int]:
    try:
        named = [_NAME.fullmatch(entry.name) for entry in folder.iterdir()]
    except OSError:
        return []
    return sorted(int(found[1]) for found in named if found)
