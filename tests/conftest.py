"""What every test may use."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing.util
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tracking.servers import Postgres

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# What torch and MLflow hold is walked less often: a twenty-fifth of the suite's time
gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real photographs, public weights and format miniatures, where the machine has one."""
    folder = os.environ.get("D2N_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("D2N_TEST_DATA names no folder")
    return Path(folder).resolve()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A PostgreSQL cluster of the test's own, where its server programs are."""
    if not Postgres.is_here():
        pytest.skip("no PostgreSQL server programs on the PATH")
    server = Postgres(tmp_path / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session", autouse=True)
def scratch_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Temporary files of these tests alone: what killed processes of others left is no finding of theirs."""
    tmp_path_factory.getbasetemp()  # lies where it always does
    multiprocessing.util.get_temp_dir()  # this one too: it is removed after the folder below
    folder = tempfile.mkdtemp(prefix="t-")  # short: sockets lie below
    Path(folder).chmod(0o755)  # some tests go on as another user
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", None)
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def copied_stores(scratch_of_its_own: None) -> Iterator[Callable[[Path, str], None]]:
    """Stores that tests make in this process are copies of one that MLflow's migrations made, a second each.

    Processes that tests start make theirs, and so do tests with ``made_by_mlflow``.
    """
    from d2n.files.writing import make_file
    from d2n.tracking import schema

    made = schema._make_sqlite
    template = Path(tempfile.gettempdir()) / "template.db"

    def copied(path: Path, artifact_root: str) -> None:
        if path.exists():
            return made(path, artifact_root)
        if not template.exists():
            made(template, "template")
        beside = path.with_name(f"{path.name}.copying")
        make_file(beside)
        shutil.copyfile(template, beside)
        with contextlib.closing(sqlite3.connect(beside)) as database, database:
            database.execute(
                "UPDATE experiments SET artifact_location = ? || substr(artifact_location, length('template') + 1)",
                (artifact_root,),
            )
        beside.replace(path)
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_make_sqlite", copied)
        yield made


@pytest.fixture
def made_by_mlflow(copied_stores: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the making itself."""
    monkeypatch.setattr("d2n.tracking.schema._make_sqlite", copied_stores)


ON_THE_ROAD = (
    "test_card",
    "test_networks",
    "test_pull",
    "test_road",
    "test_sealed",
)  # of workflows/: they share what is walked once


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay on one worker, as --dist loadfile says, and so do those that share the road."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "road" if Path(file).stem in ON_THE_ROAD else file

    return Together(config, log)
