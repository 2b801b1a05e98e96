"""Pickles: plain values pass, everything else is refused by its name before it is built."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2n.datasets.pickles import load_pickle
from d2n.errors import DataError
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
    values = load_pickle(path)
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
        load_pickle(path)
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
        load_pickle(dump(tmp_path / "a.pkl", [value]))


def test_objects_inside_a_list_that_holds_itself(tmp_path: Path) -> None:
    values: list[Any] = [1]
    values.append(values)
    assert load_pickle(dump(tmp_path / "a.pkl", values))[0] == 1


@pytest.mark.parametrize("content", [b"", b"no pickle at all", pickle.dumps(PLAIN)[:-20]])
def test_damaged_pickles_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.pkl: not a whole pickle"):
        load_pickle(path)


def test_an_absent_pickle_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such pickle"):
        load_pickle(tmp_path / "a.pkl")
