"""Verbs whose results find no room: one line that names the disk, nothing half; the same command goes on with room.

Each writes once on a wide disk to see how much it needs, then on disks that hold a tenth, half and nine tenths of that.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from d2n.datasets import toycity
from tests.faults import tiny
from tests.faults.commands import assert_told, d2n
from tests.faults.disks import disk, grow, unwhole

MODEL = "d2n-toycity@champion"
VERBS: dict[str, tuple[str, ...]] = {
    "pull": ("pull", MODEL, "small/out"),
    "export-onnx": ("export", MODEL, "small/out.onnx", "--format", "onnx"),
    "export-torchscript": ("export", MODEL, "small/out.ts", "--format", "torchscript"),
    "export-safetensors": ("export", MODEL, "small/out", "--format", "safetensors"),
    "export-reference": ("export", MODEL, "small/out.pth", "--format", "reference"),
    "export-hub": ("export", MODEL, "small/out", "--format", "hub"),
    "report": ("report", "--out", "small/out"),
    "report-latex": ("report", "--out", "small/out", "--latex", "--contact-sheet"),
    "translate": ("translate", MODEL, "data/toycity/test/day", "small/out"),
    "translate-one": ("translate", MODEL, "DAY", "small/night.png"),
    "init": ("init", "small/out"),
    "data-make": ("data", "make", "toycity", "--root", "small/out", "--scale", "0.02", "--workers", "1"),
    "store-copy": ("store", "copy", "mlruns", "small/out"),
}
PROMOTE = ("promote", "toycity", "--no-retrain", "--set", "refuse_alarms=[]")
TEMPORARY = ("pull", "export-onnx", "translate", "report")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy city and its champion, of a training of two steps."""
    folder = tmp_path_factory.mktemp("project")
    toycity.make(folder / "data" / "toycity", seed=0, scale=0.02, workers=1)
    experiment = tiny.experiment("small", n_epochs=1, batch_size=2)
    experiment["translator"] |= {"late_input": False, "upsampling": "transposed"}  # as the public code has it
    (folder / "small.yaml").write_text(yaml.safe_dump(experiment))
    for command in (("train", "small.yaml"), PROMOTE):
        done = d2n(folder, *command)
        assert done.code == 0, done.said[-2000:]
    return folder


def needed(project: Path, command: tuple[str, ...]) -> int:
    """Kilobytes that a command takes on a disk that is wide enough."""
    with disk(project / "small", 200_000) as at:
        done = d2n(project, *command)
        assert done.code == 0, done.said[-2000:]
        found = os.statvfs(at)
        return (found.f_blocks - found.f_bavail) * found.f_frsize // 1024


def with_day(project: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    day = sorted((project / "data/toycity/test/day").rglob("*.png"))[0]
    return tuple(str(day) if word == "DAY" else word for word in command)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_whose_result_finds_no_room(project: Path, verb: str) -> None:
    command = with_day(project, VERBS[verb])
    whole = needed(project, command)
    for kilobytes in sorted({max(4, int(whole * share) // 4 * 4) for share in (0.1, 0.5, 0.9)} - {whole}):
        with disk(project / "small", kilobytes) as at:
            done = d2n(project, *command)
            assert_told(done, at)
            assert unwhole(at) == []
            grow(at)
            done = d2n(project, *command)
            assert done.code == 0, done.said[-2000:]


@pytest.mark.parametrize("verb", TEMPORARY)
def test_a_verb_whose_temporary_files_find_no_room(
    project: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, out = with_day(project, VERBS[verb]), project / "small"
    with disk(project / "temporary", 8) as at:
        monkeypatch.setenv("TMPDIR", str(at))
        monkeypatch.setattr("tempfile.tempdir", str(at))
        done = d2n(project, *command)
        if done.code:  # some need no temporary file of that size
            assert_told(done, at)
        assert [path for path in at.rglob("*") if path.is_file()] == []
        grow(at)
        shutil.rmtree(out, ignore_errors=True)
        done = d2n(project, *command)
        assert done.code == 0, done.said[-2000:]
    shutil.rmtree(out, ignore_errors=True)
