from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from d2n.cli import cli
from d2n.errors import RegistryError
from d2n.tracking import history, names, registry
from d2n.tracking.connection import sqlite_uri
from d2n.tracking.runs import Store, open_store
from d2n.workflows import registry as verbs
from tests.tracking.test_history import assert_chain, promoted, versions

NAME = "d2n-toycity"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a store with three champions after each other, of seeds 0, 1 and 2."""
    path = tmp_path_factory.mktemp("three") / "mlruns" / "mlflow.db"
    made = open_store(sqlite_uri(path))
    versions(made, 3)
    for number in ("1", "2", "3"):
        promoted(made, number, seed=int(number) - 1)
    return path


@pytest.fixture
def store(three: Path, tmp_path: Path) -> Store:
    path = tmp_path / "mlflow.db"
    shutil.copyfile(three, path)
    return open_store(sqlite_uri(path))


def champion(store: Store) -> str | None:
    return registry.list_aliases(store, NAME).get(names.CHAMPION)


def test_rollback_goes_back_step_by_step_with_seeds_and_records(store: Store) -> None:
    lines = verbs.rollback_command("toycity", to=None, why="streaks", tracking_uri=store.uri)
    assert "is version 2 now (was 3)" in lines[0]
    assert "veto d2n-toycity/3" in lines[1]
    assert registry.list_aliases(store, NAME) == {"champion": "2", "previous": "1", "champion-seed-1": "2"}
    verbs.rollback_command(NAME, to=None, why="still", tracking_uri=store.uri)
    assert registry.list_aliases(store, NAME) == {"champion": "1", "champion-seed-0": "1"}
    with pytest.raises(RegistryError, match="no champion before version 1"):
        verbs.rollback_command("toycity", to=None, why="more", tracking_uri=store.uri)
    moves = history.alias_history(store, NAME, "champion")
    assert [(one.by, one.version, one.reason) for one in moves[3:]] == [
        ("rollback", "2", "rolled back: streaks"),
        ("rollback", "1", "rolled back: still"),
    ]
    assert_chain(store)


def test_rollback_to_a_version_that_is_named(store: Store) -> None:
    verbs.rollback_command("toycity", to="1", why="the first was best", tracking_uri=store.uri)
    assert champion(store) == "1"
    for to, words in (
        ("1", "is the champion already"),
        ("9", "has no version 9"),
        ("x", "expected a version"),
    ):
        with pytest.raises(RegistryError, match=words):
            verbs.rollback_command("toycity", to=to, why="w", tracking_uri=store.uri)
    assert_chain(store)


def test_a_vetoed_champion_gives_its_alias_to_the_one_before(store: Store) -> None:
    verbs.veto_command(f"{NAME}/2", why="halos", tracking_uri=store.uri)
    assert champion(store) == "3"
    lines = verbs.veto_command(f"{NAME}@champion", why="inverts", tracking_uri=store.uri)
    assert lines[1] == f"{NAME}@champion is version 1 now (was 3)"  # not 2, which was vetoed
    with pytest.raises(RegistryError, match=r"version 3 was vetoed \(inverts\)"):
        verbs.rollback_command("toycity", to="3", why="w", tracking_uri=store.uri)
    lines = verbs.veto_command(f"{NAME}/1", why="dull", tracking_uri=store.uri)
    assert lines[1] == f"{NAME}@champion is no version: promote another now (was 1)"
    assert champion(store) is None
    assert_chain(store)


def test_history_shows_moves_by_hand_vetoes_and_what_cannot_be_read(store: Store) -> None:
    store.client.set_registered_model_alias(NAME, "champion", "1")
    store.client.set_registered_model_tag(NAME, names.alias_move("champion", "once"), "?")
    registry.veto(store, registry.resolve(store, f"{NAME}/2"), "halos")
    lines = verbs.history_command("toycity", tracking_uri=store.uri, as_json=False)
    assert "champion to version 3, was 2 by promote: better [" in lines[2]
    assert "champion to version 1, was 3 by hand: moved by hand" in lines[3]
    assert lines[-2:] == [
        "vetoed: d2n-toycity/2: halos",
        f"left out: {names.alias_move('champion', 'once')}: it cannot be read; `d2n doctor --mend` removes it",
    ]
    (text,) = verbs.history_command("toycity", tracking_uri=store.uri, as_json=True)
    values = json.loads(text)
    assert [one["by"] for one in values["history"]] == ["promote", "promote", "promote", "hand"]
    assert values["vetoes"] == {"2": "halos"}


def test_list_names_aliases_and_vetoes(store: Store) -> None:
    registry.veto(store, registry.resolve(store, f"{NAME}/2"), "halos")
    lines = verbs.list_command(None, tracking_uri=store.uri, as_json=False)
    assert lines[0].startswith("d2n-toycity/3 (champion, champion-seed-2): run ")
    assert lines[1].endswith("; vetoed: halos")
    (text,) = verbs.list_command("toycity", tracking_uri=store.uri, as_json=True)
    assert [row["version"] for row in json.loads(text)] == ["3", "2", "1"]


@pytest.mark.parametrize("given", ["aachen", "o'brien", "a/b", "'; drop table"])
def test_an_unknown_data_set_lists_those_that_are_there(store: Store, given: str) -> None:
    with pytest.raises(RegistryError, match="registered there: d2n-toycity") as caught:
        verbs.history_command(given, tracking_uri=store.uri, as_json=False)
    assert "\n" not in str(caught.value)


def test_the_verbs_print_and_refuse_in_one_line(store: Store) -> None:
    runner = CliRunner()
    done = runner.invoke(cli, ["registry", "list", "--tracking-uri", store.uri])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("d2n-toycity/3 (champion, champion-seed-2)")
    done = runner.invoke(cli, ["registry", "history", "toycity", "--json", "--tracking-uri", store.uri])
    assert json.loads(done.stdout)["model"] == NAME
    assert (
        runner.invoke(cli, ["registry", "veto", f"{NAME}/1", "--tracking-uri", store.uri]).exit_code == 2
    )  # no --why
