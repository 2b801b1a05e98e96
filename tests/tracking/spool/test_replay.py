from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from away_server import AwayServer, Memory
from mlflow.entities import Metric

from d2n.cli import main
from d2n.errors import ServerAwayError, TrackingError
from d2n.tracking import names
from d2n.tracking.runs import Store, TrackedRun
from d2n.tracking.spool import disk, replay, writes
from d2n.tracking.spool.sender import Waits

NONE = Waits(step_s=5.0, patience_s=0.0, pause_s=60.0)


@pytest.fixture
def left_behind(store: Store, server: AwayServer, tmp_path: Path) -> TrackedRun:
    """A run whose server was away at its end: three steps, an image, a text and the end wait."""
    run = store.start_run("d2n/a", "one")
    run.log_metrics({"loss": 0.0}, step=0)
    server.mode = "500"
    with run.spooled(folder_of(tmp_path, run), NONE):
        for step in range(1, 4):
            run.log_metrics({"loss": float(step), "other": 1.0}, step=step)
        run.log_image(np.zeros((8, 8, 3), np.uint8), "samples/grid", 3)
        run.log_text("three", "notes/3.txt")
        run.log_params({"lr": 0.1})
        with pytest.raises(ServerAwayError):
            run.close()
    server.mode = "well"
    return run


def folder_of(tmp_path: Path, run: TrackedRun) -> Path:
    return tmp_path / "mlruns" / "work" / run.run_id


def spool_of(tmp_path: Path, run: TrackedRun) -> Path:
    return folder_of(tmp_path, run) / disk.FOLDER


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_doctor_says_what_waits_and_sends_all_of_it_once(
    left_behind: TrackedRun,
    server: AwayServer,
    memory: Memory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_id = left_behind.run_id
    (found,) = replay.left(Path("mlruns/work"))
    assert (found.run_id, found.store, found.is_held) == (run_id, server.uri, False)
    code, out, _ = told(["doctor", "--replay"], capsys)  # to where it was logged
    assert (code, out) == (0, f"run {run_id}: {found.count} batches sent\n")
    assert memory.histories(run_id) == {
        "loss": [(step, float(step)) for step in range(4)],
        "other": [(step, 1.0) for step in range(1, 4)],
    }
    assert memory.runs[run_id]["params"] == {"lr": "0.1"}
    assert memory.runs[run_id]["status"] == "FINISHED"
    assert sorted(name.rpartition("/")[2][:17] for name in memory.files) == ["3.txt"] + 2 * [
        "samples~grid+step"
    ]
    assert not spool_of(tmp_path, left_behind).exists()
    assert told(["doctor", "--replay", "--tracking-uri", server.uri], capsys)[:2] == (
        0,
        f"nothing waits in {Path('mlruns/work')}\n",
    )


def test_a_replay_to_a_server_that_is_away_is_one_line_and_everything_stays(
    left_behind: TrackedRun, server: AwayServer, tmp_path: Path
) -> None:
    before = sorted(spool_of(tmp_path, left_behind).iterdir())
    server.mode = "rubbish"
    with pytest.raises(TrackingError, match="answers with a page and not as MLflow does") as caught:
        replay.send(Store(server.uri, None, retry_s=0.0), spool_of(tmp_path, left_behind))
    assert "\n" not in str(caught.value)
    assert sorted(spool_of(tmp_path, left_behind).iterdir()) == before


def test_a_batch_whose_answer_was_lost_is_not_written_twice(
    left_behind: TrackedRun, server: AwayServer, memory: Memory, tmp_path: Path
) -> None:
    server.mode = "lose"
    with pytest.raises(TrackingError):
        replay.send(Store(server.uri, None, retry_s=0.0), spool_of(tmp_path, left_behind))
    server.mode = "well"
    client = Store(server.uri, None).client
    client.log_batch(left_behind.run_id, metrics=[Metric("loss", 1.0, 5, 1), Metric("loss", 2.0, 6, 2)])
    replay.send(Store(server.uri, None), spool_of(tmp_path, left_behind))
    assert memory.history(left_behind.run_id, "loss") == [(step, float(step)) for step in range(4)]


def test_resuming_a_run_sends_what_waits_before_it_asks_which_steps_are_there(
    left_behind: TrackedRun, store: Store, memory: Memory, tmp_path: Path
) -> None:
    again = store.resume_run(left_behind.run_id, tmp_path / "mlruns" / "work")
    for step in range(2, 6):
        again.log_metrics({"loss": float(step)}, step=step)
    assert memory.history(again.run_id, "loss") == [(step, float(step)) for step in range(6)]
    assert memory.runs[again.run_id]["status"] == "RUNNING"
    assert memory.tags(again.run_id)[names.ATTEMPT] == "2"


def test_of_a_run_that_was_taken_up_elsewhere_only_what_it_has_not_is_sent(
    left_behind: TrackedRun, store: Store, memory: Memory, tmp_path: Path
) -> None:
    again = store.resume_run(left_behind.run_id, tmp_path / "another machine")
    again.log_metrics({"loss": 20.0}, step=2)
    again.log_image(np.ones((8, 8, 3), np.uint8), "samples/grid", 3)
    with pytest.raises(TrackingError, match="worked on by another process since"):
        replay.send(store, spool_of(tmp_path, left_behind))
    again.close("KILLED")
    replay.send(store, spool_of(tmp_path, left_behind))
    assert sorted(memory.history(again.run_id, "loss")) == [(0, 0.0), (1, 1.0), (2, 20.0), (3, 3.0)]
    assert memory.runs[again.run_id]["status"] == "KILLED"
    assert len([name for name in memory.files if "samples~grid" in name]) == 2
    assert not spool_of(tmp_path, left_behind).exists()


def test_a_run_that_the_server_has_not_is_one_line_with_where_it_was_logged(
    left_behind: TrackedRun, store: Store, server: AwayServer, memory: Memory, tmp_path: Path
) -> None:
    memory.runs.clear()
    with pytest.raises(TrackingError, match=f"no run .*logged to {server.uri}"):
        replay.send(store, spool_of(tmp_path, left_behind))


def test_what_is_refused_goes_aside_and_the_rest_is_sent(
    left_behind: TrackedRun, store: Store, memory: Memory, tmp_path: Path
) -> None:
    folder = spool_of(tmp_path, left_behind)
    spool = disk.Spool(folder)
    spool.add(writes.tags({"bad": "1"}), disk.Owner(left_behind.run_id, ""))
    memory.refused_tag = "bad"
    assert "1 refused" in replay.send(store, folder)
    assert next((folder / disk.REFUSED).glob("*.reason")).read_text().strip()
    assert memory.runs[left_behind.run_id]["status"] == "FINISHED"


def test_a_damaged_file_of_a_spool_is_named(left_behind: TrackedRun, store: Store, tmp_path: Path) -> None:
    damaged = sorted(spool_of(tmp_path, left_behind).glob("0*.json"))[1]
    damaged.write_text(json.dumps({"kind": "exec", "data": {}}))
    with pytest.raises(TrackingError, match=f"{damaged.name} cannot be read"):
        replay.send(store, spool_of(tmp_path, left_behind))
