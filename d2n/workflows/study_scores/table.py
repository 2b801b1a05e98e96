"""The table of the experiment: a line for each generator and retrieval seed, written as soon as it is known."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from d2n.errors import DataError
from d2n.files.csv import read_table
from d2n.files.reading import brief
from d2n.files.writing import write_text

_FIXED = ("generator", "name", "seed", "settings")
MAP = "map/"


@dataclass(frozen=True)
class Row:
    """One retrieval network that one generator's nights trained, and the generator's scores."""

    generator: str  # sixteen hex digits of its weights' sha256
    name: str
    seed: int
    settings: str  # sixteen hex digits of all that rows must share
    values: Mapping[str, float]  # scores by name, and mAP as map/<benchmark>

    @property
    def scores(self) -> dict[str, float]:
        """The generator's scores."""
        return {key: value for key, value in self.values.items() if not key.startswith(MAP)}

    @property
    def maps(self) -> dict[str, float]:
        """mAP by map/<benchmark>."""
        return {key: value for key, value in self.values.items() if key.startswith(MAP)}


def read(path: Path, settings: str | None = None) -> list[Row]:
    """The rows; [] where there is no file. DataError for a table of other settings, or one that is none."""
    if not path.exists():
        return []
    rows = [_row(path, number, line) for number, line in enumerate(read_table(path, _FIXED), start=2)]
    others = sorted({row.settings for row in rows} - ({settings} if settings is not None else set()))
    if settings is not None and others:
        raise DataError(
            f"{path}: its rows were measured with other settings ({others[0]}) than these ({settings}): other knobs, "
            "scores or data; name another --table, or go on with what made it"
        )
    return rows


def write(path: Path, rows: Sequence[Row]) -> None:
    """All rows, whole or not at all."""
    columns = list(dict.fromkeys(key for row in rows for key in row.values))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_FIXED, *columns])
    for row in rows:
        values = [repr(row.values[key]) if key in row.values else "" for key in columns]
        writer.writerow([row.generator, row.name, row.seed, row.settings, *values])
    write_text(path, out.getvalue())


def _row(path: Path, number: int, line: Mapping[str, str]) -> Row:
    try:
        values = {key: float(text) for key, text in line.items() if key not in _FIXED and text != ""}
        seed = int(line["seed"])
    except ValueError as error:
        raise DataError(f"{path}: row {number} holds {brief(str(error))}, expected numbers") from error
    if odd := [key for key, value in values.items() if not math.isfinite(value)]:
        raise DataError(f"{path}: row {number} holds {odd[0]} = {values[odd[0]]}, expected a finite number")
    return Row(line["generator"], line["name"], seed, line["settings"], values)
