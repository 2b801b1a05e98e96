"""What a folder of nights remembers: which model made each of them, of which photograph.

One JSON object a line, only ever appended to while images are made: a kill loses half a line at most. A night's line is
written before the night itself, so that no night is there which nobody made.

    {"name", "source": sha256, "night": sha256, "model": sha256, "origin", "shorter_side_px"}   made, or about to be
    {"name", "redo": true}                                       there before, and may be written over
    {"name", "forget": true}                                     no longer spoken for
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from d2n.errors import DataError
from d2n.files.reading import file_sha256

FILE = ".d2n-translation.jsonl"
State = Literal["absent", "done", "ours", "other model", "foreign"]


@dataclass(frozen=True)
class Maker:
    """A model and how photographs went into it; ``origin`` is for people."""

    model: str
    shorter_side_px: int | None = None
    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        size = f", shorter side {self.shorter_side_px} px" if self.shorter_side_px else ""
        return f"{self.origin} (sha256 {self.model[:12]}{size})"


@dataclass(frozen=True)
class _Made:
    maker: Maker
    source: str
    night: str


class Record:
    """The memory of one folder of nights."""

    def __init__(self, folder: Path, anew: bool = False) -> None:
        """Read what is there; DataError where it is damaged, unless it is to be begun ``anew``."""
        self.folder, self.path = folder, folder / FILE
        self._made: dict[str, list[_Made]] = {}
        self._redo: set[str] = set()
        self._half_at: int | None = None  # where a line of a killed run begins that does not end
        try:
            self._read()
        except DataError:
            if not anew:
                raise
            self._made, self._redo = {}, set()
            self.path.unlink()

    def state(self, name: str, maker: Maker, source: str) -> State:
        """Of a night: whether it is there, and made by this maker of this photograph."""
        path = self.folder / name
        if not path.exists():
            return "absent"
        if not path.is_file():
            return "foreign"
        night = file_sha256(path)
        made = [m for m in self._made.get(name, ()) if m.night == night]
        if any(m.maker == maker and m.source == source for m in made):
            return "done"
        if name in self._redo or any(m.maker == maker for m in made):
            return "ours"
        return "other model" if made else "foreign"

    def other_maker(self, maker: Maker, names: set[str] | None = None) -> Maker | None:
        """Who else made a night that is there, among ``names`` or all."""
        for name in self._made if names is None else names & self._made.keys():
            last = self._made[name][-1].maker
            if last != maker and name not in self._redo and (self.folder / name).exists():
                return last
        return None

    def write_over(self, names: list[str], maker: Maker, forget_others: bool) -> int:
        """Let these nights be made anew; how many of other makers stay, of which nothing is remembered then."""
        for name in names:
            self._redo.add(name)
            self._made.pop(name, None)
            self._append({"name": name, "redo": True})
        others = [name for name, made in self._made.items() if forget_others and made[-1].maker != maker]
        for name in others:
            del self._made[name]
            self._append({"name": name, "forget": True})
        return sum((self.folder / name).exists() for name in others)

    def add(self, name: str, maker: Maker, source: str, night: str) -> None:
        """To be called before the night is written."""
        self._made.setdefault(name, []).append(_Made(maker, source, night))
        self._append(_line(name, self._made[name][-1]))

    def is_crowded(self) -> bool:
        """Whether it holds marks that, once all is made, would let a file of another hand be written over."""
        return bool(self._redo & self._made.keys())

    def in_short(self) -> bytes:
        """The file as it need be once all is made, a line a night; to be written whole or not at all."""
        self._made, self._redo = {}, set()
        self._read()  # another process may have added to it
        made = [json.dumps(_line(name, all_made[-1])) for name, all_made in sorted(self._made.items())]
        kept = [json.dumps({"name": name, "redo": True}) for name in sorted(self._redo - self._made.keys())]
        return "".join(f"{line}\n" for line in (*made, *kept)).encode()

    def _append(self, line: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._half_at is not None:
            os.truncate(self.path, self._half_at)
            self._half_at = None
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self) -> None:
        for number, line in enumerate(self._lines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{self.path}: line {number} is damaged ({type(error).__name__}), so nobody knows which model made "
                    "what is here; --overwrite makes it anew"
                ) from error

    def _lines(self) -> list[bytes]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        *lines, half = content.split(b"\n")
        self._half_at = len(content) - len(half) if half else None  # its night was not written
        return lines

    def _take(self, line: Any) -> None:
        name = _text(line["name"])
        if "\0" in name:
            raise ValueError(f"name {name!r}")
        if line.get("forget") or line.get("redo"):
            self._made.pop(name, None)
            (self._redo.add if line.get("redo") else self._redo.discard)(name)
            return
        side = line["shorter_side_px"]
        if not (side is None or (isinstance(side, int) and not isinstance(side, bool))):
            raise TypeError(f"shorter_side_px {side!r}")
        maker = Maker(_text(line["model"]), side, _text(line["origin"]))
        self._made.setdefault(name, []).append(_Made(maker, _text(line["source"]), _text(line["night"])))


def _line(name: str, made: _Made) -> dict[str, Any]:
    maker = made.maker
    return {
        "name": name,
        "source": made.source,
        "night": made.night,
        "model": maker.model,
        "origin": maker.origin,
        "shorter_side_px": maker.shorter_side_px,
    }


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
