"""Sheets are taken apart as they were put together."""

from __future__ import annotations

import numpy as np
import pytest

from d2n.errors import D2NError
from d2n.workflows.recording import sample_sheet
from d2n.workflows.report.sheets import encode, take_apart


def row(count: int, first: int, side: int = 4) -> np.ndarray:
    values = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, side, side, 3)).copy()


@pytest.mark.parametrize(("count", "rows"), [(1, 2), (3, 2), (8, 2), (23, 2), (5, 1), (8, 3)])
def test_every_picture_comes_back_in_its_place(count: int, rows: int) -> None:
    sheet = sample_sheet(*(row(count, 1 + 40 * number) for number in range(rows)))
    found = take_apart(encode(sheet), 4, num_rows=rows)
    assert [[int(tile[0, 0, 0]) for tile in one] for one in found.rows] == [
        [1 + 40 * number + i for i in range(count)] for number in range(rows)
    ]


@pytest.mark.parametrize(("content", "side"), [(b"none", 4), (encode(sample_sheet(row(2, 1))), 5), (b"", 0)])
def test_what_is_no_sheet_is_refused(content: bytes, side: int) -> None:
    with pytest.raises(D2NError):
        take_apart(content, side, num_rows=2)
