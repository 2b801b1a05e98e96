"""What the repository says of itself: current, and true to the package."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import d2n

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs/api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_public_names_is_what_the_docstrings_say(api: ModuleType) -> None:
    assert (ROOT / "docs/api.md").read_text(encoding="utf-8") == api.page(), "run `make api`"


def test_the_page_shows_every_public_name_with_what_it_takes(api: ModuleType) -> None:
    assert {*api.NAMES["d2n"], "__version__"} == set(d2n.__all__)
    page = api.page()
    assert (
        "    open(tracking_uri: str | None = None, *, study_storage: str | None = None) -> Project\n" in page
    )
    assert "    GeM(p: float = 3.0, eps: float = 1e-06, channels: int | None = None)\n" in page


def test_there_is_one_version_and_the_citation_names_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "d2n.__version__"}
    assert version("d2n") == d2n.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (d2n.__version__, project["project"]["license"])
    assert citation["references"][0]["type"] == "thesis"


def test_the_hooks_before_a_commit_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    shown = subprocess.run(
        ["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    linting = [line for line in shown.splitlines() if line.startswith(".venv/bin/ruff")]
    assert [hook["entry"] for hook in hooks] == linting


def test_a_python_that_is_not_here_is_named_and_left_out() -> None:
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "--no-print-directory", "test-pythons", "PYTHONS=9.8 9.9"],
        cwd=ROOT,
        env=alone,  # as outside of `make test`
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "not here, not tested: Python 9.8 9.9\n"


def test_every_file_that_the_picture_of_the_house_names_is_there() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:d2n|tests|docs)/[\w/.-]+)`", text))
    assert len(named) > 20
    there = {name for name in named if (ROOT / name).exists() or (ROOT / f"{name}.py").exists()}
    assert sorted(named - there) == []


def test_the_picture_has_the_layers_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"```layers\n(.*?)```", text, re.S)
    assert drawn is not None
    rows = [line.split("  ")[0] for line in drawn[1].splitlines() if line.strip(" ↓")]
    assert rows == layers
