from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from d2n.tracking import bookkeeping, environment, names, run_health

if TYPE_CHECKING:
    from d2n.tracking.runs import Store


def test_what_is_kept_together_reads_as_it_was_given(tmp_path: Path) -> None:
    given = {**environment.process_tags(), **environment.environment_tags(tmp_path), names.KIND: "trial"}
    kept = bookkeeping.packed(given)
    assert bookkeeping.read(kept) == given
    own = {tag for tag in kept if tag.startswith("d2n.")}
    assert own == {names.KIND, names.PROCESS, names.ENVIRONMENT, names.HEARTBEAT}
    assert {*list(kept)[-3:]} == own - {names.KIND}


def test_a_run_shows_few_tags_and_tells_all(store: Store, tmp_path: Path) -> None:
    with store.start_run("d2n/a", "one", tags={names.KIND: "translation"}, folder=tmp_path) as run:
        run.log_params({"lr": 0.1, "beta2": 0.9}, shown=["lr"])
    shown = store.client.get_run(run.run_id).data.tags
    own = [tag for tag in shown if tag.startswith("d2n.")]
    assert sorted(tag for tag in own if not tag.startswith(names.INTERNAL)) == [names.ATTEMPT, names.KIND]
    assert len(own) == 7
    record = store.get(run.run_id)
    assert (record.tags[names.HOST], record.tags[names.PID]) == (socket.gethostname(), str(os.getpid()))
    assert "numpy" in record.tags[names.PACKAGES]
    assert record.params == {"lr": "0.1", "beta2": "0.9"}


def test_a_run_of_an_earlier_release_reads_and_is_taken_up(store: Store) -> None:
    """Its tags stood alone, outside the prefix; those of the process that is gone go when another takes it up."""
    run = store.start_run("d2n/a", "one")
    client, last = store.client, f"{time.time():.0f}"
    for tag in (names.PROCESS, names.ENVIRONMENT, names.HEARTBEAT, names.START_TOKEN):
        client.delete_tag(run.run_id, tag)
    former = {"host": socket.gethostname(), "pid": "4194303", "process_start": "1", "heartbeat": last}
    former |= {"processes": environment.process_namespace(), "python": "3.11.1", "version": "0.1.0"}
    for name, value in {**former, "knobs": json.dumps({"beta2": "0.9"})}.items():
        client.set_tag(run.run_id, f"d2n.{name}", value)
    record = store.get(run.run_id)
    assert (record.tags[names.PID], record.tags[names.HEARTBEAT]) == ("4194303", last)
    assert (record.tags[names.PYTHON], record.tags[names.VERSION]) == ("3.11.1", "0.1.0")
    assert record.params == {"beta2": "0.9"}
    assert [one.subject for one in run_health.orphan_runs(store)] == [run.run_id]
    again = store.resume_run(run.run_id)
    assert store.get(run.run_id).tags[names.PID] == str(os.getpid())
    assert not {"d2n.pid", "d2n.heartbeat"} & {*client.get_run(run.run_id).data.tags}
    assert store.get(run.run_id).params == {"beta2": "0.9"}
    again.close()


@pytest.mark.parametrize("text", ["", "[", "[1]", "[" * 10_000, '{"pid": 7, "best_score": "x"}'])
def test_an_edited_tag_tells_nothing(text: str) -> None:
    assert bookkeeping.read({names.PROCESS: text, names.KIND: "trial"}) == {names.KIND: "trial"}
