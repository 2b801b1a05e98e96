"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real photographs, public weights and format miniatures, where the machine has one."""
    folder = os.environ.get("D2N_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("D2N_TEST_DATA names no folder")
    return Path(folder).resolve()
