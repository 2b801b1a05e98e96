"""The documents as a site: every page is in it, and no link leads nowhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_of_d2n", ROOT / "docs/site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(site: ModuleType) -> dict[str, str]:
    return site.pages()


def test_no_link_of_the_documents_leads_nowhere(site: ModuleType, pages: dict[str, str]) -> None:
    assert site.broken_links(pages) == []
    wrong = {**pages, "a.md": "# One two\n[x](b.md) [y](ui.md#nowhere) [z](#one-two) [w](img/none.png)"}
    assert site.broken_links(wrong) == ["a.md: b.md", "a.md: ui.md#nowhere", "a.md: img/none.png"]


def test_every_page_is_in_the_contents(site: ModuleType, pages: dict[str, str]) -> None:
    listed = [name for names in site.NAV.values() for name in names]
    assert sorted(listed) == sorted(pages)


def test_the_reference_has_every_verb_and_every_knob(pages: dict[str, str]) -> None:
    from d2n.cli import cli
    from d2n.config import knobs

    verbs = re.findall(r"^## d2n (\S+)", pages["verbs.md"], re.MULTILINE)
    assert set(verbs) == set(cli.commands)
    told = set(re.findall(r"^\| `([^`]+)`", pages["knobs.md"], re.MULTILINE))
    assert {*knobs("translation"), *knobs("retrieval")} <= told
    assert all(line.count(" | ") == 3 for line in pages["knobs.md"].splitlines() if line.startswith("| `"))


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(site: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `site` is not installed")
    site.build(tmp_path / "site")
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Two commands" in index
    assert not re.search(r'(src|href)="https?://fonts', index)
    assert (tmp_path / "site" / "verbs.html").is_file()
    assert (tmp_path / "site" / "img" / "ui_runs.png").is_file()
