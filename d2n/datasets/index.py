"""The index of a data set: which images, of which domain, scene and split, and which of them are pairs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from d2n.core import DatasetInfo
from d2n.errors import DataError
from d2n.files import mirror
from d2n.files.csv import parse_rows
from d2n.files.fields import check_fields
from d2n.files.json import parse_json
from d2n.files.nesting import integers
from d2n.files.reading import brief, read_bytes, reason
from d2n.files.refusals import why
from d2n.files.writing import write_bytes

SPLITS = ("train", "val", "test", "retrieval", "")
DOMAINS = ("day", "night", "")
_COLUMNS = ("path", "domain", "scene", "split", "width", "height", "sha256")
_CONDITION = "condition"  # a further column, where a set has conditions besides day and night
_FORMAT = 1
_MAX_BYTES = 2**30


@dataclass(frozen=True)
class ImageRow:
    """One image of an index."""

    path: str  # relative to the index's root, with / between folders
    domain: str  # day, night or "" (of neither, as twilight)
    scene: str  # webcam, location, cluster; "" where unknown
    split: str  # train, val, test, retrieval or ""
    width: int  # px, EXIF orientation applied
    height: int
    sha256: str  # of the file's bytes, hex
    condition: str = ""  # finer than the domain, or of neither day nor night: dusk, rain, sunset

    @property
    def labels(self) -> tuple[str, ...]:
        """What the image may be asked for by: its domain, its condition."""
        return tuple(dict.fromkeys(label for label in (self.domain, self.condition) if label))


@dataclass(frozen=True)
class Index:
    """The images of a data set under one rule; an immutable value.

    ``rows`` and ``pairs`` keep the order they were found in; the digest does not depend on it, nor on conditions.
    """

    name: str
    root: Path
    rule: Mapping[str, Any]
    rows: tuple[ImageRow, ...]
    pairs: tuple[tuple[int, int], ...] = ()  # (day row, night row)
    kind: str = ""  # the format it was read as, a key of SETS; "": the name
    facts: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({})
    )  # counts of the walk: skipped, …
    domains: tuple[str, ...] = (
        "day",
        "night",
    )  # translated from the first to the second; see directions.directed

    @property
    def source(self) -> str:
        """The domain that is translated."""
        return self.domains[0]

    @property
    def target(self) -> str:
        """The domain that it is translated to."""
        return self.domains[1]

    @cached_property
    def digest(self) -> str:
        """sha256 over the sorted rows and pairs: the same whatever the order, the machine and the folder."""
        lines = [json.dumps(_content(row), ensure_ascii=True) for row in self.rows]
        paths = [lines[day] + lines[night] for day, night in self.pairs]
        return hashlib.sha256("\n".join([*sorted(lines), "pairs", *sorted(paths)]).encode()).hexdigest()

    def info(self) -> DatasetInfo:
        """Name, digest, rule and counts, as a tracked run logs them."""
        other = {} if self.domains == ("day", "night") else {"domains": self.domains}
        rule = json.dumps({"set": self.kind or self.name, **self.rule, **other}, sort_keys=True, default=list)
        return DatasetInfo(self.name, self.digest, str(self.root), rule, self.counts())

    def counts(self) -> dict[str, int]:
        """Images by ``split/domain`` and pairs by ``split/pairs``, sorted by name, and the walk's facts."""
        found = Counter(
            "/".join(part for part in (row.split, row.domain) if part) or "unused" for row in self.rows
        )
        found.update(f"{split}/pairs" for split in map(self._pair_split, self.pairs) if split)
        return dict(sorted(found.items())) | dict(self.facts)

    def select(self, domain: str | None = None, split: str | None = None) -> list[ImageRow]:
        """The rows of a domain, of a split, of both; None takes all."""
        return [row for row in self.rows if domain in (None, row.domain) and split in (None, row.split)]

    def select_pairs(self, split: str | None = None) -> list[tuple[ImageRow, ImageRow]]:
        """(day, night) pairs of which both sides are in the split; None takes all."""
        wanted = (
            self.pairs if split is None else (pair for pair in self.pairs if self._pair_split(pair) == split)
        )
        return [(self.rows[day], self.rows[night]) for day, night in wanted]

    def path(self, row: ImageRow) -> Path:
        """The absolute path of a row; DataError where it would lie outside the root."""
        return inside(self._real_root, row.path)

    @cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    def _pair_split(self, pair: tuple[int, int]) -> str:
        day, night = (self.rows[side].split for side in pair)
        return day if day == night else ""


def inside(real_root: str, relative: str) -> Path:
    """``real_root/relative``, links followed; DataError where that is not below ``real_root``, a real path."""
    if "\0" in relative or relative.startswith("/") or ".." in PurePosixPath(relative).parts:
        raise DataError(f"{relative!r}: leaves the data set's folder {real_root}; expected a path below it")
    real = os.path.realpath(os.path.join(real_root, relative))  # noqa: PTH118 - on the path of every image load
    if not real.startswith(real_root.rstrip(os.sep) + os.sep):
        raise DataError(
            f"{relative!r}: a link out of the data set's folder {real_root}; put the image itself there"
        )
    return Path(real)


def index_path(folder: str | Path, name: str) -> Path:
    """Where the index of data set ``name`` lies in ``folder``."""
    return Path(folder) / f"d2n-index-{name}.csv"


def save_index(index: Index, folder: str | Path) -> Path:
    """Write the index into ``folder`` as CSV under a line of JSON; whole or not at all. Returns the file.

    An index written into the root itself names the root as ".", so that the folder can be moved.
    """
    folder = Path(folder)
    beside = os.path.realpath(folder) == os.path.realpath(index.root)
    header = {
        "d2n_index": _FORMAT,
        "name": index.name,
        "set": index.kind or index.name,
        "root": "." if beside else os.path.realpath(index.root),
        "rule": dict(index.rule),
        "facts": dict(index.facts),
        "digest": index.digest,
        "pairs": index.pairs,
    }
    text = io.StringIO()
    text.write("#" + json.dumps(header, ensure_ascii=True) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    columns = (*_COLUMNS, _CONDITION) if any(row.condition for row in index.rows) else _COLUMNS
    writer.writerow(columns)
    writer.writerows([getattr(row, column) for column in columns] for row in index.rows)
    path = index_path(folder, index.name)
    try:
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise DataError(
            f"{path}: the index cannot be written ({why(error, path)}); give a folder with --out"
        ) from error
    return path


def load_index(path: str | Path, root: str | Path | None = None) -> Index:
    """Read an index; ``root`` overrides the folder it was made for, where the data was moved.

    Raises DataError for a file that is absent, cut short or edited, and for a root that is another folder.
    """
    path = Path(path)
    absent = "no index to read (No such file or directory); make it with `d2n data prepare`"
    content = read_bytes(path, DataError, at_most=_MAX_BYTES, absent=absent)
    first, _, body = content.decode("utf-8", "surrogateescape").partition("\n")
    header = parse_json(first.removeprefix("#"), f"{path}: not a whole index, its first line")
    try:
        if header["d2n_index"] != _FORMAT:
            raise DataError(
                f"{path}: index format {brief(header['d2n_index'])}, expected {_FORMAT}; prepare it again"
            )
        check_fields(_Header, header, f"{path}: not a whole index", DataError)
        made_for = path.parent if header["root"] == "." else Path(header["root"])
        rows = tuple(_rows(body, path))
        index = Index(
            name=header["name"],
            root=Path(root) if root is not None else made_for,
            rule=header["rule"],
            rows=rows,
            pairs=tuple(_pair(pair, len(rows)) for pair in header["pairs"]),
            kind=header["set"],
            facts=header["facts"],
        )
        digest, written = index.digest, header["digest"]
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{path}: not a whole index ({reason(error)}); make it again with `d2n data prepare`"
        ) from error
    if digest != written:
        raise DataError(
            f"{path}: the rows do not have the digest {written[:12]} of the header; prepare it again"
        )
    if root is not None and os.path.realpath(root) != os.path.realpath(made_for):
        _check_moved(index, path, made_for)
    return index


@dataclass(frozen=True)
class _Header:
    """What the first line of an index says, and of which kind it is."""

    d2n_index: int
    name: Annotated[str, MinLen(1), MaxLen(200)]
    set: str
    root: Annotated[str, MinLen(1)]
    rule: Mapping[str, str | int | float | bool | list[Any] | None]
    facts: Mapping[str, int]
    digest: Annotated[str, MinLen(64), MaxLen(64)]
    pairs: list[Any]


def _rows(body: str, path: Path) -> list[ImageRow]:
    rows = parse_rows(body, str(path))
    columns = next(rows, None)
    if columns not in (list(_COLUMNS), [*_COLUMNS, _CONDITION]):
        raise ValueError(f"columns {brief(columns)}, expected {list(_COLUMNS)}")
    return [_row(row) for row in rows]


def _row(values: list[str]) -> ImageRow:
    path, domain, scene, split, width, height, sha256, *more = values
    if not path or "\0" in path or domain not in DOMAINS or split not in SPLITS or len(more) > 1:
        raise ValueError(f"the row {brief(values, 120)}")
    return ImageRow(path, domain, scene, split, int(width), int(height), sha256, *more)


def _pair(pair: Any, num_rows: int) -> tuple[int, int]:
    day, night = integers(pair)
    if not (0 <= day < num_rows and 0 <= night < num_rows):
        raise ValueError(f"the pair {day}, {night} of {num_rows} rows")
    return day, night


def _check_moved(index: Index, path: Path, made_for: Path) -> None:
    absent = [row.path for row in index.rows if not mirror.is_there(index.root / row.path)]
    if absent:
        raise DataError(
            f"{path}: made for {made_for}; {len(absent)} of its {len(index.rows)} images are not in "
            f"{index.root}, first {absent[0]!r}; prepare that folder, or give the one it was made for"
        )


def _content(row: ImageRow) -> list[str | int]:
    """What the digest covers of a row; names in NFC, as file systems differ in how they keep accents."""
    return [unicodedata.normalize("NFC", v) if isinstance(v, str) else v for v in _values(row)]


def _values(row: ImageRow) -> list[str | int]:
    return [row.path, row.domain, row.scene, row.split, row.width, row.height, row.sha256]
