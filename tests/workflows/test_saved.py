"""What of a training is on disk counts only whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.translators import checkpoint
from d2n.workflows import saved


def test_a_checkpoint_killed_in_its_writing_counts_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoint"
    assert saved.saved_state(folder) is None
    folder.mkdir()
    assert saved.saved_state(folder) is None
    (folder / ".checkpoint-000001.pt.99").write_bytes(b"half")
    assert saved.saved_state(folder) is None
    (folder / "checkpoint-000001.pt").write_bytes(b"whole, but its json is not there")
    assert saved.saved_state(folder) is None
    assert "from step 0, in the same run" in caplog.text
    checkpoint.save(folder, {"step": 2}, {})
    found = saved.saved_state(folder)
    assert found is not None
    assert found.state == {"step": 2}
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint-000002.json",
        "checkpoint-000002.pt",
    ]
