from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from d2n.tracking import environment, names


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    _git(folder, "init", "-q", "-b", "trunk")
    (folder / "a.yaml").write_text("a: 1\n")
    _git(folder, "add", "a.yaml")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_gives_commit_branch_and_whether_files_differ(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    assert environment.git_tags(checkout) == {
        names.GIT_COMMIT: commit,
        names.GIT_BRANCH: "trunk",
        names.GIT_DIRTY: "false",
    }
    inner = checkout / "experiments"
    inner.mkdir()
    (checkout / "a.yaml").write_text("a: 2\n")
    tags = environment.git_tags(inner)
    assert tags[names.GIT_COMMIT] == commit
    assert tags[names.GIT_DIRTY] == "true"


def test_outside_a_checkout_there_are_no_such_tags(tmp_path: Path) -> None:
    assert environment.git_tags(tmp_path) == {}
    assert environment.git_tags(tmp_path / "absent") == {}


def test_a_checkout_without_a_commit_is_no_failure(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    assert environment.git_tags(tmp_path) == {}


def test_a_machine_without_git_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_tags(tmp_path / "elsewhere") == {}


def test_every_environment_tag_is_short_text(tmp_path: Path) -> None:
    tags = {**environment.environment_tags(tmp_path), **environment.process_tags()}
    assert all(isinstance(value, str) and 0 < len(value) < 500 for value in tags.values())
    assert all(names.checked(key) == key for key in tags)
    assert "numpy" in tags[names.PACKAGES]


def test_from_its_own_checkout_the_commit_of_the_code_is_told() -> None:
    here = Path(environment.__file__).parent
    commit = environment.git_tags(here).get(names.GIT_COMMIT, "")
    assert environment.code_tags().get(names.CODE_COMMIT, "").removesuffix("+") == commit
