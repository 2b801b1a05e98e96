"""``d2n init``."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n import shipped
from d2n.workflows.check import check
from d2n.workflows.init import init


def test_every_yaml_is_copied_and_an_edited_one_stays(tmp_path: Path) -> None:
    lines = init(tmp_path / "mine")
    assert lines[0].endswith("16 files written") or "files written" in lines[0]
    for kind in shipped.KINDS:
        assert sorted(p.stem for p in (tmp_path / "mine" / kind).iterdir()) == shipped.names(kind)
    edited = tmp_path / "mine/experiments/folders.yaml"
    edited.write_text("name: edited\npreset: toy\n")
    (tmp_path / "mine/optuna_studies/pix2pix_toycity.yaml").unlink()
    again = init(tmp_path / "mine")
    assert edited.read_text() == "name: edited\npreset: toy\n"
    assert "0 files written" in again[0]
    assert "1 files written" in again[1]


def test_the_copies_are_right_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert len(check()) == sum(len(shipped.names(kind)) for kind in shipped.KINDS)


def test_a_target_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        init(tmp_path / "file")
