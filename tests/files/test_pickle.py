"""Pickles: plain values pass, everything else is refused by its name before it is built."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2n.errors import DataError
from d2n.files.pickle import read_pickle
from tests.datasets.miniatures import dump

PLAIN = {
    "names": ["a", "ž"],
    "pair": (1, 2.5, True, None),
    "ints": np.arange(6).reshape(2, 3),
    "objects": np.array(["x", [1, 2]], dtype=object),
    "scalar": np.float64(0.25),
    "strings": np.array(["left", "right"]),
}


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol=protocol))
    values = read_pickle(path)
    assert values["names"] == PLAIN["names"]
    assert values["pair"] == PLAIN["pair"]
    assert values["scalar"] == 0.25
    assert values["objects"].tolist() == ["x", [1, 2]]
    assert np.array_equal(values["ints"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_by_name_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"train": _Runs(tmp_path / "mark")}, protocol=protocol))
    with pytest.raises(DataError, match=r"a\.pkl: refused, it names (posix|nt)\.mkdir"):
        read_pickle(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (Path("x"), "pathlib"),
        ({1, 2}, "builtins.set"),
        (b"bytes", "builtins.bytes"),
        (1j, "builtins.complex"),
        (np.array([{1}], dtype=object), "builtins.set"),
    ],
)
def test_other_values_are_refused_by_class_name(tmp_path: Path, value: object, name: str) -> None:
    with pytest.raises(DataError, match=name):
        read_pickle(dump(tmp_path / "a.pkl", [value]))


def _nested(levels: int) -> list[Any]:
    """Ten to the ``levels`` values once written out, in some hundred bytes."""
    value: list[Any] = ["x"] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_lists_that_hold_one_another_many_times_are_refused(tmp_path: Path) -> None:
    own: list[Any] = [1]
    own.append(own)
    objects = np.empty(2, dtype=object)
    objects[:] = [_nested(8), 1]
    for value, said in (
        (own, "holds itself"),
        (_nested(9), "more than 20000000 values"),
        (objects, "more than 20000000 values"),
        (_deep(200), "more than 64 deep"),
    ):
        with pytest.raises(DataError, match=said):
            read_pickle(dump(tmp_path / "a.pkl", value))


_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(I0\ntC\x01btR"
_OBJECTS = b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + _ARRAY + b"(I1\n(I300000000\nt" + _OBJECTS + b"I0\n]tb.",
        b"\x80\x02cnumpy\nndarray\n(I300000000\ntR.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(I300000000\ntC\x01btR.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'V900000000'\nI0\nI1\ntRtR.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'S9000000'\nI0\nI1\ntRC\x01xtR.",
        b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00x.",
        b"\x80\x02]r\xff\xff\xff\x7f.",
    ],
)
def test_a_few_bytes_take_no_memory_that_they_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with contextlib.suppress(DataError):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", b"no pickle at all", pickle.dumps(PLAIN)[:-20]])
def test_damaged_pickles_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pkl: not a whole pickle"):
        read_pickle(path)


def test_an_absent_pickle_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such pickle"):
        read_pickle(tmp_path / "a.pkl")
