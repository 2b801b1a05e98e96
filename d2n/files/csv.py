"""The one reader of CSV: a header, rows of as many values, bounded sizes, errors of one line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from d2n.errors import D2NError, DataError
from d2n.files.reading import one_line, read_text, reason

MAX_BYTES = 256 * 2**20
MAX_COLUMNS = 1000


def read_table(
    path: str | Path, needed: Sequence[str], error: type[D2NError] = DataError
) -> list[dict[str, str]]:
    """The rows of a CSV by the names of its header; ``error`` names a column or a row that is not right."""
    text = read_text(path, error, at_most=MAX_BYTES)
    rows = parse_rows(text, str(path), error)
    columns = next(rows, [])
    if len(columns) > MAX_COLUMNS:
        raise error(f"{path}: {len(columns)} columns, at most {MAX_COLUMNS} are read")
    for column in needed:
        if columns.count(column) != 1:
            found = f"{columns.count(column)} columns" if column in columns else "no column"
            raise error(f"{path}: {found} {column!r}, found {one_line(', '.join(columns) or 'none', 200)}")
    table = []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise error(f"{path}: row {number} does not have the {len(columns)} values of the header")
        table.append(dict(zip(columns, row, strict=True)))
    return table


def parse_rows(text: str, source: str, error: type[D2NError] = DataError) -> Iterator[list[str]]:
    """The rows of a CSV text, empty lines left out; ``source`` begins the error."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from (row for row in reader if row)
    except csv.Error as problem:
        raise error(
            f"{source}: cannot be read as CSV (line {reader.line_num}: {reason(problem)})"
        ) from problem
