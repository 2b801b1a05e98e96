from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from away_server import AwayServer, Memory, Mode

from d2n.errors import ServerAwayError, TrackingError
from d2n.tracking.runs import Store
from d2n.tracking.spool import disk
from d2n.tracking.spool.sender import Waits

WAITS = Waits(step_s=5.0, patience_s=60.0, pause_s=0.05)


def kept(folder: Path) -> list[str]:
    """The writes on disk, in order."""
    spool = disk.Spool(folder / disk.FOLDER)
    return [spool.read(number).kind for number in spool.numbers]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hang", "500", "cut", "rubbish", "html", "other json", "lose"])
def test_whatever_the_server_does_nobody_waits_for_long_and_all_arrives_once_in_order(
    store: Store,
    server: AwayServer,
    memory: Memory,
    folder: Path,
    mode: Mode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = store.start_run("d2n/a", "one")
    longest = 0.0
    with run.spooled(folder, replace(WAITS, step_s=0.5)), run:
        run.log_metrics({"loss": 0.0}, step=0)
        server.mode = mode
        for step in range(1, 4):
            began = time.monotonic()
            run.log_metrics({"loss": float(step)}, step=step)
            run.set_tags({"last": step})
            longest = max(longest, time.monotonic() - began)
        assert run.is_behind
        run.log_image(np.zeros((8, 8, 3), np.uint8), "samples/grid", 3)
        run.log_text("three", "notes/3.txt")
        run.log_table({"a": [1]}, "tables/a.json")
        server.mode = "well"
    assert longest < 0.5 + 2.0  # the rest is a busy machine's
    assert memory.history(run.run_id, "loss") == [(step, float(step)) for step in range(4)]
    assert memory.tags(run.run_id)["last"] == "3"
    assert "tables/a.json" in memory.tags(run.run_id)["mlflow.loggedArtifacts"]
    assert len([name for name in memory.files if "samples~grid+step+3" in name]) == 2
    assert b"three" in memory.files.values()
    assert memory.runs[run.run_id]["status"] == "FINISHED"
    said = [one.getMessage() for one in caplog.records if "goes on" in one.getMessage()]
    assert len(said) == 1
    assert server.uri in said[0]
    assert str(folder) in said[0]
    assert "d2n doctor --replay" in said[0]
    assert all(one.exc_info is None and "\n" not in one.getMessage() for one in caplog.records)
    assert not (folder / disk.FOLDER).exists()


def test_while_nobody_listens_a_step_does_not_wait_at_all(
    store: Store, server: AwayServer, memory: Memory, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, replace(WAITS, step_s=30.0)), run:
        server.down()
        began = time.monotonic()
        run.log_metrics({"loss": 1.0}, step=1)
        assert time.monotonic() - began < 10.0
        assert kept(folder) == ["metrics"]
        server.up()
    assert memory.history(run.run_id, "loss") == [(1, 1.0)]


def test_at_the_end_a_server_that_stays_away_is_said_and_everything_is_kept(
    store: Store, server: AwayServer, memory: Memory, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    server.down()
    with run.spooled(folder, replace(WAITS, patience_s=0.0)):
        run.log_metrics({"loss": 1.0}, step=1)
        run.set_tags({"a": "b"})
        with pytest.raises(ServerAwayError, match=r"3 batches of it are kept in .*doctor --replay") as caught:
            run.close()
    assert "\n" not in str(caught.value)
    assert kept(folder) == ["metrics", "tags", "end"]
    assert memory.runs[run.run_id]["status"] == "RUNNING"
    server.up()


def test_what_needs_the_server_waits_for_it_and_then_says_so(
    store: Store, server: AwayServer, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, replace(WAITS, patience_s=0.3)):
        server.mode = "500"
        run.log_metrics({"loss": 1.0}, step=1)
        with pytest.raises(ServerAwayError, match="it answers 500"):
            run.last_step("loss")
        server.mode = "well"
        while run.is_behind:
            time.sleep(0.02)
        assert run.last_step("loss") == 1


def test_a_full_spool_waits_and_then_ends_the_run_and_loses_nothing(
    store: Store, server: AwayServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = store.start_run("d2n/a", "one")
    waits = replace(WAITS, patience_s=0.3, most_bytes=3 * 4096)
    with run.spooled(folder, waits):
        server.mode = "500"
        for step in range(3):
            run.log_metrics({"loss": 1.0}, step=step)
        began = time.monotonic()
        with pytest.raises(ServerAwayError, match=r"as much as training.spool_mb allows.*--resume"):
            run.log_metrics({"loss": 1.0}, step=3)
        assert time.monotonic() - began >= 0.3
        assert kept(folder) == ["metrics"] * 3
        run.set_tags({"d2n.error": "away"})  # why it ended, and that it did, always fit
    assert any("waits up to" in one.getMessage() for one in caplog.records)


def test_a_full_spool_goes_on_where_the_server_comes_back_in_time(
    store: Store, server: AwayServer, memory: Memory, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, replace(WAITS, most_bytes=2 * 4096)), run:
        server.mode = "500"
        for step in range(2):
            run.log_metrics({"loss": 1.0}, step=step)
        back = threading.Timer(0.2, setattr, (server, "mode", "well"))
        back.start()
        run.log_metrics({"loss": 1.0}, step=2)
        back.join()
    assert [step for step, _ in memory.history(run.run_id, "loss")] == [0, 1, 2]


def test_what_the_server_refuses_is_raised_as_without_a_spool(
    store: Store, memory: Memory, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    memory.refused_tag = "bad"
    with run.spooled(folder, WAITS):
        with pytest.raises(TrackingError, match=r"refuses: .*never"):
            run.set_tags({"bad": 1})
        run.log_metrics({"loss": 1.0}, step=1)
    assert memory.history(run.run_id, "loss") == [(1, 1.0)]


def test_what_is_refused_after_an_outage_goes_aside_with_its_reason_and_is_told(
    store: Store, server: AwayServer, memory: Memory, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    memory.refused_tag = "bad"
    with run.spooled(folder, WAITS):
        server.mode = "500"
        run.set_tags({"bad": 1})
        run.log_metrics({"loss": 1.0}, step=1)
        server.mode = "well"
        with pytest.raises(TrackingError, match=r"refused by it .*never.* it is kept in"):
            run.flush()
        run.flush()
    aside = folder / disk.FOLDER / disk.REFUSED
    assert "never" in next(aside.glob("*.reason")).read_text()
    assert memory.history(run.run_id, "loss") == [(1, 1.0)]


def test_a_file_that_was_removed_after_it_was_logged_is_sent_from_the_copy(
    store: Store, server: AwayServer, memory: Memory, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "a.txt", tmp_path / "sub" / "b.txt"):
        path.write_text(path.name)
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, WAITS), run:
        server.mode = "cut"
        run.log_file(tmp_path / "a.txt", "files")
        run.log_file(tmp_path / "sub", "folder")
        (tmp_path / "a.txt").unlink()
        (tmp_path / "sub" / "b.txt").unlink()
        server.mode = "well"
    names = {name.partition("artifacts/")[2]: content for name, content in memory.files.items()}
    assert names == {"files/a.txt": b"a.txt", "folder/b.txt": b"b.txt"}


def test_a_run_of_which_something_waits_is_not_spooled_again(
    store: Store, server: AwayServer, folder: Path
) -> None:
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, WAITS):
        server.mode = "500"
        run.log_metrics({"loss": 1.0}, step=1)
    with pytest.raises(TrackingError, match="1 batches of it wait in"), run.spooled(folder, WAITS):
        pass


def test_a_server_that_comes_and_goes_is_told_of_once_a_minute(
    store: Store, server: AwayServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="d2n")
    run = store.start_run("d2n/a", "one")
    with run.spooled(folder, WAITS), run:
        for step in range(3):
            server.mode = "cut"
            run.log_metrics({"loss": 1.0}, step=step)
            server.mode = "well"
            run.flush()
    assert len([one for one in caplog.records if "goes on" in one.getMessage()]) == 1
    assert len([one for one in caplog.records if "is back" in one.getMessage()]) >= 3
