from __future__ import annotations

import contextlib
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
