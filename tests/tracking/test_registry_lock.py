from __future__ import annotations

import json
import multiprocessing
import threading
import time
from pathlib import Path

import pytest
from lock_holder import add_one, hold_and_die

from d2n.errors import RegistryError
from d2n.tracking import environment, names, registered, registry_lock
from d2n.tracking.registry_lock import exclusive
from d2n.tracking.runs import Store

NAME = "d2n-toycity"


@pytest.fixture
def model(store: Store) -> str:
    store.client.create_registered_model(NAME)
    return NAME


def tags(store: Store) -> dict[str, str]:
    return dict(registered.model(store, NAME).tags)


def test_inside_there_is_a_tag_and_afterwards_none(store: Store, model: str) -> None:
    with exclusive(store, model) as held:
        held.require()
        (entry,) = registry_lock.entries(tags(store))
        assert f"process {environment.process_tags()[names.PID]} on" in entry.who
        with exclusive(store, model) as again:
            assert again is held
        assert len(registry_lock.entries(tags(store))) == 1
    assert tags(store) == {}


def test_of_threads_one_is_inside_at_a_time(store: Store, model: str, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    threads = [threading.Thread(target=add_one, args=(store.uri, model, counter, 4)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counter.read_text() == "16"
    assert tags(store) == {}


def test_a_holder_that_was_killed_is_put_aside(store: Store, model: str) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(store.uri, model))
    process.start()
    process.join(60)
    (entry,) = registry_lock.dead_entries(tags(store))
    assert entry.who.startswith(f"process {process.pid} on ")
    with exclusive(store, model, wait_s=1):
        pass
    assert tags(store) == {}


def test_what_this_process_failed_to_let_go_of_does_not_hold_it_back(store: Store, model: str) -> None:
    value = json.dumps(environment.process_tags())
    store.client.set_registered_model_tag(model, names.lock("0" * 32), value)
    with exclusive(store, model, wait_s=1):
        pass
    assert tags(store) == {}


def test_a_living_holder_is_waited_for_and_named(store: Store, model: str) -> None:
    with exclusive(store, model):
        refused: list[BaseException] = []

        def try_it() -> None:
            try:
                with exclusive(store, model, wait_s=0.3):
                    pass
            except RegistryError as error:
                refused.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join(20)
        assert len(refused) == 1
        assert "is held by process" in str(refused[0])
        assert "\n" not in str(refused[0])
    assert tags(store) == {}


def test_a_holder_of_another_machine_counts_while_its_sign_changes(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_lock, "LEASE_S", 0.8)
    elsewhere = {**environment.process_tags(), names.PROCESSES: "another", names.HEARTBEAT: "1"}
    store.client.set_registered_model_tag(model, names.lock("f" * 32), json.dumps(elsewhere))
    began = time.monotonic()
    beats = threading.Thread(
        target=lambda: [
            (time.sleep(0.3), store.client.set_registered_model_tag(model, names.lock_seen("f" * 32), str(n)))
            for n in range(5)
        ]
    )
    beats.start()
    with exclusive(store, model, wait_s=30):
        assert time.monotonic() - began > 1.5  # its signs, and a lease without one
    beats.join()


def test_one_that_was_put_aside_finds_out_before_it_moves_anything(store: Store, model: str) -> None:
    with exclusive(store, model) as held:
        (entry,) = registry_lock.entries(tags(store))
        registry_lock.drop(store, model, entry.token)
        with pytest.raises(RegistryError, match="another process took over"):
            held.require()


def test_a_lock_that_nobody_can_read_counts_until_a_lease_is_over(
    store: Store, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_lock, "LEASE_S", 0.2)
    store.client.set_registered_model_tag(model, names.lock("f" * 32), "[1")
    with exclusive(store, model, wait_s=10):
        pass
    assert tags(store) == {}
