from __future__ import annotations

import contextlib
import json
import multiprocessing
from datetime import UTC, datetime, timedelta

import pytest
from failing_store import going_away
from promoters import promote_each

from d2n.errors import RegistryError, TrackingError
from d2n.tracking import health, history, names, registered, registry
from d2n.tracking.history import Record
from d2n.tracking.runs import Store
from tests.tracking.test_registry import logged_model

NAME = "d2n-toycity"
T0 = datetime(2030, 1, 1, tzinfo=UTC)


def versions(store: Store, count: int, name: str = NAME) -> None:
    made = [logged_model(store) for _ in range(count)]
    for run_id, model_id in made:
        registry.register(store, model_name=name, run_id=run_id, model_id=model_id)


def promoted(store: Store, version: str, seed: int = 0, **options: str) -> Record | None:
    now = registry.list_aliases(store, NAME)
    moves = {alias: "" for alias in now if names.is_seed_alias(alias)} | {names.seed_alias(seed): version}
    if former := now.get(names.CHAMPION):
        moves[names.PREVIOUS] = former
    words = {"reason": "better", "by": "promote", **options}
    return history.move(store, NAME, {**moves, names.CHAMPION: version}, main=names.CHAMPION, **words)


def wrong(store: Store) -> list[health.Finding]:
    """What doctor finds in the store, without what killed processes left in the machine's scratch folder."""
    return [one for one in health.examine(store.uri) if one.kind != "leftover"]


def assert_chain(store: Store, name: str = NAME) -> None:
    """Each move begins where the one before it ended, nothing is half-done, and the aliases are where it says."""
    last: dict[str, str] = {}
    known = history.records(store, name)
    assert all(record.state in ("done", "void") for record in known)
    for one in history.alias_history(store, name):
        assert (one.former or "") == last.get(one.alias, "")
        last[one.alias] = one.version
    assert {alias: to for alias, to in last.items() if to} == registry.list_aliases(store, name)
    assert not [tag for tag in registered.model(store, name).tags if names.token_of_lock(tag)]


@pytest.fixture(autouse=True)
def unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models here stand in for real ones, and would be refused: tests/workflows/test_sealed.py looks at those."""
    monkeypatch.setattr(health, "broken_seals", lambda store: [])


def test_aliases_move_together_as_one_record(store: Store) -> None:
    versions(store, 2)
    promoted(store, "1", seed=3)
    promoted(store, "2", seed=5)
    assert registry.list_aliases(store, NAME) == {"champion": "2", "previous": "1", "champion-seed-5": "2"}
    first, second = history.records(store, NAME)
    assert (first.former, first.version, first.by) == (None, "1", "promote")
    assert second.also == {
        "champion-seed-3": ("1", ""),
        "champion-seed-5": (None, "2"),
        "previous": (None, "1"),
    }
    assert_chain(store)


def test_a_move_is_nothing_where_all_aliases_are_there(store: Store) -> None:
    versions(store, 1)
    registry.set_alias(store, NAME, "champion", "1")
    registry.set_alias(store, NAME, "champion", "1")
    assert len(history.records(store, NAME)) == 1


@pytest.mark.parametrize(
    "is_done",
    [pytest.param(False, id="refused"), pytest.param(True, id="answer lost", marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_server_that_goes_away_at_each_call_in_turn_leaves_nothing_half_done(
    store: Store, is_done: bool
) -> None:
    versions(store, 2)
    promoted(store, "1", seed=0)
    number, wanted = 0, "2"
    while True:
        number += 1
        seen, client = going_away(store, number, is_done)
        with contextlib.suppress(TrackingError):
            promoted(seen, wanted, seed=int(wanted))
        if client.count < number:
            break
        history.settle(store, NAME)
        aliases = registry.list_aliases(store, NAME)
        seeds = {alias: to for alias, to in aliases.items() if names.is_seed_alias(alias)}
        assert set(seeds.values()) == {aliases["champion"]}  # the seeds never are another's
        assert_chain(store)
        wanted = "1" if registry.list_aliases(store, NAME)["champion"] == "2" else "2"
    assert number > 10


def test_a_move_that_arrived_is_done_and_one_that_did_not_is_void(store: Store) -> None:
    versions(store, 2)
    promoted(store, "1")
    at = datetime.now(UTC) + timedelta(seconds=1)
    also: dict[str, tuple[str | None, str]] = {"previous": (None, "1"), "champion-seed-7": (None, "2")}
    half = Record("champion", at, "2", "1", "better", "intended", "promote", "", also)
    history._write(store, NAME, half)
    store.client.set_registered_model_alias(NAME, "champion-seed-7", "2")
    (line,) = history.settle(store, NAME)
    assert "its record is void" in line
    assert registry.list_aliases(store, NAME) == {"champion": "1", "champion-seed-0": "1"}
    history._write(store, NAME, half)
    store.client.set_registered_model_alias(NAME, "champion", "2")
    (line,) = history.settle(store, NAME)
    assert "its record is done now" in line
    assert registry.list_aliases(store, NAME)["champion-seed-7"] == "2"
    assert_chain(store)


def test_what_was_moved_by_hand_is_written_down_as_such(store: Store) -> None:
    versions(store, 3)
    promoted(store, "1")
    store.client.set_registered_model_alias(NAME, "champion", "2")
    shown = history.timeline(history.records(store, NAME), registry.list_aliases(store, NAME))
    assert [(one.by, one.former, one.version) for one in shown if one.alias == "champion"] == [
        ("promote", None, "1"),
        ("hand", "1", "2"),
    ]
    promoted(store, "3")
    moves = history.alias_history(store, NAME, "champion")
    assert [(one.by, one.former, one.version) for one in moves] == [
        ("promote", None, "1"),
        ("hand", "1", "2"),
        ("promote", "2", "3"),
    ]
    assert_chain(store)


def test_a_gap_between_records_is_shown_as_a_move_by_hand() -> None:
    known = [Record("champion", T0, "1", None, "a"), Record("champion", T0 + timedelta(1), "3", "2", "b")]
    shown = history.timeline(known, {"champion": "3"})
    assert [(one.by, one.former, one.version) for one in shown] == [
        ("", None, "1"),
        ("hand", "1", "2"),
        ("", "2", "3"),
    ]


def test_rollbacks_take_champions_off_the_stack() -> None:
    def record(day: int, version: str, former: str | None, by: str = "promote") -> Record:
        return Record("champion", T0 + timedelta(day), version, former, "", "done", by)

    known = [record(0, "1", None), record(1, "2", "1"), record(2, "3", "2")]
    assert [one.version for one in history.champions(known)] == ["1", "2", "3"]
    known.append(record(3, "2", "3", "rollback"))
    assert [one.version for one in history.champions(known)] == ["1", "2"]
    known.append(record(4, "1", "2"))  # promoted anew
    assert [one.version for one in history.champions(known)] == ["2", "1"]


def test_a_decision_to_keep_is_a_record_and_no_move(store: Store) -> None:
    versions(store, 1)
    promoted(store, "1")
    history.record_kept(store, NAME, "1", "kept: within the noise", "run")
    kept = history.records(store, NAME)[-1]
    assert (kept.alias, kept.version, kept.reason, kept.run_id) == ("", "1", "kept: within the noise", "run")
    assert_chain(store)


def test_doctor_finds_what_was_begun_and_ends_it(store: Store) -> None:
    versions(store, 2)
    promoted(store, "1")
    at = datetime.now(UTC) + timedelta(seconds=1)
    history._write(store, NAME, Record("champion", at, "2", "1", "better", "intended", "promote"))
    store.client.set_registered_model_tag(NAME, names.lock("a" * 32), "{}")  # of nobody, for long
    found = wrong(store)
    assert [(one.kind, one.subject) for one in found] == [("alias", NAME), ("alias", NAME)]
    assert "begun and never ended: @champion to version 2" in found[1].message
    told = health.mend(store.uri, found[0])
    assert "took the lock" in told
    assert "its record is void" in told
    assert wrong(store) == []
    assert_chain(store)


def test_unreadable_records_are_left_out_and_named(store: Store) -> None:
    versions(store, 1)
    promoted(store, "1")
    for tag in (names.alias_move("champion", "yesterday"), names.kept("20300101T000000.000000Z")):
        store.client.set_registered_model_tag(NAME, tag, '{"also": 3')
    assert len(history.records(store, NAME)) == 1
    assert len(history.unreadable_moves(store, NAME)) == 2
    promoted(store, "1", seed=4)
    assert registry.list_aliases(store, NAME)["champion-seed-4"] == "1"


def test_records_of_earlier_releases_are_done(store: Store) -> None:
    versions(store, 1)
    store.client.set_registered_model_alias(NAME, "champion", "1")
    tag = names.alias_move("champion", "20250101T000000.000000Z")
    store.client.set_registered_model_tag(NAME, tag, '{"version": "1", "former": null, "reason": "FID 3"}')
    (only,) = history.alias_history(store, NAME)
    assert (only.version, only.former, only.reason) == ("1", None, "FID 3")
    assert history.settle(store, NAME) == []


def test_a_vetoed_version_is_no_champion_for_ever(store: Store) -> None:
    versions(store, 2)
    version = registry.resolve(store, f"{NAME}/2")
    registry.veto(store, version, "inverts the sky")
    assert registry.vetoed(store, NAME) == {"2": "inverts the sky", version.run_id: "inverts the sky"}
    with pytest.raises(RegistryError, match=r"version 2 was vetoed \(inverts the sky\)"):
        registry.set_alias(store, NAME, "champion", "2")
    registry.set_alias(store, NAME, "candidate", "2")
    assert "inverts the sky" in store.get(version.run_id).tags[names.VETO]
    store.client.delete_model_version(NAME, "2")
    assert registry.vetoed(store, NAME)[version.run_id] == "inverts the sky"
    assert registry.vetoed(store, "d2n-nothing") == {}
    with pytest.raises(RegistryError, match="--why"):
        registry.veto(store, registry.resolve(store, f"{NAME}/1"), " ")


@pytest.mark.slow
def test_promotions_from_processes_at_once_are_one_chain_though_one_is_killed(store: Store) -> None:
    logged = [logged_model(store) for _ in range(3)]
    context = multiprocessing.get_context("spawn")
    each = [
        context.Process(target=promote_each, args=(store.uri, NAME, logged[n:] + logged[:n], dies_at))
        for n, dies_at in enumerate((0, 27))
    ]
    for process in each:
        process.start()
    promote_each(store.uri, NAME, logged[::-1])
    for process in each:
        process.join(100)
    assert [process.exitcode for process in each] == [0, 9]
    promote_each(store.uri, NAME, logged[:1])  # whatever was left is repaired by the next
    ids = [version.model_id for version in registry.list_versions(store, NAME)]
    assert sorted(ids) == sorted(model_id for _, model_id in logged)  # no version twice
    assert_chain(store)
    assert wrong(store) == []


def test_a_record_of_a_later_d2n_is_kept_and_nothing_moves(store: Store) -> None:
    versions(store, 2)
    first = promoted(store, "1")
    assert first is not None
    later = json.dumps({"version": "1", "former": None, "state": "proposed", "why": ["new words"]})
    tag = names.alias_move(names.CHAMPION, "20990101T000000.000000Z")
    store.call(store.client.set_registered_model_tag, NAME, tag, later)
    with pytest.raises(RegistryError) as caught:
        promoted(store, "2")
    assert "\n" not in str(caught.value)
    assert "of a later d2n" in str(caught.value)
    assert "pip install -U d2n" in str(caught.value)
    assert registry.list_aliases(store, NAME)[names.CHAMPION] == "1"
    assert registered.model(store, NAME).tags[tag] == later
    assert history.unreadable_moves(store, NAME) == [tag]
    assert [record.tag for record in history.records(store, NAME)] == [first.tag]
