"""``d2n check``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from d2n.errors import ConfigError
from d2n.workflows.check import check, yaml_files

ROOT = Path(__file__).parents[2]
STUDY = "name: s\nexperiment: e.yaml\nspace:\n  translator.dropout: {type: bool}\n"


def test_every_file_that_is_shipped_is_right() -> None:
    files = yaml_files([ROOT / "experiments", ROOT / "optuna_studies"])
    studies = {file.stem for file in files if file.parent.name == "optuna_studies"}
    paired, unpaired = ("transattr", "toycity", "amos"), ("aachen", "robotcar", "rsfm")
    assert studies >= {f"cyclegan_{name}" for name in (*paired, *unpaired)} | {"cut_toycity"}
    assert {name for name in studies if name.startswith("pix2pix")} == {f"pix2pix_{name}" for name in paired}
    assert len(check(files)) == len(files)


def test_check_imports_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from d2n.workflows.check import check; "
        f"check([Path({str(ROOT / 'optuna_studies')!r})]); sys.exit('torch' in sys.modules or 'mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_all_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("translator: {lr: 20}\n")
    (tmp_path / "s.yaml").write_text(STUDY)
    (tmp_path / "t.yaml").write_text("name: [\n")
    with pytest.raises(ConfigError) as caught:
        check([tmp_path])
    assert "3 of 3 files are wrong" in str(caught.value)
    assert "translator.lr is 20" in str(caught.value)
    assert "t.yaml: line 2" in str(caught.value)


def test_two_files_of_one_study_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("preset: toy\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(STUDY)
    with pytest.raises(ConfigError, match=r"a.yaml, .*b.yaml: all name their study s"):
        check([tmp_path])


def test_nothing_to_check_says_where_it_looks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no YAML to check"):
        check([tmp_path])
