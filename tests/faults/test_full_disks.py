"""A disk that is full: one line that names it, what was there is kept, and the same command goes on once there is room.

The short form tries what writes; the long form (slow) a training, on disks of many sizes.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from d2n.datasets import toycity
from d2n.datasets.cache import DecodedCache
from d2n.errors import CheckpointError, StudyError, TrackingError
from d2n.files.refusals import refusal
from d2n.files.scratch import scratch
from d2n.files.writing import require_room
from d2n.scores.feature_cache import FeatureCache
from d2n.studies.storage import open_optuna, storage_url
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from d2n.translators import checkpoint
from tests.faults import tiny
from tests.faults.commands import assert_told, d2n
from tests.faults.disks import disk, fill, grow, unwhole

NOISE = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "small", 200) as found:
        yield found


def names(line: str, at: Path) -> bool:
    """Whether a line is one, and says which disk and how much of it is free."""
    return "\n" not in line and f"{at}: 0.0 of 0.2 MB free" in line


def test_a_checkpoint_keeps_the_last_whole_one_and_goes_on(small: Path) -> None:
    checkpoint.save(small / "c", {"w": torch.zeros(100)}, {"step": 1})
    filled = fill(small, left=8192)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.save(small / "c", {"w": torch.zeros(100_000)}, {"step": 2})
    assert names(str(caught.value), small)
    assert unwhole(small) == []
    assert checkpoint.load(small / "c").meta["step"] == 1
    filled.unlink()
    checkpoint.save(small / "c", {"w": torch.zeros(100)}, {"step": 2})
    assert checkpoint.load(small / "c").meta["step"] == 2


def test_caches_take_no_more_and_say_so_once(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    fill(small)
    with caplog.at_level(logging.WARNING):
        features = FeatureCache(small / "features")
        features.put({"extractor": "x"}, ["a"], np.ones((1, 50_000), np.float32))
        assert features.get({"extractor": "x"}, ["a"]) is None
        images = DecodedCache(small / "images", max_mb=10)
        for name in ("aa", "bb"):
            assert images.get(name, lambda: NOISE) is NOISE
    assert len(caplog.messages) == 2
    assert all(names(line, small) for line in caplog.messages)
    assert unwhole(small) == []


@pytest.mark.slow  # a store takes seconds to make
@pytest.mark.usefixtures("made_by_mlflow")
def test_a_tracking_store_that_cannot_be_made_is_made_later(tmp_path: Path) -> None:
    uri = sqlite_uri(tmp_path / "small" / "mlflow.db")
    for kilobytes in (4, 700):
        with disk(tmp_path / "small", kilobytes) as small:
            with pytest.raises(TrackingError) as caught:
                open_store(uri)
            assert "the disk is full" in str(caught.value)
            assert f"{small}: " in str(caught.value)
            assert unwhole(small) == []
            grow(small)
            assert open_store(uri).find_runs() == []


def test_an_artifact_is_whole_or_absent_and_its_own_disk_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / "two" / name).write_bytes(NOISE.tobytes())
    with disk(tmp_path / "mlruns" / "artifacts", 60) as small:
        run = store.start_run("d2n/a", "one")
        for log in (
            lambda: run.log_image(NOISE, "samples", 2),
            lambda: run.log_file(tmp_path / "two", "both"),
        ):
            with pytest.raises(TrackingError) as caught:
                log()
            assert f"{small}: 0.1 of 0.1 MB free" in str(caught.value) or "0.0 of 0.1" in str(caught.value)
            assert [file for file in small.rglob("*") if file.is_file()] == []
        run.close("FAILED")
        grow(small)
        with store.resume_run(run.run_id) as again:
            again.log_image(NOISE, "samples", 2)
            again.log_file(tmp_path / "two", "both")
        assert len(list(small.rglob("samples*.png"))) == 1
        assert [len(file.read_bytes()) for file in sorted(small.rglob("both/*"))] == [NOISE.size] * 2


def test_a_study_storage_names_its_disk(small: Path) -> None:
    filled = fill(small)
    url = storage_url(f"sqlite:///{small}/optuna.db")
    with pytest.raises(StudyError) as caught:
        open_optuna(url)
    assert names(str(caught.value), small)
    filled.unlink()
    grow(small)
    assert open_optuna(url).get_all_studies() == []


def test_the_folder_of_temporary_files(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small))
    fill(small)
    with pytest.raises(OSError, match="No space left") as caught, scratch("model") as folder:
        (folder / "x").write_bytes(NOISE.tobytes())
    assert names(str(refusal(caught.value, small)), small)


def test_a_model_that_finds_no_room_there_is_not_begun(
    store: Store, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own writer would end the whole process (SIGABRT)."""
    monkeypatch.setattr("tempfile.tempdir", str(small))
    run = store.start_run("d2n/a", "one")
    net = torch.nn.Conv2d(3, 3, 3).eval()
    with pytest.raises(OSError, match="No space left") as caught:
        run.log_model(net, name="generator", step=0, example=np.zeros((2, 3, 16, 16), np.float32))
    assert f"{small}: 0.2 of 0.2 MB free" in str(refusal(caught.value))
    assert list(small.iterdir()) == []
    require_room(small, 100_000)
    assert list(small.iterdir()) == []
    run.close("FAILED")


@pytest.mark.slow
def test_what_is_said_finds_no_room(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "d2n", "--help"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no space left on the disk" in done.stderr
    assert len(done.stderr.splitlines()) == 1


EXPERIMENT = tiny.experiment("full", n_epochs=2, batch_size=1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a toy city and an experiment."""
    folder = tmp_path_factory.mktemp("project")
    toycity.make(folder / "data" / "toycity", seed=0, scale=0.02, workers=1)
    (folder / "full.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("where", "kilobytes"),
    [("work", 4), ("work", 40), ("work", 300), ("artifacts", 4), ("artifacts", 40), ("artifacts", 100)],
)
def test_a_training_fails_in_a_line_and_goes_on(project: Path, where: str, kilobytes: int) -> None:
    with disk(project / "mlruns" / where, kilobytes) as at:
        assert_told(d2n(project, "train", "full.yaml"), at)
        assert unwhole(at) == []
        grow(at)
        done = d2n(project, "train", "full.yaml", "--resume", "last")
        assert done.code == 0, done.said[-2000:]
