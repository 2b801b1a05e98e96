from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from d2n.files import scratch

_KILLED = """
import os, signal
from d2n.files.scratch import scratch
with scratch("model") as folder:
    (folder / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_scratch_folder_is_gone_after_its_block() -> None:
    with scratch.scratch("model") as folder:
        assert folder.is_dir()
        assert str(os.getpid()) in folder.name
    assert not folder.exists()


def test_only_what_killed_processes_left_is_found_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False
    )
    assert done.returncode == -9
    (dead,) = tmp_path.iterdir()
    mine = tmp_path / f"d2n-model-{scratch.machine()}-{os.getpid()}-abcdefgh"
    others = [
        tmp_path / name for name in ("d2n-notes", "d2n-model-abcdefgh", "d2n-model-12345678-1-abcdefgh")
    ]
    for folder in (mine, *others):
        folder.mkdir()
    assert [left.path for left in scratch.leftovers([tmp_path, tmp_path / "none", tmp_path])] == [dead]
    scratch.remove(dead)
    assert not dead.exists()
    scratch.remove(mine)
    assert mine.exists()


def test_a_folder_that_names_no_process_of_here_is_left_after_a_day(tmp_path: Path) -> None:
    old = [tmp_path / "d2n-download-abcdefgh", tmp_path / "d2n-plot-12345678-1-abcdefgh"]
    for folder in old:
        folder.mkdir()
        os.utime(folder, (time.time() - 2 * 86400,) * 2)
    assert [left.path for left in scratch.leftovers([tmp_path])] == old


def test_a_process_id_that_is_used_again_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / f"d2n-model-{scratch.machine()}-{os.getpid()}-abcdefgh"
    folder.mkdir()
    os.utime(folder, (1e9, 1e9))  # before this process was born
    assert [left.path for left in scratch.leftovers([tmp_path])] == [folder]


def test_a_corrected_clock_makes_no_leftover_of_what_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch.scratch("model") as folder:
        os.utime(folder, (1e9, 1e9))  # as it looks once the clock went ahead
        assert scratch.is_named(folder)
        assert scratch.leftovers([tmp_path]) == []
