from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2n.workflows import doctor


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with contextlib.chdir(tmp_path):
        yield


def test_this_installation_fits_together() -> None:
    assert doctor.installation() == []


@pytest.mark.parametrize(
    ("torch_version", "torchvision_version", "fits"),
    [
        ("2.11.0", "0.26.0", True),
        ("2.14.1+cpu", "0.29.1+cpu", True),
        ("2.14.1", "0.28.0", False),
        ("2.13.0", "0.29.1", False),
    ],
)
def test_releases_of_torch_and_torchvision_that_do_not_belong_together_are_told(
    torch_version: str, torchvision_version: str, fits: bool
) -> None:
    found = doctor.mismatch(torch_version, torchvision_version)
    assert (found == []) is fits
    if not fits:
        assert torch_version in found[0]
        assert "pip install torch torchvision" in found[0]


def test_a_folder_without_stores_is_well() -> None:
    lines, is_well = doctor.doctor(mend=False, tracking_uri=None, study_storage=None)
    assert (lines, is_well) == (["all is well"], True)


def test_a_store_with_studies_is_looked_at_by_a_fresh_process() -> None:
    code = """
import optuna
from d2n.studies.storage import open_optuna, storage_url
url = storage_url(None)
optuna.create_study(storage=open_optuna(url), study_name="s")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    looked = (
        "from d2n.workflows import doctor; doctor.installation = list;"
        "print(*doctor.doctor(mend=False, tracking_uri=None, study_storage=None)[0])"
    )
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the tracking store" in done.stdout
    assert not Path("mlruns/mlflow.db").exists()  # looking makes nothing


@pytest.mark.parametrize("name", ["mlflow.db", "optuna.db"])
@pytest.mark.parametrize(
    "content", [b"", b"no database" * 99, b"SQLite format 3\0" + b"\xff" * 5000, None, "pipe"]
)
def test_a_damaged_file_is_a_line_not_a_trace(name: str, content: bytes | str | None) -> None:
    file = Path("mlruns", name)
    file.parent.mkdir()
    if content is None:
        file.mkdir()
    elif content == "pipe":
        os.mkfifo(file)
    else:
        file.write_bytes(content)  # type: ignore[arg-type]
    for mend in (False, True):
        lines, is_well = doctor.doctor(mend=mend, tracking_uri=None, study_storage=None)
        assert is_well is (content == b"")
        assert all("\n" not in line for line in lines)
    if content != b"":
        assert any(name in line for line in lines)
        assert file.exists()
