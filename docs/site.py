"""The documents as a static site: ``python docs/site.py OUT``, or ``make site``.

The pages are those of docs/ as they are, README and CHANGELOG, and two that are made here from the code: every verb,
every knob. Links between them are checked before anything is built; mkdocs builds them (the extra `site`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).resolve().parents[1]
NAV: Mapping[str, tuple[str, ...]] = {
    "Getting started": ("index.md", "own_folder.md", "translate.md", "ui.md"),
    "Guides": (
        "datasets.md", "methods.md", "alarms.md", "studies.md", "promotion.md", "registry.md", "generators.md",
        "retrieval.md", "vectors.md", "deploy.md", "scale.md",
    ),
    "Reference": ("verbs.md", "knobs.md", "api.md", "protocol.md"),
    "About": (
        "results.md", "speedrun.md", "architecture.md", "reliability.md", "security.md", "contributing.md",
        "changelog.md",
    ),
}  # fmt: skip
_LINK = re.compile(r"(?<!`)\[(?P<text>[^\]\n]*)\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*#*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_MOVED = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def pages() -> dict[str, str]:
    """Every page by its name in the site, links turned to where their targets stand there."""
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
    moved = {to: (ROOT / name).read_text(encoding="utf-8") for name, to in _MOVED.items()}
    found |= {to: _from_root(text) for to, text in moved.items()}
    return {**found, "verbs.md": verbs_page(), "knobs.md": knobs_page()}


def verbs_page() -> str:
    """Every verb and what it takes, as ``--help`` says it."""
    from d2n.cli import cli

    lines = ["# The verbs", "", "As `d2n VERB --help` says it; made from the code."]
    for path, command in _commands(cli, "d2n"):
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        lines += ["", f"## {path}", "", "```text", command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def knobs_page() -> str:
    """Every knob by its room, with default, range and meaning."""
    from d2n.workflows.knobs import all_knobs

    lines = [
        "# The knobs",
        "",
        "As `d2n knobs` says it; made from the code. A preset and the YAML win over a default.",
    ]
    room = ""
    for knob in all_knobs():
        title = f"{knob.room} ({knob.kind})"
        if title != room:
            room = title
            lines += ["", f"## {title}", "", "| knob | default | range | meaning |", "|---|---|---|---|"]
        cells = (f"`{knob.name}`", f"`{knob.default}`", knob.range, " ".join(knob.meaning.split()))
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def broken_links(found: Mapping[str, str]) -> list[str]:
    """A line for every link to a page, a heading or a file that is not there."""
    anchors = {name: set(_anchors(text)) for name, text in found.items()}
    broken = []
    for name, text in found.items():
        for target in _targets(text):
            if re.match(r"[a-z]+:", target):
                continue
            page, _, anchor = target.partition("#")
            page = page or name
            is_there = page in found or (ROOT / "docs" / page).is_file()
            if not is_there or (anchor and anchor not in anchors.get(page, set())):
                broken.append(f"{name}: {target}")
    return broken


def stage(folder: Path) -> Path:
    """What mkdocs reads, in a folder; the place of its configuration."""
    source = folder / "docs"
    source.mkdir(parents=True)
    for name, text in pages().items():
        (source / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "img", source / "img")
    nav = [{title: list(names)} for title, names in NAV.items()]
    config = {
        "site_name": "d2n",
        "site_description": "Day-to-night image translation, measured by what it is worth for retrieval",
        "docs_dir": "docs",
        "site_dir": "site",
        "nav": nav,
        "use_directory_urls": False,  # the pages open from a folder too
        "theme": {"name": "material", "font": False, "features": ["navigation.sections", "toc.follow"]},
        "plugins": ["search", "offline"],
        "markdown_extensions": ["tables", "toc", "fenced_code", "admonition"],
        "validation": {"links": {"anchors": "warn", "not_found": "warn", "unrecognized_links": "ignore"}},
    }
    path = folder / "mkdocs.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def build(out: Path) -> None:
    """The site in ``out``, which it replaces; SystemExit in one line where a link is broken or mkdocs is not here."""
    if broken := broken_links(pages()):
        sys.exit("links that lead nowhere: " + "; ".join(broken))
    with tempfile.TemporaryDirectory() as folder:
        config = stage(Path(folder))
        command = [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--config-file",
            str(config),
        ]
        if subprocess.run(command, check=False).returncode:  # noqa: S603 - arguments of ours
            sys.exit("mkdocs did not build the site; is it here? pip install -e '.[site]'")
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(Path(folder) / "site", out)


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, one in command.commands.items():
        yield from _commands(one, f"{path} {name}")


def _from_root(text: str) -> str:
    """Links of a page that stood in the repository's root, as they are beside the others."""

    def turned(match: re.Match[str]) -> str:
        target = match["target"]
        page, hash_, anchor = target.partition("#")
        page = _MOVED.get(page, page.removeprefix("docs/"))
        return f"[{match['text']}]({page}{hash_}{anchor})"

    return _LINK.sub(turned, text)


def _targets(text: str) -> Iterator[str]:
    for match in _LINK.finditer(_FENCE.sub("", text)):
        yield match["target"]


def _anchors(text: str) -> Iterator[str]:
    """The anchors of a page's headings, as Python-Markdown's toc makes them."""
    from collections import Counter

    seen: Counter[str] = Counter()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        yield f"{slug}_{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "site"))
