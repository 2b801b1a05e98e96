from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from d2n import databases
from d2n.errors import D2NError, StudyError
from d2n.signals import Terminated, termination_raises

FOLDERS = [
    "what?now",
    "a%20b",
    "100%",
    "a b",
    "a#1",
    "a:b",
    "a@b",
    "a&b=c",
    "čas",
    "a%3Fb",
    "'\"",
    "a;b",
    "[x]+",
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_sqlite_file_in_any_folder_is_found_again(folder: str, tmp_path: Path) -> None:
    file = tmp_path / folder / "x.db"
    file.parent.mkdir()
    url = databases.sqlite_url(file)
    assert databases.is_sqlite(url)
    assert databases.sqlite_file(url) == file
    assert databases.text(databases.parse(url, "a URL")) == url
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table a (b integer)"))
    engine.dispose()
    assert file.is_file()
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_a_relative_file_becomes_absolute_and_keeps_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "what?now"
    folder.mkdir()
    monkeypatch.chdir(folder)
    parsed = databases.parse("sqlite:///a/b.db?timeout=20", "a URL")
    assert parsed.database == f"{folder}/a/b.db"
    assert dict(parsed.query) == {"timeout": "20"}
    assert databases.shown(databases.sqlite_url(folder / "a" / "b.db")) == "a/b.db"
    assert databases.shown(databases.sqlite_url(tmp_path / "b.db")) == f"{tmp_path}/b.db"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////data/what?now/x.db", "a ? in a path is written as %3F"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense", "is no URL"),
        ("postgresql://u:pw@h:port/x", "is no URL"),
        ("postgresql://u:p@w@h/x", "written as %40"),
    ],
)
def test_a_url_that_would_lead_elsewhere_is_refused_in_one_line(url: str, said: str) -> None:
    with pytest.raises(StudyError, match=re.escape(said)) as caught:
        databases.parse(url, "study storage", StudyError)
    assert str(caught.value).startswith("study storage ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://", "http://h:x", "http://u:p/w@h", "http://u:p@w@h", "https://u:p@"])
def test_a_servers_address_that_cannot_be_told_apart_is_refused(uri: str) -> None:
    with pytest.raises(D2NError, match="is no address of a server"):
        databases.check_server(uri, "tracking URI")


@pytest.mark.parametrize(
    "uri", ["http://h", "https://u:p%40w@h:5000/mlflow", "http://[::1]:5000", "http://u@h"]
)
def test_a_servers_address_is_taken(uri: str) -> None:
    databases.check_server(uri, "tracking URI")


def test_addresses_for_people_and_places_below() -> None:
    assert databases.without_login("https://u:p@h:5000/mlflow/?token=x") == "https://h:5000/mlflow"
    assert databases.below("s3://bucket/a/", "d2n-x") == "s3://bucket/a/d2n-x"
    assert databases.below("s3://bucket/a?region=b", "d2n-x") == "s3://bucket/a/d2n-x?region=b"


def test_postgresql_gets_a_driver_and_keeps_its_password() -> None:
    parsed = databases.with_driver(databases.parse("postgresql://u:p%40w@h/x", "a URL"))
    assert parsed.drivername.startswith("postgresql+psycopg")
    assert make_url(databases.text(parsed)).password == "p@w"  # noqa: S105 - of the test


def _retry(failures: list[Exception], told: list[float], total_s: float = 5.0) -> str:
    def action() -> str:
        if failures:
            raise failures.pop(0)
        return "here"

    return databases.retry(
        action,
        databases.Patience(total_s, first_pause_s=0.01, longest_pause_s=0.02),
        errors=(OSError,),
        is_passing=lambda error: "away" in str(error),
        refused=lambda error, lasted: D2NError(f"{'lasted' if lasted else 'refused'}: {error}"),
        told=lambda error, pause: told.append(pause),
    )


def test_what_passes_is_tried_again_with_growing_pauses() -> None:
    told: list[float] = []
    assert _retry([OSError("away")] * 3, told) == "here"
    assert told == [0.01, 0.02, 0.02]


def test_what_does_not_pass_or_lasts_is_worded_once() -> None:
    with pytest.raises(D2NError, match="refused: full") as caught:
        _retry([OSError("full")], [])
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(D2NError, match="lasted: away"):
        _retry([OSError("away")] * 3, [], total_s=0.0)
    with pytest.raises(ValueError, match="a bug"):
        _retry([ValueError("a bug")], [])


@pytest.mark.parametrize("is_undisturbed", [True, False])
def test_a_signal_waits_for_the_end_of_an_attempt(is_undisturbed: bool) -> None:
    """Broken off, a transaction keeps its locks, and the run could not be closed in the same database."""
    steps: list[str] = []

    def attempt() -> None:
        steps.append("begun")
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("committed")

    with pytest.raises(Terminated), termination_raises():
        databases.retry(
            attempt,
            databases.Patience(5.0, 0.01, 0.02),
            errors=(OSError,),
            is_passing=lambda _: True,
            refused=lambda error, _: StudyError(str(error)),
            told=lambda _, pause: None,
            is_undisturbed=is_undisturbed,
        )
    assert steps == ["begun", "committed"][: 1 + is_undisturbed]
