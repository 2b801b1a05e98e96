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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` a file stays on one worker, and all that walk the road on the same: it is built once."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    walked = {item.path for item in items if "road" in getattr(item, "fixturenames", ())}
    for item in items:
        group = "road" if item.path in walked else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
